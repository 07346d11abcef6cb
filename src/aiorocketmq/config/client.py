"""The one configuration of a client instance (Java: `ClientConfig`, `NettyClientConfig`). Features Q50-Q68, L1, L2.

A `ClientConfig` is a frozen value: validated when made, copied whole by `replace()`, made from keywords, from the environment, or from
a URL `rocketmq://host:port,host:port/instance?field=value`. Durations are seconds.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeGuard, cast

from aiorocketmq.config.addresses import AddressMap, address_map_of
from aiorocketmq.config.credentials import CredentialsFile, CredentialsSource, check_source, credentials_of
from aiorocketmq.config.endpoints import check_namespaces, instance_of
from aiorocketmq.config.values import TLS, NameServerResolver, NameServers, check_resolver, parse_name_servers
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import INT32_MAX, duration, flag, member, whole
from aiorocketmq.model.enums import AccessChannel, SerializeType
from aiorocketmq.model.namespace import Namespace
from aiorocketmq.model.parsing import decimal_or_none, number_or_none, parse_addresses, without_user
from aiorocketmq.wording import shown

if TYPE_CHECKING:
    from typing import Unpack

    from aiorocketmq.config.fields import ClientFields, ConfigFields
    from aiorocketmq.config.proxies import SocksProxies

DEFAULT_INSTANCE_NAME: Final = "DEFAULT"
NAME_SERVER_ENV: Final = "NAMESRV_ADDR"
ZONE_ENV: Final = "ROCKETMQ_ZONE"
ZONE_MODE_ENV: Final = "ROCKETMQ_ZONE_MODE"
DEFAULT_ADDRESS_SERVICE_DOMAIN: Final = "jmenv.tbsite.net"
DEFAULT_ADDRESS_SERVICE_GROUP: Final = "nsaddr"
FRAME_MAX_LENGTH: Final = 16 * 1024 * 1024
SCHEMES: Final = ("rocketmq", "rocketmqs")
_PLAIN: Final = "leave it out, or write rocketmq:// for plain connections"


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """Settings of a client instance; the names are Java's in snake case, durations are given as seconds or timedelta and kept as seconds.

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
        fetch_name_server_interval: Between two fetches from the HTTP address service, or from `name_server_resolver`.
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
        max_decompressed_length: Bytes of the largest body accepted after decompression; a larger one raises when it is read.
        decode_read_body: False leaves the bodies of messages that are read empty.
        decode_decompress_body: False leaves them compressed, as they are stored; `ReceivedMessage.sys_flag` says how.
        vip_channel_enabled: Send through the broker's second port (port - 2).
        use_heartbeat_v2: Short heartbeats with a fingerprint (5.x brokers).
        enable_heartbeat_channel_event_listener: Heartbeat at once on every new broker connection.
        serialize_type: Encoding of request headers; codes that do not fit the binary form go as JSON all the same.
        enable_stream_request_type: Mark requests and the client id as a stream client.
        address_map: What to dial in place of addresses that brokers advertise: `{"172.17.0.5:10911": "localhost:10911"}`, or a function
            that gives the one for the other. With TLS the certificate is checked against the advertised host.
        credentials: Who signs the requests: `Credentials`, a `CredentialsFile`, or a function (plain or async) that answers `Credentials`
            and is asked for each request; None signs nothing.
        socks_proxy_config: SOCKS5 proxies by the network of what is dialled, as Java's JSON or a mapping:
            `{"10.0.0.0/8": {"addr": "proxy:1080", "username": "me", "password": "..."}}`; `0.0.0.0/0` is everything.
        tls: `TLS(...)`, True for TLS with the system's authorities, or None/False for plain connections.
        address_service_domain: Host (or host:port) of the HTTP address service (Java: rocketmq.namesrv.domain).
        address_service_group: Path of the HTTP address service (Java: rocketmq.namesrv.domain.subgroup).
        namespace: Namespace of all topics and groups: brokers know `orders` as `ns%orders`, users of the client never see that. None takes
            it from name servers of the form `http://MQ_INST_x_y.host:80`; "" is none at all.
        namespace_v2: Namespace (version 2) that every request names in a field of its own; for servers that know it.
        access_channel: `AccessChannel.CLOUD` writes the message trace as a cloud service has it: into the topic
            `rmq_sys_TRACE_DATA_<region>` of the brokers' region.
        zone: The zone (data centre) that the client is in; left out it comes from `ROCKETMQ_ZONE`, with `ROCKETMQ_ZONE_MODE`. Name servers
            are told.
        zone_mode: Use the brokers of the zone alone, and those without a master; for name servers 5.x, which leave out the others.
        name_server_resolver: A function, `def` or `async def`, that gives the name servers as `name_servers` has them: at the start, then
            every `fetch_name_server_interval`. It may take 3 s; one that fails later leaves those in use that are known.
    """

    name_servers: tuple[str, ...] = ()
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
    decode_read_body: bool = True
    decode_decompress_body: bool = True
    vip_channel_enabled: bool = False
    use_heartbeat_v2: bool = False
    enable_heartbeat_channel_event_listener: bool = True
    serialize_type: SerializeType = SerializeType.JSON
    enable_stream_request_type: bool = False
    address_map: AddressMap | None = None
    credentials: CredentialsSource | None = None
    socks_proxy_config: SocksProxies | None = None
    tls: TLS | None = None
    address_service_domain: str = DEFAULT_ADDRESS_SERVICE_DOMAIN
    address_service_group: str = DEFAULT_ADDRESS_SERVICE_GROUP
    namespace: str | None = None
    namespace_v2: str | None = None
    access_channel: AccessChannel = AccessChannel.LOCAL
    zone: str | None = None
    zone_mode: bool = False
    name_server_resolver: NameServerResolver | None = None

    if TYPE_CHECKING:
        _names: ClassVar[Namespace]  # of each instance; a field would be a setting

        # What is given is checked and made plain: a timedelta becomes seconds, True becomes TLS().
        def __init__(self, **fields: Unpack[ConfigFields]) -> None: ...

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "name_servers", parse_name_servers(self.name_servers))
        for name, kind in _kinds().items():
            value = getattr(self, name)
            if kind == "float":
                put(self, name, duration(name, value))
            elif kind == "int":
                put(self, name, whole(name, value, 1, INT32_MAX))
            elif kind == "bool":
                flag(name, value)
            elif kind == "str" and (not isinstance(value, str) or not value):
                raise ConfigError(f"{name} {value!r} is not a text", hint="give a text that is not empty")
        for name in ("instance_name", "unit_name", "client_ip"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value or "@" in value or any(char.isspace() for char in value)):
                raise ConfigError(f"{name} {value!r} is empty, or holds blanks or '@'", hint="it is a part of the client id: use one word")
        check_namespaces(self.namespace, self.namespace_v2)
        put(self, "_names", Namespace(instance_of(self.name_servers) if self.namespace is None else self.namespace))
        if self.zone is not None and (not isinstance(self.zone, str) or not self.zone.strip()):
            raise ConfigError(f"zone {self.zone!r} is not a name", hint="give a text that is not empty, or leave it out")
        check_resolver(self.name_server_resolver, self.name_servers)
        member("serialize_type", self.serialize_type, SerializeType)
        member("access_channel", self.access_channel, AccessChannel)
        put(self, "address_map", address_map_of(self.address_map))
        put(self, "credentials", check_source(self.credentials))
        if self.socks_proxy_config is not None:
            from aiorocketmq.config.proxies import proxies_of  # for those who have one

            put(self, "socks_proxy_config", proxies_of(self.socks_proxy_config))
        tls: object = self.tls
        if isinstance(tls, bool):
            put(self, "tls", TLS() if tls else None)
        elif tls is not None and not isinstance(tls, TLS):
            # Of a dict or a tuple no more than its kind: the password of a key may be in it.
            value = f" {shown(tls)}" if isinstance(tls, str | int) else ""
            raise ConfigError(f"tls{value} is a {type(tls).__name__}", hint="use True, False or TLS(...)")

    @property
    def names(self) -> Namespace:
        """The namespace (version 1) in force; an empty one where there is none."""
        return self._names

    @functools.cached_property
    def request_fields(self) -> dict[str, str]:
        """What every request carries besides its own header."""
        return {"ns": self.namespace_v2, "nsd": "true"} if self.namespace_v2 else {}

    def replace(self, **changes: Unpack[ConfigFields]) -> Self:
        """A copy with some fields changed; nothing else is lost.

        Raises:
            ConfigError: A keyword is no field, or a field has an impossible value.
        """
        _refuse_unknown(changes)
        return dataclasses.replace(self, **cast("Any", changes))

    @classmethod
    def from_fields(cls, config: ClientConfig | str | None, name_servers: NameServers, changes: ClientFields) -> ClientConfig:
        """What every client's constructor does: a config, changed by a URL, then by the keywords, completed from the environment.

        A URL, be it given as `config` or as `name_servers`, changes the fields that it names and no others.

        Args:
            config: A config, a URL, or None for the defaults.
            name_servers: A list of name servers, a URL, or None.
            changes: The keywords.

        Raises:
            ConfigError: A keyword is no field, a field has an impossible value, or TLS is asked for at one place and switched off at
                another.
        """
        _refuse_unknown(changes)
        if config is not None and not isinstance(config, ClientConfig | str):
            raise ConfigError(f"config is a {type(config).__name__}", hint="give a ClientConfig, or a URL rocketmq://host:port")
        urls = [given for given in (config, name_servers) if _is_url(given)]
        if isinstance(config, str) and not urls:
            cls.from_url(config)  # which says why it is none
        made = config if isinstance(config, ClientConfig) else cls()
        for url in urls:
            made = made._join(url)
        if any(_scheme_of(url) == "rocketmqs" for url in urls) and not changes.get("tls", True):
            raise ConfigError(
                "tls=False contradicts the scheme rocketmqs://", hint="leave it out, or write rocketmq:// for plain connections"
            )
        fields: dict[str, Any] = {**changes}
        if name_servers is not None and not _is_url(name_servers):
            fields["name_servers"] = name_servers
        if fields:
            made = made.replace(**cast("ConfigFields", fields))
        return made._completed(os.environ)

    def _completed(self, environ: Mapping[str, str]) -> ClientConfig:
        """This config, with what others have set for the whole process where it says nothing."""
        fields: ConfigFields = {}
        if not self.name_servers and self.name_server_resolver is None and (servers := _name_servers_of(environ)):
            fields["name_servers"] = servers
        if self.zone is None and (zone := environ.get(ZONE_ENV, "").strip()):
            fields["zone"] = zone
            fields["zone_mode"] = self.zone_mode or environ.get(ZONE_MODE_ENV, "").strip().lower() == "true"
        return self.replace(**fields) if fields else self

    def _join(self, url: str) -> ClientConfig:
        """This config, changed by what a URL names; never with less protection than either asks for."""
        fields = _url_fields(url)
        if self.tls is not None and "tls" in fields:
            if not fields["tls"]:
                raise ConfigError(
                    "the URL switches TLS off, which config asks for", hint="take tls=false out of the URL, or tls out of config"
                )
            del fields["tls"]  # the config says how
        return self.replace(**fields)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> ClientConfig:
        """Read `NAMESRV_ADDR` and `ROCKETMQ_<FIELD>` for every field, for example `ROCKETMQ_HEARTBEAT_BROKER_INTERVAL=10`.

        Credentials are read from `ROCKETMQ_ACCESS_KEY`, `ROCKETMQ_SECRET_KEY` and `ROCKETMQ_SECURITY_TOKEN`, or from the file that
        `ROCKETMQ_CREDENTIALS` names.

        Raises:
            ConfigError: A variable has a value that cannot work.
        """
        source = os.environ if environ is None else environ
        found = {name: source[variable] for name in _kinds() if (variable := f"ROCKETMQ_{name.upper()}") in source}
        for variable, name in ((ZONE_ENV, "zone"), (ZONE_MODE_ENV, "zone_mode")):  # Java's: there a blank one is none
            if not source.get(variable, "").strip():
                found.pop(name, None)
        keys = credentials_of(source)
        if keys is not None and "credentials" in found:
            raise ConfigError("ROCKETMQ_CREDENTIALS names a file, and ROCKETMQ_ACCESS_KEY is set", hint="set one of them")
        if "name_servers" not in found:
            found["name_servers"] = ";".join(_name_servers_of(source))
        fields = {name: _parse_field(name, text) for name, text in found.items()}
        if keys is not None:
            fields["credentials"] = keys
        return cls(**cast("ConfigFields", fields))

    @classmethod
    def from_url(cls, url: str) -> ClientConfig:
        """Read `rocketmq://host:port,host:port/instance?heartbeat_broker_interval=10`; `rocketmqs://` turns TLS on.

        Raises:
            ConfigError: The URL is not of this form, names a field twice, or contradicts itself.
        """
        return cls(**_url_fields(url))


def _name_servers_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Those of `NAMESRV_ADDR`; none when it is not set."""
    return parse_addresses(environ.get(NAME_SERVER_ENV), f"name server of {NAME_SERVER_ENV}")


