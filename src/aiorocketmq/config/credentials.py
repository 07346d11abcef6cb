"""Who a client is: `Credentials`, and where they come from (Java: `SessionCredentials`). Features M2.

A secret is shown nowhere: not in a repr, not in an error, and not in a pickle, which is refused.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aiorocketmq.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_FORM: Final = "write AccessKey=... and SecretKey=..., one a line, and SecurityToken=... if there is one"


class Credentials:
    """Who a client is. Immutable and hashable; shows its access key and never its secrets.

    Args:
        access_key: Name of the user (ACL 2.0) or of the account (ACL 1.0, clouds).
        secret_key: What requests are signed with; it never leaves the process.
        token: Security token of temporary credentials (STS), or None.

    Two empty keys, as unset variables give them, mean no credentials: requests are not signed.

    Raises:
        ConfigError: Only one of the two keys is given, or a key is no text.
    """

    __slots__ = ("access_key", "secret_key", "token")

    access_key: str
    secret_key: str
    token: str | None

    def __init__(self, access_key: str | None, secret_key: str | None, token: str | None = None) -> None:
        for name, value in (("access_key", access_key), ("secret_key", secret_key), ("token", token)):
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"{name} of the credentials is a {type(value).__name__}", hint="give a text")
            if value and (value != value.strip() or not value.isprintable()):
                raise ConfigError(f"{name} of the credentials holds blanks or line ends around it, or signs that cannot be printed")
        if bool(access_key) is not bool(secret_key):
            missing = "secret_key" if access_key else "access_key"
            raise ConfigError(f"the credentials have no {missing}", hint="give both keys, or neither for requests that are not signed")
        if token and not access_key:
            raise ConfigError("the credentials have a token and no keys", hint="give the keys that the token belongs to")
        put = object.__setattr__
        put(self, "access_key", access_key or "")
        put(self, "secret_key", secret_key or "")
        put(self, "token", token or None)

    def __bool__(self) -> bool:
        return bool(self.access_key)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Credentials):
            return NotImplemented
        return (self.access_key, self.secret_key, self.token) == (other.access_key, other.secret_key, other.token)

    def __hash__(self) -> int:
        return hash((self.access_key, self.secret_key, self.token))

    def __repr__(self) -> str:
        if not hasattr(self, "token"):
            return "<Credentials that were refused>"  # tracebacks with local variables show those, too
        return f"Credentials({self.access_key!r}, secret_key=<hidden>{', token=<hidden>' if self.token else ''})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Credentials cannot be changed: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Credentials cannot be changed: {name}")

    def __copy__(self) -> Credentials:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Credentials:
        return self

    def __reduce__(self) -> NoReturn:
        raise ConfigError(
            "credentials are not pickled, because the secret would be in the pickle",
            hint="let the other process read a CredentialsFile, or its environment",
        )


class Secret:
    """Tells its text to who calls it, and shows it in no repr, copy, pickle or `dataclasses.asdict()` of what holds it. Immutable."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "<hidden>"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        if not self._text:
            return Secret, ("",)
        raise ConfigError("a password is not pickled, because it would be in the pickle", hint="let the other process read its own")


class CredentialsFile:
    """Credentials in a file: `AccessKey=...`, `SecretKey=...` and, if there is one, `SecurityToken=...`, one a line.

    That is the file of the Java client (`~/key`, `rocketmq.client.keyFile`); `accessKey: ...` of `conf/tools.yml` is read as well. A
    running client looks at most once a second whether the file has changed, so keys are replaced without a restart.

    Args:
        path: The file; `~` is the home directory.

    Raises:
        ConfigError: That is no path.
    """

    __slots__ = ("path",)

    path: Path

    def __init__(self, path: str | PathLike[str]) -> None:
        if not isinstance(path, str | PathLike) or not str(path).strip():
            raise ConfigError(f"the path of a credentials file is a {type(path).__name__}, or empty", hint="give the path of a file")
        from pathlib import Path  # 5 ms, for few of the package's users

        object.__setattr__(self, "path", Path(path).expanduser())

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, CredentialsFile) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"CredentialsFile({str(getattr(self, 'path', None))!r})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"CredentialsFile cannot be changed: {name}")

    def __reduce__(self) -> tuple[type[CredentialsFile], tuple[str]]:
        return CredentialsFile, (str(self.path),)

    def read(self) -> Credentials:
        """Read the file.

        Raises:
            ConfigError: It cannot be read, or does not hold two keys. The text names the file and shows nothing of what it holds.
        """
        try:
            read = _parsed(self.path.read_text(encoding="utf-8-sig"))  # editors on Windows begin it with a mark
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(f"the credentials file {self.path} cannot be read: {reason}", hint="check path and permissions") from None
        if isinstance(read, str):
            raise ConfigError(read.format(f"the credentials file {self.path}"), hint=_FORM)
        return read


def _parsed(text: str) -> Credentials | str:
    """The credentials of a file, or what is wrong with it. Nothing is raised from here: tracebacks may show the variables of each frame."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] in "#!":
            continue
        cut = min((at for at in (line.find("="), line.find(":")) if at >= 0), default=-1)
        if cut < 0:
            return f"line {number} of {{}} is no name=value"
        value = line[cut + 1 :].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[line[:cut].strip().lower()] = value
    try:
        return Credentials(found.get("accesskey"), found.get("secretkey"), found.get("securitytoken")) or "{} holds no keys"
    except ConfigError as error:
        return f"{{}} cannot be used: {error.message}"


CredentialsProvider = Callable[[], Credentials] | Callable[[], Awaitable[Credentials]]
"""Asked for each request. A plain function is called on the event loop and must not block; a coroutine may take its time, and what is to be
sent at the same moment shares one call. Whether it has to be awaited is seen at the start, and stays so."""

CredentialsSource = Credentials | CredentialsFile | CredentialsProvider
"""What `credentials=` takes."""


def check_source(source: object) -> CredentialsSource | None:
    """The source of a configuration; None for credentials that are empty.

    Raises:
        ConfigError: It is none of what `credentials=` takes. The text does not show it: it may be a secret.
    """
    if source is None or (isinstance(source, Credentials) and not source):
        return None
    if isinstance(source, Credentials | CredentialsFile):
        return source
    if not callable(source):
        raise ConfigError(
            f"credentials is a {type(source).__name__}",
            hint="give Credentials(access_key, secret_key), CredentialsFile(path), or a function that answers Credentials",
        )
    return source


def credentials_of(environ: os._Environ[str] | dict[str, str] | Any) -> Credentials | None:
    """Those of `ROCKETMQ_ACCESS_KEY`, `ROCKETMQ_SECRET_KEY` and `ROCKETMQ_SECURITY_TOKEN`; None when they are not set."""
    made = Credentials(
        environ.get("ROCKETMQ_ACCESS_KEY"), environ.get("ROCKETMQ_SECRET_KEY"), environ.get("ROCKETMQ_SECURITY_TOKEN") or None
    )
    return made or None
