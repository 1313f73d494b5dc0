"""TLS for DICOM and HTTP: contexts of both sides from files in PEM format; version 1.2 or newer (PS3.15 B.9, B.10)."""

from __future__ import annotations

import ssl
from typing import Any

from echoapex.config import ConfigError
from echoapex.serve.node_config import TlsFiles

HANDSHAKE_S = 30.0


class _PatientContext(ssl.SSLContext):
    """Leaves the handshake to the thread of the connection, so that a silent peer does not keep others out."""

    def wrap_socket(self, sock: Any, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Wrap a socket of a server; the first read shakes hands."""
        sock.settimeout(HANDSHAKE_S)
        return super().wrap_socket(sock, *arguments, **{**options, "do_handshake_on_connect": False})


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """The side that is connected to; with ``ca``, clients must show a certificate that it signed.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = _PatientContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, files)
    if files.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """The side that connects: it checks certificate and host name, and shows its own certificate if it has one.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = ssl.create_default_context(cafile=None if files.ca is None else str(_readable(files.ca)))
    _load(context, files)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if files.certificate:
            context.load_cert_chain(files.certificate, files.key)
        if files.ca:
            context.load_verify_locations(files.ca)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(f"tls: certificate, key or ca cannot be used ({reason}); check the PEM files") from error


def _readable(path: Any) -> Any:
    if not path.is_file():
        raise ConfigError(f"tls: {path.name} is not a file; check tls.ca")
    return path
