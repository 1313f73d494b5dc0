"""Runs the page until it is told to stop: one process, one port, and an orderly end on SIGTERM and Ctrl-C."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from types import FrameType

import uvicorn

from echoapex.config import ConfigError
from echoapex.serve.page.app import create_app
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.page_parts import PageParts

_CLOSE_PATIENCE_S = 5
_BACKLOG = 256


class _Server(uvicorn.Server):
    """Ends the streams of news first, since they would keep the server from stopping."""

    def __init__(self, config: uvicorn.Config, parts: PageParts) -> None:
        super().__init__(config)
        self._parts = parts

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop: no new requests, those under way are finished."""
        self._parts.events.close()
        super().handle_exit(sig, frame)


def run_page(config: PageConfig, listening: Callable[[str], None]) -> None:
    """Serve the page until told to stop.

    Args:
        config: its settings.
        listening: is called once with the address, as soon as the port is open.

    Raises:
        ConfigError: the port, the certificate, the state folder or the tokens file cannot be used.
        BundleError: there is no such set of weights.
        DatabaseError: the database cannot be used.
    """
    _check_certificate(config)
    place = _listen(config)
    try:
        parts = PageParts.open(config)
    except BaseException:
        place.close()
        raise
    try:
        parts.models.check()
        settings = uvicorn.Config(
            create_app(config, parts),
            log_config=None,
            access_log=False,  # addresses hold random names only, and yet: nobody needs them
            server_header=False,
            timeout_graceful_shutdown=_CLOSE_PATIENCE_S,
            ssl_certfile=config.tls_certificate,
            ssl_keyfile=config.tls_key,
            lifespan="on",
        )
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        listening(_address(config, place))
        _Server(settings, parts).run(sockets=[place])
    finally:
        parts.close()
        place.close()


def _listen(config: PageConfig) -> socket.socket:
    host = config.host.strip("[]")
    try:
        family = socket.getaddrinfo(host, config.port, type=socket.SOCK_STREAM)[0][0]
        # asyncio sends at once (TCP_NODELAY) only where the protocol is named; else each answer waits 40 ms
        place = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((host, config.port))
        place.listen(_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"port {config.port} of {host} cannot be used ({error.strerror}); choose another --port"
        ) from None
    return place


def _address(config: PageConfig, place: socket.socket) -> str:
    host = f"[{config.host}]" if ":" in config.host.strip("[]") else config.host
    return f"{'https' if config.has_tls else 'http'}://{host}:{place.getsockname()[1]}/"


def _check_certificate(config: PageConfig) -> None:
    """Load the certificate once, so that a mistake is one line."""
    if config.tls_certificate is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(f"--tls-cert or --tls-key cannot be used ({reason}); give files in PEM format") from None
