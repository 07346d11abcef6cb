"""Giving a message back by hand (Java: `DefaultMQPullConsumerImpl.sendMessageBack`). Features J5, U11."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiorocketmq.consumer.client import GroupConsumer
from aiorocketmq.errors import ClientStateError, ConfigError
from aiorocketmq.model.checks import whole
from aiorocketmq.model.received import ReceivedMessage

if TYPE_CHECKING:
    from aiorocketmq.consumer.settings import LitePullSettings, PullSettings


class ReturningConsumer(GroupConsumer):
    """A consumer whose program gives back the messages that it could not handle."""

    if TYPE_CHECKING:
        _settings: LitePullSettings | PullSettings

    async def send_back(self, message: ReceivedMessage, delay_level: int = 0, *, group: str | None = None) -> None:
        """Put a message that could not be handled into the retry topic of the group: it comes again from there.

        It does so with one more of `message.reconsume_times`, and with the topic that it came from. After `max_reconsume_times` it goes
        into the dead-letter topic `%DLQ%<group>` instead, with a warning in the log. To the consumer it is a message like others: it counts
        as consumed when the program says so.

        Args:
            message: The message, of any queue.
            delay_level: When it comes again. 0 lets the broker choose by the number of tries (3 + tries: 10 s, 30 s, 1 min, ...), 1 to 18
                names a delay level, -1 sends it to the dead-letter topic at once.
            group: The group to whose retry topic it goes; None is this consumer's.

        Raises:
            ConfigError: It is no message, or the level is out of range.
            InvalidNameError: The group has an illegal name.
            ClientStateError: Nobody would get it again: the group broadcasts, or its members do not read the retry topic; or the consumer
                does not run.
            RocketMQError: It could neither be given back nor sent to the retry topic: it is where it was.

        Cancelling it leaves open whether it comes again.
        """
        member = self._running()
        if not isinstance(message, ReceivedMessage):
            raise ConfigError(f"message {message!r} is no received message", hint="give back what a consumer was given")
        level = whole("delay_level", delay_level, -1, 18)
        if group is not None:
            self._namespace.check_group(group)
            group = self._namespace.unwrap(group)
        elif (why := self._not_again()) and level >= 0:
            raise ClientStateError(f"a message that the group {self.group!r} gives back would not come again", hint=why)
        await member.hand_back(message, level, self._settings.max_reconsume_times, group or self._settings.group)

    def _not_again(self) -> str:
        """Why what is given back would not be consumed, and the cure; "" when it would."""
        return "a group that broadcasts has no retries: send the message anew" if self._settings.broadcasting else ""
