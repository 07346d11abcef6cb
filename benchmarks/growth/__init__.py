"""How the client's cost grows: with topics, queues, producers, body sizes and time; and what the embedded server costs."""
