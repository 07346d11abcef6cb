"""TLS of the client end: the context, and handshake failures as errors that name the cause (Java: `TlsHelper`). Features M4-M6.

Unlike Java, certificates and host names are verified unless the user switches that off, and then every start says so in the log.
"""

from __future__ import annotations

import logging
import ssl
from typing import Final

from aiorocketmq.config import TLS, ClientConfig
from aiorocketmq.errors import ConfigError, TLSError
from aiorocketmq.remoting.watched import state_of

logger = logging.getLogger("aiorocketmq.remoting")

_PLAIN_PEER = "the server may not speak TLS on this port: check tls.server.mode, or leave tls out"


class ClientContext:
    """The TLS context for new connections of a client: made at its start, and again when one of its files has changed.

    Args:
        config: Its `tls`; None makes no context.
    """

    __slots__ = ("_context", "_seen", "_settings", "_troubled")

    def __init__(self, config: ClientConfig) -> None:
        self._settings = config.tls
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[tuple[int, int, int] | None, ...] = ()
        self._troubled = False

    def start(self) -> None:
        """Make the context.

        Raises:
            ConfigError: A file of the TLS settings cannot be loaded.
        """
        if self._settings is None:
            return
        self._seen = self._state(self._settings)
        context = self._context = self._settings.make_context()
        if context.verify_mode is ssl.CERT_NONE:
            logger.warning("TLS does not verify certificates: anybody on the way can read and change the messages")
        elif not context.check_hostname:
            logger.warning("TLS does not compare host names: whoever has a certificate of the same authority can stand in for the server")

    def current(self) -> ssl.SSLContext | None:
        """The context for a new connection; None when connections are plain.

        Certificates are replaced under running clients, file by file: while they do not fit, the last ones that did stay in use.
        """
        settings = self._settings
        if settings is None:
            return None
        seen = self._state(settings)
        if seen != self._seen:
            try:
                self._context = settings.make_context()
            except ConfigError as error:
                if not self._troubled:
                    logger.warning("going on with the certificates of before: %s", error)
                self._troubled = True
                return self._context
            self._seen = seen
            self._troubled = False
            logger.info("the TLS files were read again: %s", ", ".join(map(str, settings.files)))
        return self._context

    @staticmethod
    def _state(settings: TLS) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(state_of, settings.files))


_VERIFICATION: Final = {
    2: "unknown-authority", 19: "unknown-authority", 20: "unknown-authority", 21: "unknown-authority", 18: "self-signed", 10: "expired",
    9: "not-yet-valid", 62: "wrong-host", 64: "wrong-host", 23: "revoked", 66: "weak-key", 67: "weak-key", 68: "weak-key",
}  # fmt: skip
"""What OpenSSL's codes of verification mean (`X509_V_ERR_...`)."""
_HANDSHAKE: Final = {
    "WRONG_VERSION_NUMBER": "not-tls", "RECORD_LAYER_FAILURE": "not-tls", "HTTP_REQUEST": "not-tls",
    "UNSUPPORTED_PROTOCOL": "old-version", "TLSV1_ALERT_PROTOCOL_VERSION": "old-version", "VERSION_TOO_LOW": "old-version",
    "EE_KEY_TOO_SMALL": "weak-key", "CA_KEY_TOO_SMALL": "weak-key", "DH_KEY_TOO_SMALL": "weak-key", "CA_MD_TOO_WEAK": "weak-key",
    "WRONG_SIGNATURE_TYPE": "weak-key",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "client-certificate", "TLSV1_ALERT_UNKNOWN_CA": "client-certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "client-certificate", "SSLV3_ALERT_HANDSHAKE_FAILURE": "client-certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "client-certificate", "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "client-certificate",
}  # fmt: skip
_HINTS: Final = {
    "unknown-authority": "give its authority as TLS(ca_file=...)",
    "self-signed": "it is its own authority: if you trust it, give it as TLS(ca_file=...)",
    "expired": "the server needs a new certificate; if it has one, check this machine's clock",
    "not-yet-valid": "check the clocks of both machines",
    "wrong-host": "dial a name that the certificate carries, or have one made for this one",
    "revoked": "its authority has taken it back: the server needs a new certificate",
    "weak-key": "the server needs a certificate with a longer key: RSA of 2,048 bits, or an elliptic curve",
    "old-version": "the server speaks only versions of TLS that are not safe any more: it needs 1.2 or 1.3",
    "not-tls": _PLAIN_PEER,
    "closed": _PLAIN_PEER,
    "client-certificate": "the server wants a certificate of the client, or another one: see TLS(cert_file=, key_file=)",
}


def handshake_error(address: str, error: OSError | ValueError) -> TLSError:
    """Say why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _VERIFICATION.get(error.verify_code, "other")
        text = f"the certificate of {address} is refused: {error.verify_message}"
    elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        why = getattr(error, "reason", None)  # event loops make some of these errors themselves, and those have none
        reason = _HANDSHAKE.get(why or "", "other")
        text = f"the TLS handshake with {address} failed: {why or error}"
        if reason == "not-tls":
            text = f"{address} does not speak TLS"
    elif isinstance(error, ValueError):
        reason, text = "wrong-host", f"the host of {address} is no name that a certificate can carry: {error}"
    else:
        reason, text = "closed", f"{address} closed the connection during the TLS handshake"
    hint = _HINTS.get(reason, "compare the TLS versions and certificates that both ends accept")
    failed = TLSError(text, address=address, maybe_sent=False, hint=hint, cause=error)
    failed.reason = reason
    return _may_pass(failed) if reason == "closed" else failed


def handshake_timeout(address: str, seconds: float) -> TLSError:
    """Say that a handshake did not come to an end."""
    text = f"the TLS handshake with {address} did not end within {round(seconds, 3):g} s"
    failed = TLSError(text, address=address, maybe_sent=False, hint=_PLAIN_PEER)
    failed.reason = "timed-out"
    return _may_pass(failed)


def _may_pass(error: TLSError) -> TLSError:
    """A server that stops, starts, or hangs breaks handshakes off, too: the next one may go well, unlike one that was refused."""
    error.retriable = True
    return error
