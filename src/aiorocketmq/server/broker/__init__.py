"""The embedded broker: what a real broker keeps in its controller, managers and processors."""
