"""TLS of the client end: the context, and handshake failures as errors that name the cause (Java: `TlsHelper`). Features M4, M5.

Unlike Java, certificates and host names are verified unless the user switches that off, and then every start says so in the log.
"""

from __future__ import annotations

import logging
import ssl

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import TLSError

logger = logging.getLogger("aiorocketmq.remoting")

_PLAIN_PEER = "the server may not speak TLS on this port: check tls.server.mode, or leave tls out"


def client_context(config: ClientConfig) -> ssl.SSLContext | None:
    """The context for all connections of a client; None when they are plain.

    Raises:
        ConfigError: A file of the TLS settings cannot be loaded.
    """
    settings = config.tls
    if settings is None:
        return None
    context = settings.make_context()
    if context.verify_mode is ssl.CERT_NONE:
        logger.warning("TLS does not verify certificates: anybody on the way can read and change the messages")
    elif not context.check_hostname:
        logger.warning("TLS does not compare host names: whoever has a certificate of the same authority can stand in for the server")
    return context


def handshake_error(address: str, error: OSError | ValueError) -> TLSError:
    """Say why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"the certificate of {address} is refused: {error.verify_message}"
        hint = "give its authority as TLS(ca_file=...), and dial the name that the certificate carries"
    elif isinstance(error, ssl.SSLError) and _why(error) in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        text, hint = f"{address} does not speak TLS", _PLAIN_PEER
    elif isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        text = f"the TLS handshake with {address} failed: {_why(error) or error}"
        hint = "compare the TLS versions and certificates that both ends accept"
    else:
        text, hint = f"{address} closed the connection during the TLS handshake", _PLAIN_PEER
        return _may_pass(TLSError(text, address=address, maybe_sent=False, hint=hint, cause=error))
    return TLSError(text, address=address, maybe_sent=False, hint=hint, cause=error)


def _why(error: ssl.SSLError) -> str | None:
    return getattr(error, "reason", None)  # event loops make some of these errors themselves, and those have none


def handshake_timeout(address: str, seconds: float) -> TLSError:
    """Say that a handshake did not come to an end."""
    text = f"the TLS handshake with {address} did not end within {round(seconds, 3):g} s"
    return _may_pass(TLSError(text, address=address, maybe_sent=False, hint=_PLAIN_PEER))


def _may_pass(error: TLSError) -> TLSError:
    """A server that stops, starts, or hangs breaks handshakes off, too: the next one may go well, unlike one that was refused."""
    error.retriable = True
    return error
