"""What tests of the consumer have in common."""

from __future__ import annotations

import pytest

from aiorocketmq.client import manager
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.manager import InstanceManager
from aiorocketmq.config import ClientConfig
from aiorocketmq.remoting.client import RemotingClient
from tests.unit.consumer.world import ScriptedBroker
from tests.wire.world import CLIENT_ID


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> ScriptedBroker:
    """A scripted broker that all clients of the test meet."""
    made = ScriptedBroker()

    def instance(config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        remoting = RemotingClient(config, connector=made.world.network.connector)
        return ClientInstance(config, CLIENT_ID, index=index, remoting=remoting)

    monkeypatch.setattr(manager, "shared", InstanceManager(instance))
    return made
