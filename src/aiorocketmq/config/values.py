"""What a configuration holds besides numbers and texts: TLS settings and lists of name servers (Java: `TlsSystemConfig`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

from aiorocketmq.config.credentials import Secret
from aiorocketmq.config.endpoints import without_scheme
from aiorocketmq.errors import ConfigError, discreet
from aiorocketmq.model.checks import flag
from aiorocketmq.model.parsing import parse_addresses

if TYPE_CHECKING:
    import ssl

KeyPassword = str | Callable[[], str]
"""The password of a key, or a function that tells it."""

NameServers = str | Iterable[str] | None
"""`a:9876;b:9876` or a list of such texts; None leaves it to the environment."""
NameServerResolver = Callable[[], NameServers | Awaitable[NameServers]]
"""Gives the name servers that are to be used now."""


@dataclass(frozen=True, slots=True)
class TLS:
    """How to secure every connection of a client, name servers and brokers alike.

    Attributes:
        ca_file: PEM file of the authorities to trust; None trusts the system's.
        cert_file: PEM certificate of the client, for mutual TLS.
        key_file: PEM key of the client; None when `cert_file` holds it.
        key_password: Password of the key, or a function that tells it whenever the key is read. Never shown: a text is kept as a
            function that tells it.
        crl_file: PEM file with lists of revoked certificates of every authority whose servers are dialled; None does not ask for any.
        check_hostname: Compare the certificate with the host that was dialled.
        insecure: Accept any certificate. Only for tests: it gives no protection.
        context: A ready `ssl.SSLContext`, used as it is; the other fields are then not allowed.

    The files are read again for the next connection when one of them has changed. Settings with a password cannot be pickled.
    """

    ca_file: str | PathLike[str] | None = None
    cert_file: str | PathLike[str] | None = None
    key_file: str | PathLike[str] | None = None
    key_password: KeyPassword | None = field(default=None, repr=False)
    crl_file: str | PathLike[str] | None = None
    check_hostname: bool = True
    insecure: bool = False
    context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.key_file and not self.cert_file:
            raise ConfigError("TLS key_file is given without cert_file", hint="give both, or neither")
        flag("TLS check_hostname", self.check_hostname)
        flag("TLS insecure", self.insecure)
        for name in ("ca_file", "cert_file", "key_file", "crl_file"):
            path = getattr(self, name)
            if path is not None and not (isinstance(path, str | PathLike) and str(path).strip()):
                # An empty name is what an unset variable gives; it must not mean the system's authorities, or no certificate.
                raise ConfigError(f"TLS {name} {path!r} is not a path", hint="give the path of a PEM file, or leave it out")
        object.__setattr__(self, "key_password", hidden_password("TLS key_password", self.key_password))
        files = (self.ca_file, self.cert_file, self.key_file, self.key_password, self.crl_file)
        if self.context is not None and (any(files) or self.insecure or not self.check_hostname):
            raise ConfigError("TLS context excludes all other fields of TLS", hint="set these in the context itself")

    def __deepcopy__(self, memo: dict[int, object]) -> TLS:
        return self  # it never changes, and an `ssl.SSLContext` cannot be copied

    def make_context(self) -> ssl.SSLContext:
        """Build the context that connections use.

        Raises:
            ConfigError: A file cannot be read or is not PEM.
        """
        import ssl  # a fifth of the package's import time, for a few of its users

        if self.context is not None:
            if not isinstance(self.context, ssl.SSLContext):
                raise ConfigError(f"TLS context is a {type(self.context).__name__}", hint="give an ssl.SSLContext")
            if self.context.protocol is ssl.PROTOCOL_TLS_SERVER:
                raise ConfigError("TLS context is one of a server", hint="make it by ssl.create_default_context(), without CLIENT_AUTH")
            return self.context
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.crl_file:
                context.load_verify_locations(cafile=self.crl_file)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file, password_teller(self.key_password, self.key_file or self.cert_file))
        except (OSError, ValueError) as error:
            raise unloadable(error, self.ca_file, self.crl_file, self.cert_file, self.key_file) from None
        context.check_hostname = self.check_hostname and not self.insecure
        if self.insecure:
            context.verify_mode = ssl.CERT_NONE
        return context

    @property
    def files(self) -> tuple[str | PathLike[str], ...]:
        """The files that `make_context()` reads."""
        return tuple(path for path in (self.ca_file, self.crl_file, self.cert_file, self.key_file) if path)

    def __copy__(self) -> TLS:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        if isinstance(self.key_password, Secret):
            raise ConfigError(
                "TLS settings with a key_password are not pickled, because the password would be in the pickle",
                hint="give a function that tells it",
            )
        values = (self.ca_file, self.cert_file, self.key_file, self.key_password, self.crl_file, self.check_hostname, self.insecure)
        return TLS, (*values, self.context)


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """How the embedded server secures its connections: it accepts TLS and nothing else.

    Attributes:
        cert_file: PEM certificate of the server, with those between it and its authority.
        key_file: PEM key; None when `cert_file` holds it.
        key_password: Password of the key, or a function that tells it. Never shown.
        client_ca_file: PEM file of the authorities of clients; with it, clients have to show a certificate of one of them.
    """

    cert_file: str | PathLike[str]
    key_file: str | PathLike[str] | None = None
    key_password: KeyPassword | None = field(default=None, repr=False)
    client_ca_file: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        for name in ("cert_file", "key_file", "client_ca_file"):
            path = getattr(self, name)
            if (path is not None or name == "cert_file") and not (isinstance(path, str | PathLike) and str(path).strip()):
                raise ConfigError(f"ServerTLS {name} {path!r} is not a path", hint="give the path of a PEM file")
        object.__setattr__(self, "key_password", hidden_password("ServerTLS key_password", self.key_password))

    def make_contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Build the context that listens, and the one by which the parts of the server reach each other.

        Raises:
            ConfigError: A file cannot be read or is not PEM.
        """
        import ssl

        try:
            listening = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            inner = ssl.create_default_context(cafile=self.cert_file)
            inner.check_hostname = False  # whatever its name: it is this very certificate
            inner.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            for context in (listening, inner):
                context.load_cert_chain(self.cert_file, self.key_file, password_teller(self.key_password, self.key_file or self.cert_file))
            if self.client_ca_file:
                listening.load_verify_locations(cafile=self.client_ca_file)
                listening.load_verify_locations(cafile=self.cert_file)
                listening.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                listening.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            raise unloadable(error, self.cert_file, self.key_file, self.client_ca_file) from None
        return listening, inner


