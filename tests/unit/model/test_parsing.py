"""Numbers and addresses out of text: what counts, what does not, and that nothing but errors of ours comes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ConfigError, ProtocolError, RocketMQError
from aiorocketmq.model.parsing import (
    INT64_MAX,
    INT64_MIN,
    Address,
    address_or_none,
    decimal_or_none,
    format_address,
    number_or_none,
    parse_address,
    parse_addresses,
    parse_number,
)

NO_NUMBERS = [
    "",
    " ",
    "²",
    "１２",
    "٣",
    "1_0",
    " 5",
    "5 ",
    "5\n",
    "0x10",
    "--5",
    "+-5",
    "+",
    "-",
    "1.0",
    "1e3",
    "4Pinpoint\x010",
    "\x00",
    "9" * 400,
]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("-0", 0), ("+7", 7), ("007", 7), ("-1", -1), (str(INT64_MAX), INT64_MAX), (str(INT64_MIN), INT64_MIN)],
)
def test_numbers_are_read_as_java_reads_them(text: str, number: int) -> None:
    assert number_or_none(text) == number
    assert parse_number(text, "x") == number


@pytest.mark.parametrize("text", [*NO_NUMBERS, str(INT64_MAX + 1), str(INT64_MIN - 1)])
def test_what_is_no_number_is_named_with_its_cure(text: str) -> None:
    assert number_or_none(text) is None
    with pytest.raises(ConfigError, match=r"^the field 'a' .* is not a whole number from 1 to 9") as caught:
        parse_number(text, "the field 'a'", 1, 9)
    assert "digits" in caught.value.hint and len(str(caught.value)) < 300


def test_a_range_includes_both_ends() -> None:
    assert [number_or_none(str(value), -2, 3) for value in range(-3, 5)] == [None, -2, -1, 0, 1, 2, 3, None]


def test_the_caller_chooses_the_class_and_the_cure() -> None:
    with pytest.raises(ProtocolError, match="write less"):
        parse_number("10", "x", 0, 9, error=ProtocolError, hint="write less")
    with pytest.raises(ProtocolError):
        parse_address("nowhere", "x", error=ProtocolError)
    with pytest.raises(ProtocolError):
        parse_addresses("nowhere", "x", error=ProtocolError)


@pytest.mark.parametrize(("text", "value"), [("10", 10.0), ("2.5", 2.5), (".5", 0.5), ("5.", 5.0), ("-1e-3", -0.001), ("1E3", 1000.0)])
def test_decimals_are_read(text: str, value: float) -> None:
    assert decimal_or_none(text) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "-Infinity", "1e999", "²", "１.5", "1_0", " 1", "1 ", ".", "e5", "1" * 500])
def test_what_is_no_decimal_is_refused(text: str) -> None:
    assert decimal_or_none(text) is None


ADDRESSES = [
    ("127.0.0.1:9876", "127.0.0.1", 9876),
    ("a.example:1", "a.example", 1),
    ("my_host-1:65535", "my_host-1", 65535),
    ("[::1]:9876", "::1", 9876),
    ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
    ("bücher.example:80", "bücher.example", 80),
]


@pytest.mark.parametrize(("text", "host", "port"), ADDRESSES)
def test_an_address_is_split_and_formatted_back(text: str, host: str, port: int) -> None:
    address = parse_address(text, "x")
    assert address == (host, port) and isinstance(address, Address)
    assert str(address) == format_address(host, port) == text


NO_ADDRESSES = [
    "", ":", "a", "a:", ":9876", "a:b", "a:0", "a:65536", "a:-1", "a:+1", "a:²", "a:１２", "a:9876²", "a:1_0", "a b:1", "a/b:1", "a\x00:1",
    "a@b:1", "a;b:1", "a,b:1", "http://a:9876", "::1:9876", "[::1:9876", "::1]:9876", "[::1]", "[]:1", "[a]:1", "[[::1]]:1", "a:1:2",
    "a?:1", "a:1\n", "a: 1",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_named_with_its_cure(text: str) -> None:
    assert address_or_none(text) is None
    with pytest.raises(ConfigError, match=r"^name server ") as caught:
        parse_address(text, "name server")
    assert repr(text) in str(caught.value) and caught.value.hint.startswith("write ")


def test_the_two_usual_slips_have_cures_of_their_own() -> None:
    with pytest.raises(ConfigError, match=r"is a URL \(write host:port without a scheme\)"):
        parse_address("http://a:9876", "x")
    with pytest.raises(ConfigError, match=r"without brackets \(write \[address\]:port\)"):
        parse_address("::1:9876", "x")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, ()),
        ("", ()),
        (" ; ,", ()),
        ("a:1;b:2", ("a:1", "b:2")),
        (" a:1 , b:2 ;", ("a:1", "b:2")),
        (["a:1", " b:2 ", "a:1"], ("a:1", "b:2")),
        (iter(("a:1",)), ("a:1",)),
        ("[::1]:9876;a:1", ("[::1]:9876", "a:1")),
    ],
)
def test_lists_of_addresses(value: object, found: tuple[str, ...]) -> None:
    assert parse_addresses(value, "x") == found  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [9876, b"a:1", [9876], [b"a:1"], [None], "a:1;b", object()])
def test_a_wrong_list_of_addresses_is_an_error_of_ours(value: object) -> None:
    with pytest.raises(ConfigError):
        parse_addresses(value, "x")  # type: ignore[arg-type]


@given(st.text())
def test_nothing_else_is_ever_raised(text: str) -> None:
    number, decimal, address = number_or_none(text), decimal_or_none(text), address_or_none(text)
    assert number is None or text.isascii()
    assert decimal is None or text.isascii()
    assert address is None or address_or_none(str(address)) == address
    for parse in (parse_number, parse_address, parse_addresses):
        try:
            parse(text, "x")
        except RocketMQError as error:
            assert len(str(error)) < 2000


@given(st.integers())
def test_every_number_of_64_bits_comes_back(number: int) -> None:
    assert number_or_none(str(number)) == (number if INT64_MIN <= number <= INT64_MAX else None)