def _scheme_of(url: str) -> str:
    """Its scheme; a URL out of a file may have blanks around it."""
    return url.partition("://")[0].strip().lower()


def _is_url(given: object) -> TypeGuard[str]:
    return isinstance(given, str) and _scheme_of(given) in SCHEMES and "://" in given


def _url_fields(url: str) -> ConfigFields:
    from urllib.parse import parse_qsl, unquote, urlsplit  # 5 ms, for few of its users

    try:
        parts = urlsplit(url.strip())
    except ValueError:  # its text may hold the whole authority, user and password included
        raise ConfigError(f"URL {without_user(url)!r} cannot be read", hint="write rocketmq://[::1]:9876 for IPv6") from None
    if not _is_url(url):
        raise ConfigError(
            f"URL {without_user(url)!r} has the scheme {parts.scheme!r}",
            hint="write rocketmq://host:port or rocketmqs://host:port for TLS",
        )
    if "@" in url:  # wherever it ends up: a password may hold any of the characters that end the authority
        raise ConfigError(f"URL {without_user(url)!r} holds a user name", hint="leave it out: credentials do not go into the address")
    if parts.fragment:
        raise ConfigError(f"URL {without_user(url)!r} holds a '#'", hint="write %23 for it")
    given = parse_qsl(parts.query, keep_blank_values=True)
    if parts.netloc:
        given.append(("name_servers", parts.netloc))
    if parts.path.strip("/"):
        given.append(("instance_name", unquote(parts.path.strip("/"))))
    fields: dict[str, Any] = {}
    for name, text in given:
        _refuse_unknown((name,))
        if name in fields:
            raise ConfigError(
                f"the URL gives {name} twice",
                hint="name servers stand before the path, the instance name is it",
            )
        fields[name] = _parse_field(name, text)
    if _scheme_of(url) == "rocketmqs" and not fields.setdefault("tls", True):
        raise ConfigError("tls=false contradicts the scheme rocketmqs://", hint=_PLAIN)
    return cast("ConfigFields", fields)


