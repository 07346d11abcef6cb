"""Messages as users write them (Java: `Message`); the ones that they read are in `received`. Features A1-A4, A17, A18, A20, A21, A23, B27.

A message is checked, brought to plain values and joined to the text of the wire when it is made, and never changes after that: whatever
sends it, at once or later, from this thread or another, need not look again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from math import isfinite
from types import MappingProxyType, MemberDescriptorType
from typing import Any, Final, Self, Unpack

from aiorocketmq.errors import InvalidMessageError, InvalidNameError
from aiorocketmq.model import properties as props
from aiorocketmq.model.message_fields import MessageFields, Switch
from aiorocketmq.model.names import LMQ_PREFIX, check_topic
from aiorocketmq.model.parsing import YEAR_10000
from aiorocketmq.wording import shown

try:
    from mypy_extensions import mypyc_attr
except ImportError:
    from aiorocketmq.model.compiling import mypyc_attr

MAX_DELAY_LEVEL: Final = 18
MAX_ID: Final = 56
"""Characters of a message id at most: an IPv6 address makes the longest."""
BROKER_ROOM: Final = 440
"""Bytes that brokers may add to a message's properties, besides its topic's name, when it fails and comes back: region, trace switch and
cluster; `RETRY_TOPIC`, `ORIGIN_MESSAGE_ID`, `REAL_TOPIC` with a group of 120 characters, `REAL_QID`, `DELAY`; `DLQ_ORIGIN_TOPIC`,
`DLQ_ORIGIN_MESSAGE_ID`. A message without this room could be consumed, but neither retried nor buried."""

_LATEST: Final = YEAR_10000 + 86_400
"""Seconds since the epoch of the end of the year 9999, in every time zone; what is beyond is meant as milliseconds."""
_MAX_MS: Final = 0x7FFFFFFFFFFFFFFF
_KNOWN_TOPICS: Final[dict[str, str]] = {}
"""Names that were found legal; looking one up costs a tenth of checking it."""
_MANY_TOPICS: Final = 4096
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_UNIQ: Final = f"{props.UNIQ_KEY}\x01"
_WAIT: Final = f"\x02{props.WAIT}\x01true\x02"
_NO_WAIT: Final = f"\x02{props.WAIT}\x01false\x02"


def plain_text(field: str, value: Any) -> str:
    """A string of the user's as a plain `str` that every reader of the wire gets back as it is.

    Raises:
        InvalidMessageError: It is no string, is empty, holds a separator of the wire, or has no form in UTF-8.
    """
    if type(value) is not str:
        if not isinstance(value, str):
            raise InvalidMessageError(f"{field} {shown(value)} is a {type(value).__name__}, not a string", hint="give a non-empty string")
        value = str.__str__(value)  # the value of an enum member, and not what a `__str__` of the user's makes of it
    text: str = value
    if not text:
        raise InvalidMessageError(f"{field} {text!r} is empty", hint="give a non-empty string, or leave it out")
    if "\x01" in text or "\x02" in text:
        raise InvalidMessageError(
            f"{field} {shown(text)} contains U+0001 or U+0002, which separate properties on the wire", hint="leave these characters out"
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidMessageError(
                f"{field} {shown(text)} cannot be written in UTF-8: {error.reason} at {text[error.start : error.end]!r}",
                hint="leave lone surrogates out: brokers and other clients would read another text",
            ) from None
    return text


def plain_number(field: str, value: Any, low: int, high: int, range_text: str) -> int:
    """A whole number of the user's as a plain `int` between `low` and `high`.

    Raises:
        InvalidMessageError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidMessageError(f"{field} {shown(value)} is a {type(value).__name__}, not a whole number", hint=f"use {range_text}")
    number = int.__index__(value)
    if not low <= number <= high:
        raise InvalidMessageError(f"{field} {shown(value)} is out of range", hint=f"use {range_text}")
    return number


