"""The one configuration of a client instance (Java: `ClientConfig`, `NettyClientConfig`). Features Q50-Q68, L1, L2.

A `ClientConfig` is a frozen value: validated when made, copied whole by `replace()`, made from keywords, from the environment, or from
a URL `rocketmq://host:port,host:port/instance?field=value`. Durations are seconds.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.model.parsing import decimal_or_none, number_or_none, parse_addresses

if TYPE_CHECKING:
    import ssl

DEFAULT_INSTANCE_NAME: Final = "DEFAULT"
NAME_SERVER_ENV: Final = "NAMESRV_ADDR"
DEFAULT_ADDRESS_SERVICE_DOMAIN: Final = "jmenv.tbsite.net"
DEFAULT_ADDRESS_SERVICE_GROUP: Final = "nsaddr"
FRAME_MAX_LENGTH: Final = 16 * 1024 * 1024

NameServers = str | Iterable[str] | None


@dataclass(frozen=True, slots=True)
class TLS:
    """How to secure every connection of a client, name servers and brokers alike.

    Attributes:
        ca_file: PEM file of the authorities to trust; None trusts the system's.
        cert_file: PEM certificate of the client, for mutual TLS.
        key_file: PEM key of the client; None when `cert_file` holds it.
        key_password: Password of the key. Never shown.
        check_hostname: Compare the certificate with the host that was dialled.
        insecure_skip_verify: Accept any certificate. Only for tests: it gives no protection.
        context: A ready `ssl.SSLContext`, used as it is; the other fields are then not allowed.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = field(default=None, repr=False)
    check_hostname: bool = True
    insecure_skip_verify: bool = False
    context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.key_file and not self.cert_file:
            raise ConfigError("TLS key_file is given without cert_file", hint="give both, or neither")
        if self.context is not None and (self.ca_file or self.cert_file or self.insecure_skip_verify):
            raise ConfigError("TLS context excludes ca_file, cert_file and insecure_skip_verify", hint="set these in the context itself")

    def make_context(self) -> ssl.SSLContext:
        """Build the context that connections use.

        Raises:
            ConfigError: A file cannot be read or is not PEM.
        """
        if self.context is not None:
            return self.context
        import ssl  # a fifth of the package's import time, for a few of its users

        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file, self.key_password)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(name for name in (self.ca_file, self.cert_file, self.key_file) if name)
            raise ConfigError(f"TLS files {files} cannot be loaded: {error}", hint="give readable PEM files") from error
        context.check_hostname = self.check_hostname and not self.insecure_skip_verify
        if self.insecure_skip_verify:
            context.verify_mode = ssl.CERT_NONE
        return context


