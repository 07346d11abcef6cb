"""Which store keeps the offsets of a consumer (Java: `DefaultMQPushConsumerImpl.start`, where it makes the `OffsetStore`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiorocketmq.consumer.offset_store import (
    LocalFileOffsetStore,
    OffsetStore,
    RemoteBrokerOffsetStore,
    address_finder,
    local_offset_directory,
)
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.settings import ConsumerSettings


def store_of(settings: ConsumerSettings, instance: ClientInstance) -> OffsetStore:
    """The store of a consumer: the user's own, a file for a broadcasting group, else the brokers."""
    if settings.offset_store is not None:
        return settings.offset_store
    if settings.broadcasting:
        names = instance.config.names
        directory = local_offset_directory(settings.local_offset_store_dir, instance.client_id, names.wrap(settings.group))
        return LocalFileOffsetStore(directory, names)

    def find(queue: MessageQueue) -> str | None:
        found = instance.find_broker_address_in_subscribe(instance.routes.broker_of(queue), 0)
        return found.address if found is not None else None

    def link_to(queue: MessageQueue) -> object | None:
        address = find(queue)
        return instance.remoting.channel(address) if address is not None else None

    return RemoteBrokerOffsetStore(
        settings.group,
        instance.broker_api,
        address_finder(find, instance.routes.update),
        link_to=link_to,
        broker_of=instance.routes.broker_of,
        set_zero_if_not_found=False,
    )
