"""`ClientConfig`, `TLS` and addresses: defaults of Java, every way in, copies without loss, and one clear error for each wrong value."""

from __future__ import annotations

import copy
import dataclasses
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.config import TLS, ClientConfig, Credentials
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import AccessChannel, SerializeType

JAVA_DEFAULTS = {
    "poll_name_server_interval": 30.0,
    "heartbeat_broker_interval": 30.0,
    "persist_consumer_offset_interval": 5.0,
    "fetch_name_server_interval": 120.0,
    "rebalance_interval": 20.0,
    "rebalance_min_interval": 1.0,
    "pull_time_delay_when_exception": 1.0,
    "mq_client_api_timeout": 3.0,
    "connect_timeout": 3.0,
    "client_channel_max_idle_time": 120.0,
    "client_async_semaphore_value": 65535,
    "client_oneway_semaphore_value": 65535,
    "instance_name": "DEFAULT",
    "unit_mode": False,
    "vip_channel_enabled": False,
    "use_heartbeat_v2": False,
    "frame_max_length": 16 * 1024 * 1024,
}
CHANGED: dict[str, object] = {
    "credentials": Credentials("user", "secret"),
    "socks_proxy_config": {"0.0.0.0/0": {"addr": "proxy:1080"}},
    "name_servers": "10.0.0.1:9876;10.0.0.2:9876",
    "instance_name": "blue",
    "client_ip": "10.1.1.1",
    "unit_name": "u1",
    "unit_mode": True,
    "serialize_type": SerializeType.ROCKETMQ,
    "tls": TLS(insecure=True),
    "address_map": {"10.0.0.3:10911": "localhost:10911"},
    "address_service_domain": "names.example:80",
    "address_service_group": "g",
    "namespace": "ns",
    "namespace_v2": "tenant",
    "access_channel": AccessChannel.CLOUD,
    "zone": "hangzhou",
}


def changed_value(spec: dataclasses.Field[object]) -> object:
    """A legal value that is not the default."""
    if spec.name in CHANGED:
        return CHANGED[spec.name]
    default = spec.default
    if isinstance(default, bool):
        return not default
    assert isinstance(default, int | float), spec.name
    return default + 1


@pytest.mark.feature("Q52", "Q53", "Q57", "Q58", "Q59", "Q62", "Q63")
@pytest.mark.parametrize(("name", "value"), JAVA_DEFAULTS.items())
def test_defaults_are_those_of_java(name: str, value: object) -> None:
    assert getattr(ClientConfig(), name) == value


@pytest.mark.feature("K21")
def test_a_copy_keeps_every_field() -> None:
    fields = [spec for spec in dataclasses.fields(ClientConfig) if spec.name != "name_server_resolver"]  # excludes the name servers
    changes = {spec.name: changed_value(spec) for spec in fields}
    config = ClientConfig(**changes)  # type: ignore[arg-type]
    for spec in fields:
        assert getattr(config, spec.name) != spec.default, spec.name
    assert config.replace() == config
    assert config.replace(instance_name="green") == dataclasses.replace(config, instance_name="green")


@pytest.mark.feature("L4")
def test_a_resolver_stands_in_the_place_of_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMESRV_ADDR", "a:1")

    def resolve() -> str:
        return "b:2"

    config = ClientConfig.from_fields(None, None, {"name_server_resolver": resolve})
    assert (config.name_servers, config.name_server_resolver) == ((), resolve)
    assert config.replace(instance_name="x").name_server_resolver is resolve
    assert ClientConfig.from_fields(None, None, {}).name_servers == ("a:1",)
    with pytest.raises(ConfigError, match="exclude each other"):
        config.replace(name_servers="a:1")
    with pytest.raises(ConfigError, match="name_server_resolver 'b:2' is a str"):
        ClientConfig(name_server_resolver="b:2")  # type: ignore[arg-type]