def _plain_topic(topic: Any) -> str:
    """A legal topic name as a plain `str`, remembered for the next message.

    Raises:
        InvalidNameError: It is not legal.
    """
    if not isinstance(topic, str):
        raise InvalidNameError(f"topic {shown(topic)} is a {type(topic).__name__}, not a string", hint="give the name of the topic")
    name = str.__str__(topic)
    check_topic(name)
    if len(_KNOWN_TOPICS) >= _MANY_TOPICS:
        _KNOWN_TOPICS.clear()
    _KNOWN_TOPICS[name] = name
    return name


def _plain_body(body: Any) -> bytes:
    if not isinstance(body, bytes | bytearray | memoryview):
        raise InvalidMessageError(f"body is a {type(body).__name__}, not bytes", hint="encode it first, for example text.encode()")
    try:
        return memoryview(body).tobytes()
    except ValueError:
        raise InvalidMessageError("body is a memoryview that was released", hint="give its bytes before you release it") from None


def _plain_tag(tag: Any) -> str:
    text = plain_text("tag", tag)
    if not text.strip() or "||" in text:
        raise InvalidMessageError(f"tag {shown(text)} is blank or holds '||'", hint="a message has one tag; leave it out for none")
    return text


def _plain_keys(keys: Any) -> tuple[str, ...]:
    if isinstance(keys, bytes) or not isinstance(keys, Iterable):
        raise InvalidMessageError(f"keys {shown(keys)} is a {type(keys).__name__}", hint="give one string, or a list of strings")
    words = []
    for key in (keys,) if isinstance(keys, str) else keys:
        word = plain_text("key", key)
        if word.split() != [word]:
            raise InvalidMessageError(f"key {shown(word)} holds blanks", hint="keys are words; give several as a list")
        words.append(word)
    return tuple(words)


def _plain_properties(properties: Any) -> Mapping[str, str]:
    if not isinstance(properties, Mapping):
        raise InvalidMessageError(f"properties is a {type(properties).__name__}, not a mapping", hint="give a dict of strings")
    plain = {}
    for given, value in properties.items():
        name = plain_text("property name", given)
        if not name.strip():
            raise InvalidMessageError(f"property name {shown(name)} is blank", hint="give a non-empty string")
        if name in props.RESERVED:
            raise InvalidMessageError(
                f"property name {name!r} is reserved by RocketMQ", hint="use tag=, keys=, delay= ..., or another name"
            )
        plain[name] = plain_text(f"the value of property {name!r}:", value)
    return MappingProxyType(plain)


def _plain_rare(buyer_id: Any, priority: Any, light_queues: Any) -> Mapping[str, str]:
    """The properties of the system for what few messages have."""
    rare = {}
    if buyer_id is not None:
        rare[props.BUYER_ID] = plain_text("buyer_id", buyer_id)
    if priority is not None:
        rare[props.PRIORITY] = str(plain_number("priority", priority, 0, 0x7FFFFFFF, "a number of 31 bits, 0 or more"))
    if isinstance(light_queues, bytes) or not isinstance(light_queues, Iterable):
        raise InvalidMessageError(
            f"light_queues {shown(light_queues)} is a {type(light_queues).__name__}", hint="give one string, or a list of strings"
        )
    names = []
    for given in (light_queues,) if isinstance(light_queues, str) else light_queues:
        name = plain_text("light queue", given).removeprefix(LMQ_PREFIX)
        if "%" in name:
            raise InvalidMessageError(f"light queue {shown(given)} holds '%'", hint="use letters, digits, '_' and '-'")
        check_topic(LMQ_PREFIX + name)
        names.append(LMQ_PREFIX + name)
    if names:
        # Each once: a queue named twice gets the message once, but brokers count it twice, and all offsets behind it are wrong.
        rare[props.MULTI_DISPATCH] = ",".join(dict.fromkeys(names))
    return MappingProxyType(rare)


