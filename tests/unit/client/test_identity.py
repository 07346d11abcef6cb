"""Local address and client id."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from aiorocketmq.client import identity
from aiorocketmq.client.identity import local_address, make_client_id, unique_instance_name
from aiorocketmq.config import ClientConfig


@pytest.mark.feature("Q51")
def test_the_local_address_is_one_of_this_machine() -> None:
    address = local_address()
    assert ipaddress.ip_address(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((address, 0))


@pytest.mark.feature("Q51")
def test_no_packet_is_sent_and_no_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> Any:
        raise AssertionError("asked a name service")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "gethostbyname", refuse)
    local_address()


@pytest.mark.feature("Q51")
@pytest.mark.parametrize(
    ("v4", "interface", "v6", "expected"),
    [
        ("10.0.0.5", "10.0.0.6", "2001::1", "10.0.0.5"),
        (None, "10.0.0.6", "2001::1", "10.0.0.6"),
        (None, None, "2001::1", "2001::1"),
        (None, None, None, "127.0.0.1"),
    ],
)
def test_ipv4_comes_before_ipv6_and_loopback_last(
    monkeypatch: pytest.MonkeyPatch, v4: str | None, interface: str | None, v6: str | None, expected: str
) -> None:
    monkeypatch.setattr(identity, "_source_address", lambda family, probe: v4 if family is socket.AF_INET else v6)
    monkeypatch.setattr(identity, "_interface_address", lambda: interface)
    assert local_address() == expected


def test_the_interfaces_of_this_machine_can_be_asked() -> None:
    address = identity._interface_address()
    assert address is None or ipaddress.IPv4Address(address).is_loopback is False


def test_a_family_without_a_route_gives_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unroutable(socket.socket):
        def connect(self, address: Any, /) -> None:
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", Unroutable)
    assert identity._source_address(socket.AF_INET, "192.0.2.1") is None


@pytest.mark.feature("K1", "Q51")
def test_client_ids() -> None:
    assert make_client_id(ClientConfig(client_ip="10.0.0.5"), "i") == "10.0.0.5@i"
    assert make_client_id(ClientConfig(client_ip="10.0.0.5", unit_name="u"), "i") == "10.0.0.5@i@u"
    assert make_client_id(ClientConfig(client_ip="10.0.0.5", enable_stream_request_type=True), "i") == "10.0.0.5@i@STREAM"
    assert make_client_id(ClientConfig(client_ip="2001::1"), "i") == "[2001::1]@i"
    assert make_client_id(ClientConfig(client_ip="[2001::1]"), "i") == "[2001::1]@i"
    assert make_client_id(ClientConfig(), "i").endswith("@i")


@pytest.mark.feature("K1")
def test_unique_names_are_unique() -> None:
    names = {unique_instance_name(7) for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith("7#") for name in names)