@functools.cache
def _kinds() -> dict[str, str]:
    """The type of every field, as it is written above."""
    return {spec.name: str(spec.type) for spec in dataclasses.fields(ClientConfig)}


def _refuse_unknown(names: Iterable[str]) -> None:
    for name in names:
        if name not in _kinds():
            from difflib import get_close_matches

            near = get_close_matches(name, _kinds(), 1)
            raise ConfigError(
                f"{name!r} is not a field of ClientConfig", hint=f"did you mean {near[0]!r}?" if near else "see help(ClientConfig)"
            )


def _parse_field(name: str, text: str) -> Any:
    kind = _kinds()[name]
    if kind in ("float", "int", "SerializeType"):
        value: float | SerializeType | None
        if kind == "float":
            value = decimal_or_none(text)
        elif kind == "int":
            value = number_or_none(text)
        else:
            value = SerializeType.__members__.get(text.upper())
        if value is None:
            raise ConfigError(f"{name} {text!r} cannot be read as {kind}", hint=f"give a {kind}")
        return value
    if kind in ("bool", "TLS | None"):
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ConfigError(f"{name} {text!r} is not a bool", hint="use true or false")
        return text.lower() in ("true", "1", "yes")
    return CredentialsFile(text) if kind == "CredentialsSource | None" else text
