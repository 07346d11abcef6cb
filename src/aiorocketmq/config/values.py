"""What a configuration holds besides numbers and texts: TLS settings and lists of name servers (Java: `TlsSystemConfig`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

from aiorocketmq.config.endpoints import without_scheme
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.checks import flag
from aiorocketmq.model.parsing import parse_addresses

if TYPE_CHECKING:
    import ssl

NameServers = str | Iterable[str] | None
"""`a:9876;b:9876` or a list of such texts; None leaves it to the environment."""


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

    ca_file: str | PathLike[str] | None = None
    cert_file: str | PathLike[str] | None = None
    key_file: str | PathLike[str] | None = None
    key_password: str | None = field(default=None, repr=False)
    check_hostname: bool = True
    insecure_skip_verify: bool = False
    context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.key_file and not self.cert_file:
            raise ConfigError("TLS key_file is given without cert_file", hint="give both, or neither")
        flag("TLS check_hostname", self.check_hostname)
        flag("TLS insecure_skip_verify", self.insecure_skip_verify)
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self, name)
            if path is not None and not (isinstance(path, str | PathLike) and str(path).strip()):
                # An empty name is what an unset variable gives; it must not mean the system's authorities, or no certificate.
                raise ConfigError(f"TLS {name} {path!r} is not a path", hint="give the path of a PEM file, or leave it out")
        if self.key_password is not None and not isinstance(self.key_password, str):
            raise ConfigError(f"TLS key_password is a {type(self.key_password).__name__}", hint="give a text")
        files = (self.ca_file, self.cert_file, self.key_file, self.key_password)
        if self.context is not None and (any(files) or self.insecure_skip_verify or not self.check_hostname):
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
            return self.context
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                # Without the function OpenSSL asks for the password on the terminal.
                context.load_cert_chain(self.cert_file, self.key_file, self._password if self.key_password is None else self.key_password)
        except ConfigError:
            raise
        except (OSError, ValueError) as error:  # an SSLError is an OSError; a path with a NUL is a ValueError
            files = ", ".join(str(name) for name in (self.ca_file, self.cert_file, self.key_file) if name)
            raise ConfigError(f"TLS files {files} cannot be loaded: {error}", hint="give readable PEM files", cause=error) from None
        context.check_hostname = self.check_hostname and not self.insecure_skip_verify
        if self.insecure_skip_verify:
            context.verify_mode = ssl.CERT_NONE
        return context

    def _password(self) -> str:
        raise ConfigError(f"TLS key {self.key_file or self.cert_file} is encrypted", hint="give key_password=")


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
