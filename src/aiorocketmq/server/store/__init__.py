"""The embedded broker's storage: one SQLite database per broker, in a file or in memory."""
