"""The settings of the page, and the rule of who may reach it: other machines only by token and TLS."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.serve.node_config import is_loopback

PAGE_PORT = 8765
_MEGABYTE = 1_000_000
_OPEN_TO_OTHERS = (
    "{host} can be reached from other machines: give --tokens and --tls-cert with --tls-key, or leave --host out"
)


class PageLimits(Config):
    """How much the page takes and keeps.

    Attributes:
        upload_mb: of one upload.
        file_mb: of one file of an upload.
        files: of one upload, and of one archive in it.
        expanded_mb: of all archives of one upload together when they are unpacked.
        free_mb: how much room stays free on the disk.
        open_clips: clips that are kept open for corrections.
        open_mb: memory of their frames.
        cache_mb: pictures for the browser that are kept on the disk.
        logins_per_minute: attempts from one address.
        session_hours: a session ends when it was not used for so long.
        session_days: a session ends after so long.
        steps: how many steps of a study can be undone.
    """

    upload_mb: Annotated[float, Field(gt=0)] = 8_000
    file_mb: Annotated[float, Field(gt=0)] = 2_000
    files: Annotated[int, Field(ge=1)] = 5_000
    expanded_mb: Annotated[float, Field(gt=0)] = 16_000
    free_mb: Annotated[float, Field(ge=0)] = 500
    open_clips: Annotated[int, Field(ge=1)] = 8
    open_mb: Annotated[float, Field(gt=0)] = 1_500
    cache_mb: Annotated[float, Field(gt=0)] = 10_000
    logins_per_minute: Annotated[int, Field(ge=1)] = 10
    session_hours: Annotated[float, Field(gt=0)] = 8
    session_days: Annotated[float, Field(gt=0)] = 7
    steps: Annotated[int, Field(ge=1)] = 200

    @property
    def upload_bytes(self) -> int:
        """Most bytes of one upload."""
        return int(self.upload_mb * _MEGABYTE)

    @property
    def file_bytes(self) -> int:
        """Most bytes of one file."""
        return int(self.file_mb * _MEGABYTE)

    @property
    def expanded_bytes(self) -> int:
        """Most bytes of what an upload's archives hold."""
        return int(self.expanded_mb * _MEGABYTE)


class PageConfig(Config):
    """The settings of the page.

    Attributes:
        state: folder for uploads, results, corrections and the database; it holds patient data.
        studies: a folder of studies and results, or a study at a DICOMweb server; empty for none.
        bundle: name or folder of the set of weights.
        device: where the models run.
        precision: of the encoder.
        contours: over the whole cycle, or at ED and ES only.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        names: further host names under which the page is reached.
        tokens: file of the users; without it the user of this machine is admin.
        tls_certificate: file in PEM format.
        tls_key: its key.
        peers: settings of a DICOM node, whose peers can be sent to.
        web: folder of the built front end; by default the one of the package.
        limits: how much is taken and kept.
    """

    state: Path
    studies: str = ""
    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    contours: Literal["cycle", "ed_es"] = "cycle"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = PAGE_PORT
    names: tuple[str, ...] = ()
    tokens: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    peers: Path | None = None
    web: Path = Path(__file__).parent / "web"
    limits: PageLimits = PageLimits()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS needs both --tls-cert and --tls-key")
        if not is_loopback(self.host) and (self.tokens is None or self.tls_certificate is None):
            raise ValueError(_OPEN_TO_OTHERS.format(host=self.host))
        return self

    @property
    def database_url(self) -> str:
        """Where the state is kept."""
        return f"sqlite:///{(self.state / 'state.db').absolute()}"

    @property
    def has_tls(self) -> bool:
        """Whether the page is reached by HTTPS."""
        return self.tls_certificate is not None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page, and its user needs no token."""
        return is_loopback(self.host) and self.tokens is None

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The host names that a request may ask for; others are refused, so that DNS rebinding leads nowhere."""
        local = {"localhost", "127.0.0.1", "::1"}
        if is_loopback(self.host):
            return frozenset({*local, self.host.strip("[]"), *(name.lower() for name in self.names)})
        here = {socket.gethostname().lower(), socket.getfqdn().lower(), self.host.strip("[]").lower()}
        return frozenset({*local, *here, *(name.lower() for name in self.names)})
