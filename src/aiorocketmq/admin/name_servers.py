"""Name servers: their settings, and the table of values that they keep (Java: `putKVConfig`, `getNameServerConfig`). Feature Q29."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

from aiorocketmq.admin.kernel import Family
from aiorocketmq.admin.operation import Operation, Where, body, header, nothing
from aiorocketmq.admin.partial import Partial
from aiorocketmq.admin.settings import settings_body
from aiorocketmq.errors import ConfigError, QueryNotFoundError
from aiorocketmq.protocol.bodies import KVTable
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_admin import (
    DeleteKVConfigRequestHeader,
    GetKVConfigRequestHeader,
    GetKVConfigResponseHeader,
    GetKVListByNamespaceRequestHeader,
    PutKVConfigRequestHeader,
)
from aiorocketmq.protocol.settings import read_settings

_ALL: Final = Where.NAME_SERVERS
_GET: Final = Operation("settings of name servers", RequestCode.GET_NAMESRV_CONFIG, _ALL, lambda response: read_settings(response.body))
_SET: Final = Operation("change settings of name servers", RequestCode.UPDATE_NAMESRV_CONFIG, _ALL, nothing)
_PUT: Final = Operation("put the value", RequestCode.PUT_KV_CONFIG, _ALL, nothing)
_DELETE: Final = Operation("delete the value", RequestCode.DELETE_KV_CONFIG, _ALL, nothing)
_VALUE: Final = Operation("value of", RequestCode.GET_KV_CONFIG, Where.NAME_SERVER, header(GetKVConfigResponseHeader))
_VALUES: Final = Operation("values of", RequestCode.GET_KVLIST_BY_NAMESPACE, Where.NAME_SERVER, body(KVTable))


class NameServerConfig(Family):
    """The settings of name servers."""

    async def get(self) -> Partial[dict[str, str]]:
        """All settings of every name server, by address (319).

        Raises:
            RocketMQError: No name server is known.

        Cancelling it is safe.
        """
        return await self._kernel.ask(_GET)

    async def set(self, values: Mapping[str, str]) -> Partial[None]:
        """Change settings of every name server while they run (318).

        Args:
            values: Name → new value, as the name server writes them.

        Returns:
            Which name servers have taken them, and what went wrong at the others.

        Raises:
            ConfigError: A setting is none.
            RocketMQError: No name server is known.

        Cancelling it may leave some name servers changed.
        """
        return await self._kernel.ask(_SET, None, settings_body(values))


class NameServerValues(Family):
    """The values that name servers keep, by namespace and key; the orders of topics are in `ORDER_TOPIC_CONFIG`."""

    async def get(self, namespace: str, key: str) -> str | None:
        """A value; None where there is none (101).

        Raises:
            ConfigError: A name is none.
            RocketMQError: No name server answered without an error.

        Cancelling it is safe.
        """
        fields = GetKVConfigRequestHeader(_word("namespace", namespace), _word("key", key))
        try:
            return (await self._kernel.ask_name_server(_VALUE, fields)).value
        except QueryNotFoundError:
            return None

    async def list(self, namespace: str) -> dict[str, str]:
        """All values of a namespace, by key; empty where there is none (219).

        Raises:
            ConfigError: It is no name.
            RocketMQError: No name server answered without an error.

        Cancelling it is safe.
        """
        fields = GetKVListByNamespaceRequestHeader(_word("namespace", namespace))
        try:
            found = await self._kernel.ask_name_server(_VALUES, fields)
        except QueryNotFoundError:
            return {}
        return dict(sorted(found.table.items()))

    async def put(self, namespace: str, key: str, value: str) -> Partial[None]:
        """Set a value at every name server (100).

        Raises:
            ConfigError: A name or the value is none.
            RocketMQError: No name server is known.

        Cancelling it may leave some name servers without it; calling it again is safe.
        """
        fields = PutKVConfigRequestHeader(_word("namespace", namespace), _word("key", key), _word("value", value))
        return await self._kernel.ask(_PUT, fields, about=f"{namespace} {key}")

    async def delete(self, namespace: str, key: str) -> Partial[None]:
        """Delete a value at every name server; nothing happens where there is none (102).

        Raises:
            ConfigError: A name is none.
            RocketMQError: No name server is known.

        Cancelling it may leave some name servers with it; calling it again is safe.
        """
        fields = DeleteKVConfigRequestHeader(_word("namespace", namespace), _word("key", key))
        return await self._kernel.ask(_DELETE, fields, about=f"{namespace} {key}")


class NameServerFamily(Family):
    """What an admin client does with name servers."""

    @cached_property
    def config(self) -> NameServerConfig:
        """Their settings."""
        return NameServerConfig(self._kernel)

    @cached_property
    def kv(self) -> NameServerValues:
        """The values that they keep."""
        return NameServerValues(self._kernel)

    async def list(self) -> tuple[str, ...]:
        """Addresses of the name servers that this client uses, the one in use first. Asks nobody."""
        return self._kernel.instance.remoting.name_servers


def _word(name: str, value: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} {value!r} is no text, or empty", hint="give a text")
    return value
