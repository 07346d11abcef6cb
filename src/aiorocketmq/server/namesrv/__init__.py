"""The embedded name server: routes of every registered broker, and key-value settings."""
