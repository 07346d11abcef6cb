"""What the embedded broker does with each request code, by family."""
