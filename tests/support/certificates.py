"""Certificates with anything wrong about them that a test wants; what is right comes from trustme."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """A certificate authority, and what it issues, in a folder.

    Args:
        folder: Where its files go.
        name: Name of the authority; files are named after it.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.name = name
        self._key: Key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(name)
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            _builder(self._subject, self._subject, self._key.public_key(), now - _DAY, now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        *hosts: str,
        expired: bool = False,
        early: bool = False,
        weak: bool = False,
        self_signed: bool = False,
        revoked: bool = False,
        password: str | None = None,
    ) -> tuple[Path, Path]:
        """A certificate file and its key file for these names and IP addresses; `crl()` lists those that are revoked."""
        key: Key = rsa.generate_private_key(65537, 1024) if weak else ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        begin, end = now - _DAY, now + 30 * _DAY
        if expired:
            begin, end = now - 3 * _DAY, now - _DAY
        if early:
            begin = now + _DAY
        subject = _name(hosts[0])
        issuer, signer = (subject, key) if self_signed else (self._subject, self._key)
        names = [_general(host) for host in hosts]
        builder = (
            _builder(subject, issuer, key.public_key(), begin, end)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        made = builder.sign(signer, hashes.SHA256())
        stem = f"{self.name}-{made.serial_number}"
        certificate_file, key_file = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        secret = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
        if revoked:
            self._revoked = made.serial_number
        return certificate_file, key_file

    _revoked: int | None = None

    def crl(self) -> Path:
        """The file with the list of revoked certificates."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._subject).last_update(now - _DAY).next_update(now + _DAY)
        if self._revoked is not None:
            entry = x509.RevokedCertificateBuilder().serial_number(self._revoked).revocation_date(now - _DAY).build()
            builder = builder.add_revoked_certificate(entry)
        file = self.folder / f"{self.name}.crl"
        file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return file


def server_context(files: tuple[Path, Path], *, lax: bool = False) -> ssl.SSLContext:
    """A context that listens with a certificate; `lax` takes one that OpenSSL would not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if lax:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(*files)
    return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