@pytest.mark.feature("L10")
def test_the_zone_comes_from_the_environment_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(**fields: Any) -> tuple[str | None, bool]:
        config = ClientConfig.from_fields(None, "a:1", fields)  # type: ignore[arg-type]
        return config.zone, config.zone_mode

    assert made() == (None, False)
    monkeypatch.setenv("ROCKETMQ_ZONE", "east")
    assert made() == ("east", False)
    monkeypatch.setenv("ROCKETMQ_ZONE_MODE", "True")
    assert made() == ("east", True)
    assert made(zone="west") == ("west", False)
    assert made(zone="west", zone_mode=True) == ("west", True)
    assert ClientConfig.from_env({"ROCKETMQ_ZONE": "east", "ROCKETMQ_ZONE_MODE": "true"}).zone_mode
    assert ClientConfig.from_env({"ROCKETMQ_ZONE": "", "ROCKETMQ_ZONE_MODE": " "}).zone is None
    monkeypatch.setenv("ROCKETMQ_ZONE", "  ")
    assert made() == (None, False)
    for wrong in ("", " ", 5):
        with pytest.raises(ConfigError, match=r"zone .* is not a name"):
            made(zone=wrong)


def test_a_config_is_frozen_and_hashable() -> None:
    config = ClientConfig(name_servers="a:1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.instance_name = "other"  # type: ignore[misc]
    assert hash(config) == hash(ClientConfig(name_servers="a:1"))


@pytest.mark.feature("L1", "Q50")
@pytest.mark.parametrize(
    ("value", "servers"),
    [
        (None, ()),
        ("", ()),
        ("a:9876", ("a:9876",)),
        ("a:9876;b:9876", ("a:9876", "b:9876")),
        (" a:9876 , b:9876 ;", ("a:9876", "b:9876")),
        (["a:9876", "b:9876", "a:9876"], ("a:9876", "b:9876")),
        ("[::1]:9876", ("[::1]:9876",)),
    ],
)
def test_name_servers_are_parsed(value: object, servers: tuple[str, ...]) -> None:
    assert ClientConfig(name_servers=value).name_servers == servers  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["a", "a:", ":9876", "a:b", "a:0", "a:65536", "a b:1", "a/b:1", "https://a:9876", "::1:9876", "a:-1"])
def test_a_wrong_address_is_named_with_its_cure(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ClientConfig(name_servers=address)
    assert repr(address) in str(caught.value) and "write" in caught.value.hint


def test_a_name_server_that_is_no_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a string"):
        ClientConfig(name_servers=[9876])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "url", ["rocketmq://[::1:9876", "rocketmq://[a]:9876", "rocketmq://a:9876²", "rocketmq://a:9876?client_async_semaphore_value=²"]
)
def test_a_url_that_cannot_be_read_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(ConfigError):
        ClientConfig.from_url(url)


@pytest.mark.parametrize("host", ["[::1", "a℀b"])
def test_a_url_that_cannot_be_read_keeps_its_secret(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ClientConfig.from_url(f"rocketmq://user:pass-word@{host}:9876")
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize(
    "form", ["rocketmq://{}@a:9876", "rocketmq://b:1,{}@a:9876", "rocketmq://b:1?{}@a:9876", "http://{}@a:9876", "{}@a:9876"]
)
@pytest.mark.parametrize(
    "secret", ["user:pass-word", "user:pass/word", "user:pass?word", "user:pass#word", "user:pass@word", "user:pass[word"]
)
def test_no_error_of_an_address_shows_user_or_password(form: str, secret: str) -> None:
    text = form.format(secret)
    for make in (
        ClientConfig.from_url,
        lambda text: ClientConfig(name_servers=text),
        lambda text: ClientConfig.from_fields(text, None, {}),
    ):
        with pytest.raises(ConfigError) as caught:
            make(text)
        assert not any(part in str(caught.value) for part in ("pass", "word", "user:")), str(caught.value)


@pytest.mark.parametrize("config", [{"tls": True}, ["a:1"], 5, b"rocketmq://a:1", TLS()])
def test_a_config_of_another_type_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match=f"config is a {type(config).__name__}"):
        ClientConfig.from_fields(config, "a:1", {})


def test_a_wrong_address_in_the_environment_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMESRV_ADDR", "rocketmq://a:1")
    for make in (ClientConfig.from_env, lambda: ClientConfig.from_fields(None, None, {})):
        with pytest.raises(ConfigError, match="name server of NAMESRV_ADDR 'rocketmq://a:1' is a URL"):
            make()


