from tests.unit.producer.world import world

__all__ = ["world"]