def hidden_password(name: str, password: KeyPassword | None) -> Callable[[], str] | None:
    """The password of a key as a function that tells it; `dataclasses.asdict()` would show a text to whatever logs it.

    Raises:
        ConfigError: It is neither; the text does not show it.
    """
    if password is not None and not isinstance(password, str) and not callable(password):
        raise ConfigError(f"{name} is a {type(password).__name__}", hint="give a text, or a function that answers one")
    return Secret(password) if isinstance(password, str) else password


def password_teller(password: KeyPassword | None, file: str | PathLike[str]) -> Callable[[], str]:
    """A function that tells the password to OpenSSL, which asks on the terminal if there is none."""

    def tell() -> str:
        if password is None:
            raise ConfigError(f"TLS key {file} is encrypted", hint="give key_password=")
        if isinstance(password, str):
            return password
        try:
            told = password()
        except Exception as error:  # noqa: BLE001 - the user's code; its text may show the password
            text = f"the function that tells the password of {file} raised {type(error).__name__}"
            raise discreet(ConfigError(text, cause=error)) from None
        if not isinstance(told, str):
            raise ConfigError(
                f"the function that tells the password of {file} answered a {type(told).__name__}", hint="let it answer a text"
            )
        return told

    return tell


def unloadable(error: OSError | ValueError, *files: str | PathLike[str] | None) -> ConfigError:
    """The error for files that OpenSSL cannot load."""
    if isinstance(error, ConfigError):
        return error
    named = ", ".join(str(name) for name in files if name)
    hint = "give readable PEM files; for an encrypted key check key_password"
    return ConfigError(f"TLS files {named} cannot be loaded: {error}", hint=hint, cause=error)


def check_resolver(resolver: object, name_servers: tuple[str, ...]) -> None:
    """Refuse what cannot resolve name servers.

    Raises:
        ConfigError: It cannot be called, or there is a fixed list beside it.
    """
    if resolver is None:
        return
    if not callable(resolver):
        raise ConfigError(f"name_server_resolver {resolver!r} is a {type(resolver).__name__}", hint="give a function without arguments")
    if name_servers:
        raise ConfigError("name_servers and name_server_resolver exclude each other", hint="give one of them")


def parse_name_servers(value: NameServers) -> tuple[str, ...]:
    """Checked `host:port` texts, in order, without repeats; `http://host:port` is one of them, without its scheme.

    Raises:
        ConfigError: An entry is no address.
    """
    if isinstance(value, str):
        value = value.replace(",", ";").split(";")
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        value = [without_scheme(entry) if isinstance(entry, str) else entry for entry in value]
    return parse_addresses(value, "name server")