@pytest.mark.parametrize("text", ["²", "１２", "1_0", " 5", "0x10", "--5", ""])
@pytest.mark.parametrize("field", ["CLIENT_ASYNC_SEMAPHORE_VALUE", "HEARTBEAT_BROKER_INTERVAL"])
def test_numbers_of_the_environment_are_written_in_ascii_digits(text: str, field: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        ClientConfig.from_env({f"ROCKETMQ_{field}": text})


WRONG = [
    ("heartbeat_broker_interval", 0),
    ("heartbeat_broker_interval", -1),
    ("heartbeat_broker_interval", float("inf")),
    ("heartbeat_broker_interval", float("nan")),
    ("heartbeat_broker_interval", "30"),
    ("heartbeat_broker_interval", True),
    ("heartbeat_broker_interval", None),
    ("client_async_semaphore_value", 0),
    ("client_async_semaphore_value", 1.5),
    ("client_async_semaphore_value", True),
    ("unit_mode", "yes"),
    ("vip_channel_enabled", 1),
    ("instance_name", ""),
    ("instance_name", "a@b"),
    ("instance_name", "a b"),
    ("unit_name", ""),
    ("client_ip", "1.2.3.4 "),
    ("serialize_type", "JSON"),
    ("access_channel", "CLOUD"),
    ("tls", "yes"),
    ("address_map", 5),
    ("address_map", "a:1"),
]


@pytest.mark.feature("Q51", "Q52", "Q53", "Q56", "Q57", "Q64")
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_named_with_its_cure(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        ClientConfig(**{name: value})  # type: ignore[arg-type]
    assert name in str(caught.value) and repr(value) in str(caught.value) and caught.value.hint


@pytest.mark.feature("K14")
def test_an_address_map_that_has_to_be_awaited_is_told_and_leaves_no_coroutine(recwarn: pytest.WarningsRecorder) -> None:
    async def mapped(address: str) -> str:
        return address

    found = ClientConfig(address_map=mapped).address_map  # type: ignore[arg-type]
    assert found is not None
    with pytest.raises(ConfigError, match="async def"):
        found("a:1")
    assert not list(recwarn), "of a coroutine that was never awaited"


@pytest.mark.feature("K14")
def test_an_address_map_is_a_mapping_a_text_or_a_function() -> None:
    mapped = ClientConfig(address_map={"a:1": "b:2", "c:3": "d:4"})
    assert mapped == ClientConfig(address_map="c:3=d:4; a:1=b:2")
    assert mapped == ClientConfig.from_url("rocketmq://n:1?address_map=a:1%3Db:2;c:3%3Dd:4").replace(name_servers=())
    assert hash(mapped) == hash(mapped.replace())
    assert mapped.address_map is not None
    assert [mapped.address_map(address) for address in ("a:1", "c:3", "e:5")] == ["b:2", "d:4", "e:5"]
    assert ClientConfig(address_map={}).address_map is None

    def moved(address: str) -> str:
        return address.replace("172.17.0.5", "localhost")

    function = ClientConfig(address_map=moved).address_map
    assert function is not None and function("172.17.0.5:1") == "localhost:1"


@pytest.mark.feature("K14")
@pytest.mark.parametrize(("given", "text"), [({"a": "b:1"}, "'a'"), ({"a:1": "b"}, "'b'"), ({"a:1": 5}, "holds 5"), ("a:1=", "''")])
def test_an_entry_of_an_address_map_that_is_no_address_is_named(given: object, text: str) -> None:
    with pytest.raises(ConfigError, match=f"address_map.*{text}|{text}.*address_map"):
        ClientConfig(address_map=given)  # type: ignore[arg-type]


@pytest.mark.feature("K14")
@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda address: 1 / 0, "raised ZeroDivisionError for 'a:1'"),
        (lambda address: "nonsense", "'nonsense'"),
        (lambda address: None, "None"),
    ],
)
def test_a_function_that_gives_no_address_is_told(function: object, text: str) -> None:
    mapped = ClientConfig(address_map=function).address_map  # type: ignore[arg-type]
    assert mapped is not None
    with pytest.raises(ConfigError, match=text):
        mapped("a:1")


def test_durations_may_be_timedeltas() -> None:
    assert ClientConfig(connect_timeout=timedelta(milliseconds=1500)).connect_timeout == 1.5


def test_an_unknown_field_is_refused_with_a_guess() -> None:
    with pytest.raises(ConfigError, match="did you mean 'name_servers'"):
        ClientConfig.from_fields(None, None, {"name_server": "a:1"})
    with pytest.raises(ConfigError, match="not a field"):
        ClientConfig().replace(nonsense=1)


