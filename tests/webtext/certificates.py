"""Certificates of a test's own authority, good and bad, as servers would present them."""

import datetime
import ipaddress
import ssl
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey
Authority = tuple[Key, x509.Certificate]
NOW = datetime.datetime.now(datetime.UTC)
YEAR = datetime.timedelta(days=365)


def make_certificates(folder: Path) -> tuple[Path, dict[str, ssl.SSLContext]]:
    """The file of a test authority, and server contexts by what is wrong with them."""
    trusted, unknown = _authority("trusted"), _authority("unknown")
    path = folder / "authority.pem"
    path.write_bytes(trusted[1].public_bytes(serialization.Encoding.PEM))
    contexts = {
        "good": _context(folder / "good", *_leaf(trusted)),
        "expired": _context(folder / "expired", *_leaf(trusted, start=NOW - 2 * YEAR)),
        "future": _context(folder / "future", *_leaf(trusted, start=NOW + YEAR)),
        "wrong-host": _context(folder / "wrong", *_leaf(trusted, host="another.example")),
        "unknown-authority": _context(folder / "unknown", *_leaf(unknown)),
        "self-signed": _context(folder / "self", *_leaf(None)),
        "tls-1.0": _context(folder / "old", *_leaf(trusted)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what is tested
        contexts["tls-1.0"].minimum_version = ssl.TLSVersion.TLSv1
        contexts["tls-1.0"].maximum_version = ssl.TLSVersion.TLSv1
    contexts["tls-1.0"].set_ciphers("DEFAULT@SECLEVEL=0")
    return path, contexts


def _authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, name, key, NOW - YEAR, 10 * YEAR)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return key, builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())


def _leaf(
    authority: Authority | None, *, host: str | None = None, start: datetime.datetime = NOW - YEAR
) -> tuple[Key, x509.Certificate]:
    """A certificate for all addresses of the hostile web, or for `host`.

    Self-signed without an authority.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = (
        [x509.DNSName(host)]
        if host
        else [
            x509.IPAddress(ipaddress.IPv4Address(f"127.1.0.{number}")) for number in range(1, 251)
        ]
    )
    issuer = "leaf" if authority is None else authority[1].subject.rfc4514_string()[3:]
    length = 1.5 * YEAR
    builder = _builder("leaf", issuer, key, start, length)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority[0].public_key())
        builder = builder.add_extension(identifier, critical=False)
    return key, builder.sign(authority[0] if authority else key, hashes.SHA256())


def _builder(
    name: str, issuer: str, key: Key, start: datetime.datetime, length: datetime.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + length)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _context(stem: Path, key: Key, certificate: x509.Certificate) -> ssl.SSLContext:
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = stem.with_suffix(".pem")
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
