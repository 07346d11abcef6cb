"""Telling the members of a consumer group that it changed (Java: `DefaultConsumerIdsChangeListener`).

Each is told at once, so that queues change hands without delay. In a group of many that would grow with the square of their number when
all of them come or go together: there one round tells of all changes of a moment.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiorocketmq.model.enums import MessageModel
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.headers_client import NotifyConsumerIdsChangedRequestHeader
from aiorocketmq.server.broker.metadata import Groups
from aiorocketmq.server.broker.registry import ConsumerGroup

MANY: Final = 64
"""Members beyond which the changes of a moment are told together."""
_MOMENT: Final = 0.0001
"""Seconds of that moment for each member: a round takes a few percent of it."""


class MemberNotices:
    """Sends the notices of one broker. Belongs to one event loop.

    Args:
        groups: Configurations, which may forbid notices.
    """

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def changed(self, group: ConsumerGroup, *, lost: bool = False) -> None:
        """The group has other members or topics than before; a member that was `lost`, without a goodbye, is told of in any case."""
        config = self._groups.get(group.name)
        silent = config is not None and not config.notify_consumer_ids_changed_enable and not lost
        if group.message_model is MessageModel.BROADCASTING or silent:
            return
        if len(group.members) <= MANY:
            self._tell(group)
        elif group.name not in self._waiting:
            moment = len(group.members) * _MOMENT
            self._waiting[group.name] = asyncio.get_running_loop().call_later(moment, self._tell, group)

    def stop(self) -> None:
        """Tell nobody any more."""
        for handle in self._waiting.values():
            handle.cancel()
        self._waiting.clear()

    def _tell(self, group: ConsumerGroup) -> None:
        handle = self._waiting.pop(group.name, None)
        if handle is not None:
            handle.cancel()
        header = NotifyConsumerIdsChangedRequestHeader(consumer_group=group.name)
        frame = encode(RemotingCommand.request(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, header, oneway=True))
        for channel in list(group.members):
            if not channel.closed:
                channel.send(frame)
