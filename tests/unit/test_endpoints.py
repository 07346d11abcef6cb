"""Name servers as cloud consoles write them, and where the namespace comes from."""

from __future__ import annotations

import pytest

import aiorocketmq as rmq

CLOUD = "http://MQ_INST_1234_BXabc.mq.example.com:80"


@pytest.mark.feature("L5")
@pytest.mark.parametrize(
    ("given", "address"),
    [
        (CLOUD, "MQ_INST_1234_BXabc.mq.example.com:80"),
        ("http://names.example.com:8080", "names.example.com:8080"),
        ("HTTP://names.example.com/", "names.example.com:80"),
        ("http://[::1]", "[::1]:80"),
        (" http://[::1]:9876 ", "[::1]:9876"),
    ],
)
def test_endpoints_are_addresses(given: str, address: str) -> None:
    assert rmq.ClientConfig(name_servers=given).name_servers == (address,)
    assert rmq.ClientConfig(name_servers=[given, "b:1"]).name_servers == (address, "b:1")


@pytest.mark.feature("L5", "L11")
def test_the_namespace_comes_from_the_endpoint_unless_it_is_given() -> None:
    assert rmq.ClientConfig(name_servers=CLOUD).names.name == "MQ_INST_1234_BXabc"
    assert rmq.ClientConfig(name_servers=CLOUD.removeprefix("http://")).names.name == "MQ_INST_1234_BXabc"
    assert rmq.ClientConfig(name_servers=CLOUD, namespace="mine").names.name == "mine"
    assert not rmq.ClientConfig(name_servers=CLOUD, namespace="").names
    assert not rmq.ClientConfig(name_servers="http://mq.MQ_INST_1_a.example.com:80").names
    assert not rmq.ClientConfig(name_servers=CLOUD).replace(name_servers="a:1").names
    assert rmq.Producer(CLOUD).config.names.name == "MQ_INST_1234_BXabc"
    assert rmq.Producer("rocketmq://MQ_INST_1_a.example.com:80").config.names.name == "MQ_INST_1_a"
    with pytest.raises(rmq.ConfigError, match="several instances: MQ_INST_1_a, MQ_INST_2_b"):
        rmq.ClientConfig(name_servers="MQ_INST_1_a.x:80;MQ_INST_2_b.x:80")


@pytest.mark.feature("L5")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("http://names:8080/rocketmq/nsaddr", "has a path.*address_service_domain"),
        ("http://user:secret@names:80", r"'\*\*\*@names:80' is not an address"),
        ("http://user:secret@names:80/x", "'names:80/x' has a path"),
        ("https://names:443", "is a URL"),
        ("http://", "is not an address"),
    ],
)
def test_what_is_no_endpoint_is_refused_and_told_without_secrets(given: str, words: str) -> None:
    with pytest.raises(rmq.ConfigError, match=words) as caught:
        rmq.ClientConfig(name_servers=given)
    assert "secret" not in str(caught.value)


@pytest.mark.feature("L11", "L12", "Q54")
@pytest.mark.parametrize("value", ["a%b", "a b", "ä", "x" * 101, 5])
@pytest.mark.parametrize("field", ["namespace", "namespace_v2"])
def test_what_is_no_namespace_is_refused(field: str, value: object) -> None:
    with pytest.raises(rmq.ConfigError, match=f"{field} .* is not a namespace"):
        rmq.ClientConfig(**{field: value})  # type: ignore[arg-type]
