"""Credentials: what they may be, where they are read from, and that their secrets are shown nowhere."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.config import TLS, ClientConfig, Credentials, CredentialsFile
from aiorocketmq.config.values import ServerTLS
from aiorocketmq.errors import ConfigError, InvalidNameError
from aiorocketmq.model.message import Message
from aiorocketmq.producer.producer import Producer

SECRET = "canary-of-the-secret"
TOKEN = "canary-of-the-token"
KEYS = Credentials("user", SECRET, TOKEN)


@pytest.mark.feature("M2")
def test_a_secret_is_shown_nowhere() -> None:
    config = ClientConfig(credentials=KEYS)
    shown = [repr(KEYS), str(KEYS), f"{KEYS!s}", repr(config), repr(dataclasses.asdict(config)), repr(vars(config))]
    assert "'user'" in shown[0]
    assert not [text for text in shown if SECRET in text or TOKEN in text]
    for value in (KEYS, config):
        with pytest.raises(ConfigError, match="not pickled") as failed:
            pickle.dumps(value)
        assert SECRET not in str(failed.value)
    assert copy.copy(KEYS) is KEYS
    assert copy.deepcopy(config) == config


@pytest.mark.feature("M2")
def test_they_are_values() -> None:
    assert Credentials("user", SECRET, TOKEN) == KEYS
    assert hash(Credentials("user", SECRET, TOKEN)) == hash(KEYS)
    for other in (Credentials("user", SECRET), Credentials("user", "other", TOKEN), Credentials("other", SECRET, TOKEN), "user"):
        assert other != KEYS
    with pytest.raises(AttributeError):
        KEYS.secret_key = "other"
    with pytest.raises(AttributeError):
        del KEYS.token
    assert ClientConfig(credentials=KEYS).replace(unit_mode=True).credentials is KEYS


@pytest.mark.feature("M2")
@pytest.mark.parametrize("empty", [None, ""])
def test_empty_keys_mean_no_credentials(empty: str | None) -> None:
    assert not Credentials(empty, empty)
    assert not Credentials(empty, empty, empty)
    assert ClientConfig(credentials=Credentials(empty, empty)).credentials is None


@pytest.mark.feature("M2")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("user", None), "no secret_key"),
        (("user", ""), "no secret_key"),
        ((None, SECRET), "no access_key"),
        ((None, None, TOKEN), "a token and no keys"),
        (("user", SECRET + "\n"), "secret_key of the credentials holds blanks"),
        ((" user", SECRET), "access_key of the credentials holds blanks"),
        (("user", SECRET.encode()), "secret_key of the credentials is a bytes"),
        ((1, SECRET), "access_key of the credentials is a int"),
        (("user", SECRET, 7), "token of the credentials is a int"),
    ],
)
def test_impossible_credentials_are_refused_without_showing_them(arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as failed:
        Credentials(*arguments)
    assert SECRET not in str(failed.value)
    assert TOKEN not in str(failed.value)


@pytest.mark.feature("M2")
@pytest.mark.parametrize(
    "text",
    [
        f"AccessKey=user\nSecretKey={SECRET}\nSecurityToken={TOKEN}\n",
        f"# keys\n\n! more\n accessKey : user\r\n secretKey: '{SECRET}'\nSecurityToken = \"{TOKEN}\"",
        f"accesskey: user\nsecretkey: {SECRET}\nsecuritytoken={TOKEN}\nother=1\n",
    ],
)
def test_the_files_of_java_are_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    assert CredentialsFile(file).read() == KEYS
    assert CredentialsFile(str(file)) == CredentialsFile(file)
    assert pickle.loads(pickle.dumps(CredentialsFile(file))) == CredentialsFile(file)


@pytest.mark.feature("M2")
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        (b"", "holds no keys"),
        (f"{SECRET}\n".encode(), "line 1 of the credentials file .* is no name=value"),
        (f"SecretKey={SECRET}\n".encode(), "no access_key"),
        (b"AccessKey=\xff\n", "not UTF-8"),
    ],
)
def test_a_bad_file_is_named_and_not_shown(tmp_path: Path, content: bytes | None, text: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=text) as failed:
        CredentialsFile(file).read()
    assert SECRET not in str(failed.value)


@pytest.mark.feature("M2")
@pytest.mark.parametrize("wrong", [SECRET, b"x", ("user", SECRET), {"access_key": "user"}, 7])
def test_what_is_no_source_is_refused_without_showing_it(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="credentials is a ") as failed:
        ClientConfig(credentials=wrong)
    assert SECRET not in str(failed.value)


@pytest.mark.feature("M2")
def test_the_environment_and_a_url_name_them() -> None:
    environ = {"ROCKETMQ_ACCESS_KEY": "user", "ROCKETMQ_SECRET_KEY": SECRET, "ROCKETMQ_SECURITY_TOKEN": TOKEN}
    assert ClientConfig.from_env(environ).credentials == KEYS
    assert ClientConfig.from_env({"ROCKETMQ_CREDENTIALS": "/etc/key"}).credentials == CredentialsFile("/etc/key")
    assert ClientConfig.from_env({"ROCKETMQ_ACCESS_KEY": "", "ROCKETMQ_SECRET_KEY": ""}).credentials is None
    assert ClientConfig.from_url("rocketmq://a:9876?credentials=/etc/key").credentials == CredentialsFile("/etc/key")
    with pytest.raises(ConfigError, match="ROCKETMQ_ACCESS_KEY is set"):
        ClientConfig.from_env({**environ, "ROCKETMQ_CREDENTIALS": "/etc/key"})
    with pytest.raises(ConfigError, match="no secret_key"):
        ClientConfig.from_env({"ROCKETMQ_ACCESS_KEY": "user"})


@pytest.mark.feature("M2")
def test_a_file_that_begins_with_a_mark_is_read(tmp_path: Path) -> None:
    """As editors on Windows write UTF-8."""
    file = tmp_path / "key"
    file.write_bytes(f"\ufeffAccessKey=user\r\nSecretKey={SECRET}\r\n".encode())
    assert CredentialsFile(file).read() == Credentials("user", SECRET)


@pytest.mark.feature("M2")
@pytest.mark.parametrize(
    "text", [f'{{"accessKey": "user", "secretKey": "{SECRET}"}}', f"SecretKey={SECRET}", f"AccessKey=user\n{SECRET}", f"AccessKey={SECRET}"]
)
def test_a_bad_file_is_named_and_shown_by_no_traceback_with_variables(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ConfigError) as failed:
        CredentialsFile(file).read()
    assert str(file) in str(failed.value)
    ours = failed.value.__traceback__.tb_next if failed.value.__traceback__ is not None else None
    assert ours is not None
    told = traceback.StackSummary.extract(traceback.walk_tb(ours), capture_locals=True).format()
    assert SECRET not in "".join(told)


@pytest.mark.feature("M2")
def test_what_was_refused_can_be_shown_by_tracebacks_with_variables() -> None:
    for kind, arguments in (
        (Credentials, (None, SECRET)),
        (Message, ("", b"x")),
        (Producer, ("no address",)),
        (CredentialsFile, ("",)),
    ):
        made: Any = kind.__new__(kind)
        with pytest.raises((ConfigError, InvalidNameError, TypeError)):
            kind.__init__(made, *arguments)
        assert SECRET not in repr(made)


@pytest.mark.feature("M2", "M7", "P9")
def test_no_password_is_in_the_fields_of_a_config() -> None:
    config = ClientConfig(
        socks_proxy_config={"0.0.0.0/0": {"addr": "a:1", "username": "u", "password": SECRET}},
        tls=TLS(cert_file="c.pem", key_password=SECRET),
    )
    for held in (config, config.tls, ServerTLS("c.pem", key_password=SECRET)):
        assert isinstance(held, ClientConfig | TLS | ServerTLS)
        assert SECRET not in repr(dataclasses.asdict(held)) + repr(dataclasses.astuple(held)) + repr(copy.deepcopy(held))
        assert SECRET not in json.dumps(dataclasses.asdict(held), default=str)
    assert dataclasses.replace(config) == config
    assert config != config.replace(tls=TLS(cert_file="c.pem", key_password="other"))


@pytest.mark.feature("M2", "M7", "P9")
@pytest.mark.parametrize(
    "make",
    [
        lambda: ClientConfig(tls={"key_password": SECRET}),  # type: ignore[arg-type]
        lambda: ClientConfig(tls=("c.pem", SECRET)),  # type: ignore[arg-type]
        lambda: ClientConfig(socks_proxy_config={f"socks5://me:{SECRET}@proxy:1080": {}}),
        lambda: ClientConfig.from_url(f"rocketmq://a:1?socks_proxy_config={{}}&socks_proxy_config={SECRET}"),
    ],
)
def test_a_password_at_the_wrong_place_is_not_shown(make: Any) -> None:
    with pytest.raises(ConfigError) as failed:
        make()
    assert SECRET not in str(failed.value)