@pytest.mark.feature("L1", "L2", "Q50")
class TestWhereNameServersComeFrom:
    def test_the_argument_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMESRV_ADDR", "env:1")
        config = ClientConfig.from_fields(ClientConfig(name_servers="config:1"), "argument:1", {})
        assert config.name_servers == ("argument:1",)

    def test_then_the_config(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMESRV_ADDR", "env:1")
        assert ClientConfig.from_fields(ClientConfig(name_servers="config:1"), None, {}).name_servers == ("config:1",)

    def test_then_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMESRV_ADDR", "env:1;env:2")
        assert ClientConfig.from_fields(None, None, {}).name_servers == ("env:1", "env:2")

    def test_then_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NAMESRV_ADDR", raising=False)
        assert ClientConfig.from_fields(None, None, {}).name_servers == ()

    def test_keywords_change_the_config(self) -> None:
        base = ClientConfig(name_servers="a:1", unit_name="u")
        assert ClientConfig.from_fields(base, None, {"connect_timeout": 1}) == base.replace(connect_timeout=1.0)

    def test_a_url_changes_what_it_names_and_nothing_else(self) -> None:
        tls = TLS(ca_file="ca.pem")
        base = ClientConfig(name_servers="old:1", instance_name="red", unit_name="u", heartbeat_broker_interval=5, tls=tls)
        config = ClientConfig.from_fields(base, "rocketmq://a:1,b:2/blue?connect_timeout=1.5", {"unit_mode": True})
        assert config == base.replace(name_servers="a:1;b:2", instance_name="blue", connect_timeout=1.5, unit_mode=True)
        assert config.tls == tls

    def test_a_url_as_config_beside_a_list(self) -> None:
        config = ClientConfig.from_fields("rocketmqs://a:1/blue?unit_name=u", ["b:2"], {"connect_timeout": 2})
        assert config == ClientConfig(name_servers="b:2", instance_name="blue", unit_name="u", tls=True, connect_timeout=2)

    def test_two_urls_are_joined(self) -> None:
        config = ClientConfig.from_fields("rocketmqs://a:1/blue?unit_name=u", "rocketmq://b:2", {})
        assert config == ClientConfig(name_servers="b:2", instance_name="blue", unit_name="u", tls=True)

    def test_a_url_without_name_servers_leaves_them_to_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMESRV_ADDR", "env:1")
        assert ClientConfig.from_fields(None, "rocketmqs:///blue", {}) == ClientConfig(name_servers="env:1", instance_name="blue", tls=True)


@pytest.mark.feature("Q64")
class TestNeverLessProtectionThanAskedFor:
    MINE = TLS(ca_file="ca.pem", cert_file="me.pem")

    def test_the_secure_scheme_keeps_the_settings_of_the_config(self) -> None:
        assert ClientConfig.from_fields(ClientConfig(tls=self.MINE), "rocketmqs://a:1", {}).tls == self.MINE
        assert ClientConfig.from_fields("rocketmqs://a:1", None, {"tls": self.MINE}).tls == self.MINE

    @pytest.mark.parametrize("url", ["rocketmq://a:1", "ROCKETMQ://a:1", "rocketmq://a:1?tls=true", "rocketmqs://a:1?tls=true"])
    def test_a_url_never_switches_the_tls_of_a_config_off(self, url: str) -> None:
        assert ClientConfig.from_fields(ClientConfig(tls=self.MINE), url, {}).tls == self.MINE

    @pytest.mark.parametrize("text", ["false", "0", "no"])
    def test_what_contradicts_itself_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(ConfigError, match="tls=false contradicts the scheme rocketmqs"):
            ClientConfig.from_url(f"rocketmqs://a:1?tls={text}")
        with pytest.raises(ConfigError, match="the URL switches TLS off"):
            ClientConfig.from_fields(ClientConfig(tls=self.MINE), f"rocketmq://a:1?tls={text}", {})
        with pytest.raises(ConfigError, match="the URL switches TLS off"):
            ClientConfig.from_fields("rocketmqs://a:1", f"rocketmq://b:1?tls={text}", {})

    @pytest.mark.parametrize("off", [False, None])
    @pytest.mark.parametrize("url", ["rocketmqs://a:1", "ROCKETMQS://a:1", " rocketmqs://a:1", "\nrocketmqs\t://a:1\n"])
    def test_a_keyword_cannot_take_the_scheme_back(self, url: str, off: bool | None) -> None:
        for config, servers in ((url, None), (None, url)):
            with pytest.raises(ConfigError, match="contradicts the scheme rocketmqs"):
                ClientConfig.from_fields(config, servers, {"tls": off})

    def test_the_environment_is_no_way_around(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NAMESRV_ADDR", "rocketmqs://a:1")
        with pytest.raises(ConfigError, match="is a URL"):
            ClientConfig.from_fields(None, None, {})

    @pytest.mark.parametrize(
        ("url", "field"),
        [("a:1?name_servers=b:2", "name_servers"), ("a:1/x?instance_name=y", "instance_name"), ("a:1?tls=true&tls=false", "tls")],
    )
    def test_a_field_given_twice_is_refused(self, url: str, field: str) -> None:
        with pytest.raises(ConfigError, match=f"gives {field} twice"):
            ClientConfig.from_url(f"rocketmq://{url}")

    @pytest.mark.parametrize("url", ["rocketmq://a:1#tls=true", "rocketmq://[::1:9876", "rocketmq:a:1", "redis://a:1", "a:1"])
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            ClientConfig.from_url(url)
        assert caught.value.hint


class TestFromUrl:
    def test_fields_of_every_kind(self) -> None:
        config = ClientConfig.from_url(
            "rocketmq://a:1,b:2/blue?unit_mode=true&connect_timeout=2&frame_max_length=1024&serialize_type=rocketmq&unit_name=u"
        )
        assert config == ClientConfig(
            name_servers="a:1;b:2",
            instance_name="blue",
            unit_mode=True,
            connect_timeout=2.0,
            frame_max_length=1024,
            serialize_type=SerializeType.ROCKETMQ,
            unit_name="u",
        )

    def test_what_is_quoted_in_the_path_is_read(self) -> None:
        assert ClientConfig.from_url("rocketmq://a:1/blue%2Dgreen%23%C3%A9").instance_name == "blue-green#é"

    def test_the_secure_scheme_turns_tls_on(self) -> None:
        assert ClientConfig.from_url("rocketmqs://a:1").tls == TLS()
        assert ClientConfig.from_url("rocketmq://a:1").tls is None

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("http://a:1", "scheme 'http'"),
            ("rocketmq://a:1?connect_timeout=soon", "connect_timeout 'soon'"),
            ("rocketmq://a:1?unit_mode=maybe", "unit_mode 'maybe'"),
            ("rocketmq://a:1?frame_max_length=x", "frame_max_length 'x'"),
            ("rocketmq://a:1?serialize_type=xml", "serialize_type 'xml'"),
            ("rocketmq://a:1?colour=red", "'colour' is not a field"),
            ("rocketmq://a", "'a' is not an address"),
        ],
    )
    def test_a_wrong_url_is_named(self, url: str, words: str) -> None:
        with pytest.raises(ConfigError) as caught:
            ClientConfig.from_url(url)
        assert words in str(caught.value) and caught.value.hint

    @pytest.mark.parametrize("url", ["rocketmq://user:topsecret@a:1", "http://user:topsecret@a:1"])
    def test_a_secret_in_a_url_is_never_shown(self, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            ClientConfig.from_url(url)
        assert "topsecret" not in str(caught.value)


@pytest.mark.feature("Q50", "L2")
class TestFromEnvironment:
    def test_fields_and_the_name_server_variable(self) -> None:
        config = ClientConfig.from_env({"NAMESRV_ADDR": "a:1", "ROCKETMQ_HEARTBEAT_BROKER_INTERVAL": "10", "ROCKETMQ_UNIT_MODE": "1"})
        assert config == ClientConfig(name_servers="a:1", heartbeat_broker_interval=10.0, unit_mode=True)

    def test_the_field_wins_over_the_name_server_variable(self) -> None:
        assert ClientConfig.from_env({"NAMESRV_ADDR": "a:1", "ROCKETMQ_NAME_SERVERS": "b:1"}).name_servers == ("b:1",)

    def test_a_wrong_value_is_named(self) -> None:
        with pytest.raises(ConfigError, match="connect_timeout"):
            ClientConfig.from_env({"ROCKETMQ_CONNECT_TIMEOUT": "fast"})


@pytest.mark.feature("Q64")
class TestTLS:
    def test_true_and_false_are_short_forms(self) -> None:
        assert ClientConfig(tls=True).tls == TLS()
        assert ClientConfig(tls=False).tls is None

    def test_the_default_verifies_chain_and_host(self) -> None:
        context = TLS().make_context()
        assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED

    def test_verification_is_only_off_by_a_name_that_says_so(self) -> None:
        context = TLS(insecure=True).make_context()
        assert not context.check_hostname and context.verify_mode is ssl.CERT_NONE

    def test_a_ready_context_is_used_as_it_is(self) -> None:
        context = ssl.create_default_context()
        assert TLS(context=context).make_context() is context

    @pytest.mark.parametrize("field", ["ca_file", "cert_file", "key_file"])
    @pytest.mark.parametrize("path", ["", " ", 7, b"a.pem"])
    def test_a_path_that_is_none_is_not_left_out_quietly(self, field: str, path: object) -> None:
        given = {"cert_file": "me.pem", field: path}
        with pytest.raises(ConfigError, match=f"TLS {field}"):
            TLS(**given)  # type: ignore[arg-type]

    @pytest.mark.parametrize("path", ["no\0file", "/no/such/file", "."])
    def test_a_file_that_cannot_be_read_is_an_error_of_ours(self, path: str) -> None:
        with pytest.raises(ConfigError, match="cannot be loaded"):
            TLS(ca_file=path).make_context()

    def test_a_context_is_a_context(self) -> None:
        with pytest.raises(ConfigError, match="TLS context is a str"):
            TLS(context="context").make_context()  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"one of a server .*CLIENT_AUTH"):
            TLS(context=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)).make_context()
        context = ssl.create_default_context()
        assert TLS(context=context).make_context() is context

    def test_fields_that_exclude_each_other(self) -> None:
        with pytest.raises(ConfigError, match="key_file"):
            TLS(key_file="k.pem")
        context = ssl.create_default_context()
        for other in ({"ca_file": "ca.pem"}, {"key_password": "x"}, {"check_hostname": False}, {"insecure": True}):
            with pytest.raises(ConfigError, match="context excludes"):
                TLS(context=context, **other)

    @pytest.mark.parametrize("name", ["check_hostname", "insecure"])
    def test_switches_are_bools(self, name: str) -> None:
        with pytest.raises(ConfigError, match=name):
            TLS(**{name: "no"})  # type: ignore[arg-type]

    def test_an_encrypted_key_without_its_password_asks_nobody(self, tmp_path: Path) -> None:
        import trustme

        with trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.tempfile() as pem:
            text = Path(pem).read_bytes()
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key(text, None)
        how = serialization.BestAvailableEncryption(b"topsecret")
        (tmp_path / "key.pem").write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, how)
        )
        (tmp_path / "cert.pem").write_bytes(text[text.index(b"-----BEGIN CERTIFICATE") :])
        files: dict[str, Any] = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
        with pytest.raises(ConfigError, match=r"key\.pem is encrypted .*key_password"):
            TLS(**files).make_context()
        TLS(**files, key_password="topsecret").make_context()

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        missing = tmp_path / "ca.pem"
        with pytest.raises(ConfigError, match=r"ca\.pem"):
            TLS(ca_file=str(missing)).make_context()
        missing.write_text("no certificate")
        with pytest.raises(ConfigError, match=r"ca\.pem"):
            TLS(ca_file=str(missing)).make_context()

    def test_the_password_is_not_shown(self) -> None:
        tls = TLS(cert_file="c.pem", key_file="k.pem", key_password="topsecret")
        assert "topsecret" not in repr(tls)
        assert "topsecret" not in repr(ClientConfig(tls=tls))

    @pytest.mark.parametrize("password", [5, ["secret"], b"secret", True])
    def test_a_password_that_is_no_text_is_refused_and_not_shown(self, password: Any) -> None:
        with pytest.raises(ConfigError, match="TLS key_password is a ") as caught:
            TLS(cert_file="me.pem", key_password=password)
        assert "secret" not in str(caught.value)

    def test_files_may_be_paths(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be loaded"):
            TLS(ca_file=tmp_path / "ca.pem", cert_file=tmp_path / "me.pem", key_file=tmp_path / "key.pem").make_context()


def test_a_config_with_a_context_can_be_copied_deeply() -> None:
    context = ssl.create_default_context()
    config = ClientConfig(name_servers="a:1", tls=TLS(context=context))
    copied = copy.deepcopy(config)
    assert copied == config and copied.tls is not None and copied.tls.context is context
