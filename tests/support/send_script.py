"""What a scripted broker stores of the sends that it receives, and what it answers; each world brings the connections."""

from __future__ import annotations

import asyncio
from typing import Any

from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2

STORED = (0, 10, 11, 12)
"""Codes of answers to messages that were stored."""


class SendScript:
    """The sends of one broker.

    Attributes:
        stored: Bodies of the messages it stored, in order.
        answers: What to answer to the next sends: a response code, or None to stay silent; then everything is stored.
        always: The same for all sends after that.
        extra: Additional fields of its answers.
        without: A field that its answers lack.
        delay: Seconds before an answer.
    """

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.answers: list[int | None] = []
        self.always: int | None = 0
        self.extra: dict[str, str] = {}
        self.without = ""
        self.delay = 0.0

    def next_code(self) -> int | None:
        """What the script says to the next send."""
        return self.answers.pop(0) if self.answers else self.always

    def answer(self, request: RemotingCommand, header: SendMessageRequestHeaderV2, number: int, code: int | None) -> Any:
        """Store the message as the code says, and answer the broker's send of this number: at once, or later; None for silence."""
        if code is None:
            return None
        if code in STORED:
            self.stored.append(request.body)
        fields = {
            "msgId": f"{number:032X}",
            "queueId": str(header.queue_id),
            "queueOffset": str(len(self.stored) - 1),
            "MSG_REGION": "DefaultRegion",
            "TRACE_ON": "true",
        } | self.extra
        fields.pop(self.without, None)
        answer = RemotingCommand.response(request, code, None if code == 0 else f"remark {code}", header=fields)
        return self._later(answer) if self.delay else answer

    async def _later(self, answer: RemotingCommand) -> RemotingCommand:
        await asyncio.sleep(self.delay)
        return answer
