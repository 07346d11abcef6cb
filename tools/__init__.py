"""What maintains the repository: run as `python -m tools.<name>` from its root."""