def seconds(value: float | timedelta) -> float:
    """A duration as float seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """Settings of a client instance; the names are Java's in snake case, durations are seconds (float or timedelta).

    Attributes:
        name_servers: `a:9876;b:9876` or a list; left out it comes from `NAMESRV_ADDR`, then from the HTTP address service.
        instance_name: Part of the client id; `DEFAULT` becomes a name unique to this process and event loop.
        client_ip: Part of the client id; None takes the local address.
        unit_name: Unit for the address service and the client id, or None.
        unit_mode: Sent with requests for deployments in units.
        poll_name_server_interval: Between two route refreshes.
        heartbeat_broker_interval: Between two heartbeats.
        persist_consumer_offset_interval: Between two saves of the offsets that changed.
        adjust_thread_pool_interval: Between two fittings of the consume workers to the backlog.
        fetch_name_server_interval: Between two fetches from the HTTP address service.
        rebalance_interval: Between two rebalances that nothing asked for.
        rebalance_min_interval: Between two rebalances in any case.
        pull_time_delay_when_exception: Wait before the next pull after a failed one.
        mq_client_api_timeout: Time-out of requests that have none of their own.
        connect_timeout: Time to make a connection, TLS included.
        client_channel_max_idle_time: A connection without traffic for this long is closed.
        client_async_semaphore_value: Requests in flight that await an answer, at most.
        client_oneway_semaphore_value: One-way requests in flight, at most.
        client_close_socket_if_timeout: Close a connection that stayed silent while a request on it timed out.
        frame_max_length: Bytes of the longest frame accepted from a peer.
        max_decompressed_length: Bytes of the largest body accepted after decompression.
        vip_channel_enabled: Send through the broker's second port (port - 2).
        use_heartbeat_v2: Short heartbeats with a fingerprint (5.x brokers).
        enable_heartbeat_channel_event_listener: Heartbeat at once on every new broker connection.
        serialize_type: Encoding of request headers; codes that do not fit the binary form go as JSON all the same.
        enable_stream_request_type: Mark requests and the client id as a stream client.
        tls: `TLS(...)`, True for TLS with the system's authorities, or None/False for plain connections.
        address_service_domain: Host (or host:port) of the HTTP address service (Java: rocketmq.namesrv.domain).
        address_service_group: Path of the HTTP address service (Java: rocketmq.namesrv.domain.subgroup).
    """

    name_servers: NameServers = None
    instance_name: str = DEFAULT_INSTANCE_NAME
    client_ip: str | None = None
    unit_name: str | None = None
    unit_mode: bool = False
    poll_name_server_interval: float = 30.0
    heartbeat_broker_interval: float = 30.0
    persist_consumer_offset_interval: float = 5.0
    adjust_thread_pool_interval: float = 60.0
    fetch_name_server_interval: float = 120.0
    rebalance_interval: float = 20.0
    rebalance_min_interval: float = 1.0
    pull_time_delay_when_exception: float = 1.0
    mq_client_api_timeout: float = 3.0
    connect_timeout: float = 3.0
    client_channel_max_idle_time: float = 120.0
    client_async_semaphore_value: int = 65535
    client_oneway_semaphore_value: int = 65535
    client_close_socket_if_timeout: bool = True
    frame_max_length: int = FRAME_MAX_LENGTH
    max_decompressed_length: int = 64 * 1024 * 1024
    vip_channel_enabled: bool = False
    use_heartbeat_v2: bool = False
    enable_heartbeat_channel_event_listener: bool = True
    serialize_type: SerializeType = SerializeType.JSON
    enable_stream_request_type: bool = False
    tls: TLS | bool | None = None
    address_service_domain: str = DEFAULT_ADDRESS_SERVICE_DOMAIN
    address_service_group: str = DEFAULT_ADDRESS_SERVICE_GROUP

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "name_servers", parse_addresses(self.name_servers, "name server"))
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if spec.type == "float":
                put(self, spec.name, self._duration(spec.name, value))
            elif spec.type in ("int", "int | None") and value is not None:
                self._positive(spec.name, value)
            elif spec.type == "bool" and not isinstance(value, bool):
                raise ConfigError(f"{spec.name} {value!r} is not a bool", hint="use True or False")
        for name in ("instance_name", "unit_name", "client_ip"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value or "@" in value or any(char.isspace() for char in value)):
                raise ConfigError(f"{name} {value!r} is empty, or holds blanks or '@'", hint="it is a part of the client id: use one word")
        if not isinstance(self.serialize_type, SerializeType):
            raise ConfigError(
                f"serialize_type {self.serialize_type!r} is not a SerializeType", hint="use SerializeType.JSON or SerializeType.ROCKETMQ"
            )
        if self.tls is True:
            put(self, "tls", TLS())
        elif self.tls is False:
            put(self, "tls", None)
        elif self.tls is not None and not isinstance(self.tls, TLS):
            raise ConfigError(f"tls {self.tls!r} is a {type(self.tls).__name__}", hint="use True, False or TLS(...)")

    @staticmethod
    def _duration(name: str, value: float | timedelta) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
            raise ConfigError(f"{name} {value!r} is not a duration", hint="use seconds as a number, or a timedelta")
        amount = seconds(value)
        if not 0 < amount < float("inf"):
            raise ConfigError(f"{name} {value!r} is out of range", hint="use a duration greater than 0 seconds")
        return amount

    @staticmethod
    def _positive(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise ConfigError(f"{name} {value!r} is out of range", hint="use a whole number greater than 0")

    @property
    def name_server_list(self) -> tuple[str, ...]:
        """The parsed `name_servers`; empty when none was given."""
        return parse_addresses(self.name_servers, "name server")

    @property
    def tls_settings(self) -> TLS | None:
        """The TLS settings, or None for plain connections."""
        return self.tls if isinstance(self.tls, TLS) else None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; nothing else is lost (K21)."""
        _refuse_unknown(changes)
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_fields(cls, config: ClientConfig | str | None, name_servers: NameServers, changes: Mapping[str, Any]) -> ClientConfig:
        """What every client's constructor does: a config or URL, changed by the keywords, completed from the environment.

        Raises:
            ConfigError: A keyword is no field, or a field has an impossible value.
        """
        _refuse_unknown(changes)
        base = cls.from_url(config) if isinstance(config, str) else config or cls()
        if isinstance(name_servers, str) and name_servers.startswith(("rocketmq://", "rocketmqs://")):
            base, name_servers = cls.from_url(name_servers), None
        fields = dict(changes)
        if name_servers is not None:
            fields["name_servers"] = name_servers
        made = base.replace(**fields) if fields else base
        return made if made.name_servers else made.replace(name_servers=os.environ.get(NAME_SERVER_ENV))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> ClientConfig:
        """Read `NAMESRV_ADDR` and `ROCKETMQ_<FIELD>` for every field, for example `ROCKETMQ_HEARTBEAT_BROKER_INTERVAL=10`.

        Raises:
            ConfigError: A variable has a value that cannot work.
        """
        source = os.environ if environ is None else environ
        found = {spec.name: source[name] for spec in dataclasses.fields(cls) if (name := f"ROCKETMQ_{spec.name.upper()}") in source}
        if "name_servers" not in found and NAME_SERVER_ENV in source:
            found["name_servers"] = source[NAME_SERVER_ENV]
        return cls(**{name: _parse_field(name, text) for name, text in found.items()})

    @classmethod
    def from_url(cls, url: str) -> ClientConfig:
        """Read `rocketmq://host:port,host:port/instance?heartbeat_broker_interval=10`; `rocketmqs://` turns TLS on.

        Raises:
            ConfigError: The URL is not of this form.
        """
        try:
            parts = urlsplit(url)
        except ValueError:  # its text may hold the whole authority, user and password included
            raise ConfigError(f"URL {_without_secret(url)!r} cannot be read", hint="write rocketmq://[::1]:9876 for IPv6") from None
        if parts.scheme not in ("rocketmq", "rocketmqs"):
            raise ConfigError(
                f"URL {_without_secret(url)!r} has the scheme {parts.scheme!r}",
                hint="write rocketmq://host:port or rocketmqs://host:port for TLS",
            )
        if "@" in parts.netloc:
            raise ConfigError(
                f"URL {_without_secret(url)!r} holds a user name", hint="leave it out: credentials do not go into the address"
            )
        fields: dict[str, Any] = {}
        for name, text in parse_qsl(parts.query, keep_blank_values=True):
            _refuse_unknown({name: text})
            fields[name] = _parse_field(name, text)
        if parts.netloc:
            fields["name_servers"] = parts.netloc
        if parts.path.strip("/"):
            fields["instance_name"] = unquote(parts.path.strip("/"))
        if parts.scheme == "rocketmqs":
            fields.setdefault("tls", True)
        return cls(**fields)


def _without_secret(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return url if "@" not in authority else f"{scheme}{mark}***@{authority.rpartition('@')[2]}{slash}{path}"


def _refuse_unknown(names: Mapping[str, object]) -> None:
    known = [spec.name for spec in dataclasses.fields(ClientConfig)]
    for name in names:
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, 1)
            raise ConfigError(
                f"{name!r} is not a field of ClientConfig", hint=f"did you mean {near[0]!r}?" if near else "see help(ClientConfig)"
            )


def _parse_field(name: str, text: str) -> Any:
    kind = next(spec.type for spec in dataclasses.fields(ClientConfig) if spec.name == name)
    if kind in ("float", "int", "int | None", "SerializeType"):
        value: float | SerializeType | None
        if kind == "float":
            value = decimal_or_none(text)
        elif kind == "SerializeType":
            value = SerializeType.__members__.get(text.upper())
        else:
            value = number_or_none(text)
        if value is None:
            raise ConfigError(f"{name} {text!r} cannot be read as {kind}", hint=f"give a {kind}")
        return value
    if kind in ("bool", "TLS | bool | None"):
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ConfigError(f"{name} {text!r} is not a bool", hint="use true or false")
        return text.lower() in ("true", "1", "yes")
    return text
