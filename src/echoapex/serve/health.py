"""Health and metrics of a node over HTTP, without identifiers: ``/health``, and ``/metrics`` as Prometheus text."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from echoapex.config import ConfigError
from echoapex.serve.database import DATABASE_ERRORS
from echoapex.serve.dicom_node import DicomNode, StorageHandler
from echoapex.serve.node_config import is_loopback
from echoapex.serve.tls import server_context
from echoapex.serve.worker import NodeParts

_LOG = logging.getLogger("echoapex.node")
_SILENT_S = 10.0


@dataclass(frozen=True)
class NodeState:
    """What health and metrics are made from.

    Attributes:
        parts: of the node.
        handler: counts what came.
        node: the listener.
        workers: how many processes of analysis run.
    """

    parts: NodeParts
    handler: StorageHandler
    node: DicomNode
    workers: Callable[[], int]

    def problems(self) -> list[str]:
        """What keeps the node from its work; empty when all is well."""
        found = []
        try:
            self.parts.queue.counts()
        except DATABASE_ERRORS:
            found.append("the database cannot be used")
        if self._free_bytes() < self.parts.config.limits.free_mb * 1_000_000:
            found.append("the disk is nearly full: instances are refused")
        if self.workers() == 0:
            found.append("no process of analysis runs")
        return found

    def metrics(self) -> str:
        """All metrics as Prometheus text."""
        instances = {(outcome,): number for outcome, number in sorted(self.handler.counts.items())}
        jobs = {(str(kind), str(state)): n for (kind, state), n in sorted(self.parts.queue.counts().items())}
        studies = {(state,): number for state, number in sorted(self.parts.studies.counts().items())}
        sends = {(state,): number for state, number in sorted(self.parts.ledger.counts().items())}
        lines = [
            *_metric("instances_total", "counter", "Instances offered, by outcome.", ("outcome",), instances),
            *_metric("associations_open", "gauge", "Open associations.", (), {(): self.node.associations}),
            *_metric("associations_rejected_total", "counter", "Rejected associations.", (), {(): self.node.rejected}),
            *_metric("studies", "gauge", "Studies, by state.", ("state",), studies),
            *_metric("jobs", "gauge", "Jobs, by kind and state; dead ones need a person.", ("kind", "state"), jobs),
            *_metric("sends", "gauge", "Results on their way, by state.", ("state",), sends),
            *_metric("workers", "gauge", "Processes of analysis.", (), {(): self.workers()}),
            *_metric("disk_free_bytes", "gauge", "Room on the disk.", (), {(): self._free_bytes()}),
        ]
        return "\n".join(lines) + "\n"

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.parts.config.data).free


def _metric(name: str, kind: str, about: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Iterable[str]:
    yield f"# HELP echoapex_{name} {about}"
    yield f"# TYPE echoapex_{name} {kind}"
    for key, value in values.items():
        pairs = ",".join(f'{label}="{text}"' for label, text in zip(labels, key, strict=True))
        yield f"echoapex_{name}{{{pairs}}} {value}" if pairs else f"echoapex_{name} {value}"


class HealthServer:
    """Serves health and metrics in a thread.

    Args:
        state: what they are made from.

    Raises:
        ConfigError: the address or the certificate cannot be used.
    """

    def __init__(self, state: NodeState) -> None:
        settings = state.parts.config.health

        class Handler(BaseHTTPRequestHandler):
            timeout = _SILENT_S

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, state.metrics, "text/plain; version=0.0.4; charset=utf-8")
                elif self.path == "/health":
                    problems = state.problems()
                    text = "".join(f"{problem}\n" for problem in problems) or "ok\n"
                    self._answer(503 if problems else 200, lambda: text, "text/plain; charset=utf-8")
                else:
                    self._answer(404, lambda: "there are /health and /metrics\n", "text/plain; charset=utf-8")

            def _answer(self, status: int, text: Callable[[], str], kind: str) -> None:
                try:
                    content = text().encode()
                except DATABASE_ERRORS:
                    status, content = 503, b"the database cannot be used\n"
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Requests are not logged."""

        try:
            self._server = ThreadingHTTPServer((settings.host, settings.port), Handler)
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            raise ConfigError(
                f"{place}: health cannot be served there ({error.strerror}); choose another port"
            ) from error
        if settings.tls:
            context = server_context(state.parts.config.tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        elif not is_loopback(settings.host):
            _LOG.warning("health and metrics are served to other machines without TLS")
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