def _milliseconds(field: str, value: Any) -> float:
    """A number of seconds whose milliseconds fit into a header, as a plain float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidMessageError(
            f"{field} {shown(value)} is a {type(value).__name__}, not a number of seconds", hint="give a finite number"
        )
    try:
        seconds = float(value)
    except OverflowError:
        seconds = float("inf")
    if not isfinite(seconds) or not -_MAX_MS <= seconds * 1000 < _MAX_MS:
        raise InvalidMessageError(f"{field} {shown(value)} is out of range", hint="give a finite number of seconds")
    return seconds


@mypyc_attr(allow_interpreted_subclasses=True)
class Message:
    """A message to send. Immutable: `replace()` makes a changed copy. It can be sent any number of times, and gets a new id each time.

    Values of enums and of other classes derived from `str`, `int` and `bytes` become plain ones.

    Args:
        topic: Topic name: letters, digits, `%`, `|`, `_`, `-`, up to 127.
        body: Bytes of the body, 1 byte to the producer's `max_message_size` (4 MiB by default).
        tag: One tag that consumers can filter by, or None.
        keys: Words by which the message can be found later: one string or an iterable of strings without blanks.
        properties: User properties; names and values are non-empty strings, reserved names are refused. All properties of a message
            together, tag and keys included, take some 32,000 bytes at most.
        delay: Deliver after this many seconds (float or timedelta), to the millisecond; needs a 5.x broker.
        deliver_at: Deliver at this time: an aware datetime, or seconds since the epoch; needs a 5.x broker.
        delay_level: Deliver after a fixed delay, 1 (1 s) to 18 (2 h); works on every broker.
        sharding_key: Messages of one key go to one queue, and the key is stored with them.
        flag: A number of the user's own, 32 bits signed.
        wait_store_ok: False lets the broker answer before the message is flushed or replicated.
        buyer_id: Legacy routing id, or None.
        priority: 0 (lowest) or more: the broker puts the message into the queue of that number, or into the last one, and POP consumers of
            a topic of the type `PRIORITY` get the messages of the last queues first. Needs a broker of 5.4 or newer.
        light_queues: Names of light queues (LMQ) that get the message, too: one string or an iterable of strings, letters, digits, `_` and
            `-`. They are read as the topics `%LMQ%name`. Brokers take part only with `enableLmq` and `enableMultiDispatch`.

    Raises:
        InvalidMessageError: One of the fields cannot work; the text names field, value and cure.
        InvalidNameError: The topic is not a legal name.
    """

    __slots__ = (
        "_anywhere", "_body", "_delay", "_delay_level", "_deliver_at", "_flag", "_keys", "_properties", "_rare", "_rest", "_rest_size",
        "_sharding_key", "_simple", "_tag", "_topic", "_wait_store_ok",
    )  # fmt: skip

    def __init__(
        self,
        topic: str | StrEnum,
        body: bytes | bytearray | memoryview,
        *,
        tag: str | StrEnum | None = None,
        keys: str | Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        delay: float | timedelta | None = None,
        deliver_at: datetime | float | None = None,
        delay_level: int | IntEnum | None = None,
        sharding_key: str | StrEnum | None = None,
        flag: int | IntEnum = 0,
        wait_store_ok: bool | Switch = True,
        buyer_id: str | StrEnum | None = None,
        priority: int | IntEnum | None = None,
        light_queues: str | Iterable[str] = (),
    ) -> None:
        # Unions keep the compiled form from checking arguments with errors of its own, before they can be checked here.
        any_body: Any = body if type(body) is bytes else _plain_body(body)
        any_topic: Any = topic if type(topic) is str and topic in _KNOWN_TOPICS else _plain_topic(topic)
        if not any_body:
            raise InvalidMessageError(
                f"the body of a message for topic {any_topic!r} is empty", hint="brokers refuse empty bodies: send at least one byte"
            )
        # What is private here is read by the modules that send; a property would cost each of them a call.
        self._topic: str = any_topic
        self._body: bytes = any_body
        self._tag: str | None = None
        self._keys: tuple[str, ...] = ()
        self._properties: Mapping[str, str] = _NONE
        self._delay: float | None = None
        self._deliver_at: float | None = None
        self._delay_level: int | None = None
        self._sharding_key: str | None = None
        self._flag: int = 0
        self._wait_store_ok: bool = True
        # Properties of the system that few messages have: buyer id, priority, light queues.
        self._rare: Mapping[str, str] = _NONE
        # Nothing but a topic, a body, a flag, a tag in ASCII and `wait_store_ok`.
        self._simple: bool = True
        # Any queue of any broker will do: no sharding key, no delay by time, and no priority.
        self._anywhere: bool = True
        # The text of the wire from the end of the id on, and its bytes.
        self._rest: str = _WAIT
        self._rest_size: int = len(_WAIT)
        any_flag: Any = flag
        any_keys: Any = keys
        if type(any_flag) is not int or any_flag != 0:
            self._flag = plain_number("flag", any_flag, -0x80000000, 0x7FFFFFFF, "a number of 32 bits signed")
        if (
            tag is not None
            or any_keys
            or type(any_keys) is not tuple
            or sharding_key is not None
            or delay_level is not None
            or delay is not None
            or deliver_at is not None
            or buyer_id is not None
            or wait_store_ok is not True
            or properties is not None
            or priority is not None
            or light_queues != ()
        ):
            if buyer_id is not None or priority is not None or light_queues != ():
                self._rare = _plain_rare(buyer_id, priority, light_queues)
            self._take(tag, any_keys, properties, delay, deliver_at, delay_level, sharding_key, wait_store_ok)

    def _take(
        self,
        tag: Any,
        keys: Any,
        properties: Any,
        delay: Any,
        deliver_at: Any,
        delay_level: Any,
        sharding_key: Any,
        wait_store_ok: Any,
    ) -> None:
        if wait_store_ok is not True:
            if wait_store_ok is not False:
                raise InvalidMessageError(f"wait_store_ok {shown(wait_store_ok)} is not a bool", hint="use True or False")
            self._wait_store_ok = False
        if tag is not None:
            self._tag = _plain_tag(tag)
            self._simple = self._tag.isascii()
        if not isinstance(keys, tuple) or keys:
            self._keys = _plain_keys(keys)
        if properties is not None:
            self._properties = _plain_properties(properties) or _NONE
        if sharding_key is not None:
            self._sharding_key = plain_text("sharding_key", sharding_key)
        if delay is not None or deliver_at is not None or delay_level is not None:
            self._set_delay(delay, deliver_at, delay_level)
        if self._keys or self._properties or self._sharding_key is not None or self._rare or self.delayed:
            self._simple = False
        priority = self.priority
        if priority is not None and (self.delayed or self._sharding_key is not None):
            raise InvalidMessageError(
                f"priority {priority} excludes delays and a sharding_key",
                hint="a priority is the choice of a queue",
            )
        self._anywhere = self._sharding_key is None and not self.timed and priority is None
        self._rest = rest = self._joined(self._sharding_key)
        self._rest_size = self.checked_size(rest)

    def _set_delay(self, delay: Any, deliver_at: Any, delay_level: Any) -> None:
        if (delay is not None) + (deliver_at is not None) + (delay_level is not None) > 1:
            raise InvalidMessageError("delay, deliver_at and delay_level exclude each other", hint="give one of them")
        if delay_level is not None:
            self._delay_level = plain_number("delay_level", delay_level, 1, MAX_DELAY_LEVEL, "1 (1 s) to 18 (2 h)")
        elif delay is not None:
            self._delay = seconds = _milliseconds("delay", delay.total_seconds() if isinstance(delay, timedelta) else delay)
            if seconds <= 0:
                raise InvalidMessageError(f"delay {shown(delay)} is not positive", hint="give seconds greater than 0")
        else:
            if isinstance(deliver_at, datetime):
                if deliver_at.utcoffset() is None:
                    raise InvalidMessageError(
                        f"deliver_at {shown(deliver_at)} has no time zone", hint="use datetime.now(UTC) + ..., or seconds since the epoch"
                    )
                deliver_at = deliver_at.timestamp()
            self._deliver_at = moment = _milliseconds("deliver_at", deliver_at)
            if moment > _LATEST:
                raise InvalidMessageError(
                    f"deliver_at {shown(deliver_at)} is beyond the year 9999", hint="give seconds since the epoch, not milliseconds"
                )

    def _joined(self, sharding_key: str | None) -> str:
        text = _WAIT if self._wait_store_ok else _NO_WAIT
        if self._tag is not None:
            text += f"{props.TAGS}\x01{self._tag}\x02"
        if self._keys:
            text += f"{props.KEYS}\x01{' '.join(self._keys)}\x02"
        if sharding_key is not None:
            text += f"{props.SHARDING_KEY}\x01{sharding_key}\x02"
        if self._delay_level is not None:
            text += f"{props.DELAY}\x01{self._delay_level}\x02"
        if self._delay is not None:
            text += f"{props.TIMER_DELAY_MS}\x01{max(1, round(self._delay * 1000))}\x02"
        if self._deliver_at is not None:
            text += f"{props.TIMER_DELIVER_MS}\x01{round(self._deliver_at * 1000)}\x02"
        if self._rare:
            text += props.encode_properties(self._rare)
        if self._properties:
            text += props.encode_properties(self._properties)
        return text

    def checked_size(self, rest: str) -> int:
        """Bytes of a text of properties that follows the id.

        Raises:
            InvalidMessageError: A broker could not store them together with what it adds itself.
        """
        size = len(rest) if rest.isascii() else len(rest.encode())
        room = BROKER_ROOM + 2 * len(self._topic)
        total = size + len(_UNIQ) + MAX_ID
        if total > props.MAX_PROPERTIES_LENGTH - room:
            raise InvalidMessageError(
                f"the properties take {total} bytes on the wire, the limit is {props.MAX_PROPERTIES_LENGTH}, "
                f"of which {room} are for what brokers add when a message of topic {self._topic!r} is retried",
                hint="put large values into the body",
            )
        return size

    # -- reading -----------------------------------------------------------------------------------------------------------------------

    @property
    def topic(self) -> str:
        """Topic name."""
        return self._topic

    @property
    def body(self) -> bytes:
        """The body."""
        return self._body

    @property
    def tag(self) -> str | None:
        """The tag, or None."""
        return self._tag

    @property
    def keys(self) -> tuple[str, ...]:
        """The words by which the message can be found."""
        return self._keys

    @property
    def properties(self) -> Mapping[str, str]:
        """The user's properties; cannot be changed."""
        return self._properties

    @property
    def delay(self) -> float | None:
        """Seconds until it is delivered, or None."""
        return self._delay

    @property
    def deliver_at(self) -> float | None:
        """When it is delivered, in seconds since the epoch, or None."""
        return self._deliver_at

    @property
    def delay_level(self) -> int | None:
        """Delay level, or None."""
        return self._delay_level

    @property
    def sharding_key(self) -> str | None:
        """The key that chooses its queue, or None."""
        return self._sharding_key

    @property
    def flag(self) -> int:
        """The user's own number."""
        return self._flag

    @property
    def wait_store_ok(self) -> bool:
        """Whether the broker answers only when the message is flushed and replicated as it is configured."""
        return self._wait_store_ok

    @property
    def buyer_id(self) -> str | None:
        """Legacy routing id, or None."""
        return self._rare.get(props.BUYER_ID)

    @property
    def priority(self) -> int | None:
        """How much it is preferred, or None."""
        text = self._rare.get(props.PRIORITY)
        return None if text is None else int(text)

    @property
    def light_queues(self) -> tuple[str, ...]:
        """The light queues that get it, too."""
        text = self._rare.get(props.MULTI_DISPATCH)
        return () if text is None else tuple([name.removeprefix(LMQ_PREFIX) for name in text.split(",")])

    @property
    def delayed(self) -> bool:
        """True when the message asks for any kind of delay."""
        return self._delay_level is not None or self.timed

    @property
    def timed(self) -> bool:
        """True when the message asks for a delay by time, which only brokers with timers (5.x) know."""
        return self._delay is not None or self._deliver_at is not None

    @property
    def goes_alone(self) -> bool:
        """True when it cannot be a part of a batch: brokers look at delays, priorities and light queues of single messages only."""
        return self.delayed or props.PRIORITY in self._rare or props.MULTI_DISPATCH in self._rare

    @property
    def goes_anywhere(self) -> bool:
        """True when any queue of any broker will do: it has no sharding key, no delay by time, and no priority."""
        return self._anywhere

    # -- copies ------------------------------------------------------------------------------------------------------------------------

    def replace(self, **changes: Unpack[MessageFields]) -> Self:
        """A copy with other values in some fields; the message itself stays as it is.

        Args:
            changes: Arguments of `Message`, by name. One of `delay`, `deliver_at` and `delay_level` takes the place of the other two.

        Raises:
            InvalidMessageError, InvalidNameError: As `Message`.
            TypeError: There is no field of this name.
        """
        fields = self._fields()
        for name in ("delay", "deliver_at", "delay_level"):
            if changes.get(name) is not None:
                fields.update(delay=None, deliver_at=None, delay_level=None)
        fields.update(changes)
        kind: Any = type(self)
        made: Self = kind.__new__(kind)  # a derived class may have a constructor of its own
        made.__setstate__(self._own_fields())
        Message.__init__(made, fields.pop("topic"), fields.pop("body"), **fields)
        return made

    def _fields(self) -> dict[str, Any]:
        return {
            "topic": self._topic,
            "body": self._body,
            "tag": self._tag,
            "keys": self._keys,
            "properties": self._properties or None,
            "delay": self._delay,
            "deliver_at": self._deliver_at,
            "delay_level": self._delay_level,
            "sharding_key": self._sharding_key,
            "flag": self._flag,
            "wait_store_ok": self._wait_store_ok,
            "buyer_id": self.buyer_id,
            "priority": self.priority,
            "light_queues": self.light_queues,
        }

    def _own_fields(self) -> dict[str, Any]:
        """What a derived class has added to its objects."""
        own = dict(getattr(self, "__dict__", {}))
        for kind in type(self).__mro__[: type(self).__mro__.index(Message)]:
            for name, member in vars(kind).items():
                if isinstance(member, MemberDescriptorType) and hasattr(self, name):
                    own[name] = getattr(self, name)
        return own

    def __reduce__(self) -> tuple[Any, ...]:
        # Copying and pickling find slots by themselves, but not the fields of the compiled form, and no view of a dict.
        fields = self._fields()
        fields["properties"] = dict(self._properties)
        # What was added comes afterwards, as it may refer to the message itself.
        return _remake, (type(self), fields), self._own_fields()

    def __setstate__(self, own: dict[str, Any]) -> None:
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message) or type(self) is not type(other):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((self._topic, self._body, self._rest, self._flag))

    # -- the wire ----------------------------------------------------------------------------------------------------------------------

    def wire_properties(self) -> dict[str, str]:
        """All properties of the message as they go over the wire, the reserved ones included; a new dictionary."""
        return props.decode_properties(self._rest)

    def wire_text(self, message_id: str, sharding_key: Any = None) -> str:
        """The properties with their id as one text of the wire.

        Args:
            message_id: The unique id of this send, up to 56 characters.
            sharding_key: A string that goes in place of the message's own sharding key; None keeps that.

        Raises:
            InvalidMessageError: The sharding key cannot be sent.
        """
        return f"{_UNIQ}{message_id}{self._rest if sharding_key is None else self.rest_with(sharding_key)}"

    def rest_with(self, sharding_key: Any) -> str:
        """The text of the wire from the end of the id on, with another sharding key in place of the message's own.

        Raises:
            InvalidMessageError: The sharding key cannot be sent.
        """
        rest = self._joined(plain_text("sharding_key", sharding_key))
        self.checked_size(rest)
        return rest

    def __repr__(self) -> str:
        if not hasattr(self, "_body"):
            return "<Message that was refused>"  # tracebacks with local variables show it
        return f"Message(topic={self._topic!r}, body=<{len(self._body)} bytes>, tag={self._tag!r}, keys={self._keys!r})"


def _remake(kind: Any, fields: dict[str, Any]) -> Message:
    made: Message = kind.__new__(kind)
    Message.__init__(made, fields.pop("topic"), fields.pop("body"), **fields)
    return made
