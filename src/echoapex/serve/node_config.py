"""The settings of a node, read from a YAML file: who may send, where results go, and how much is accepted."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from echoapex.config import Config, ConfigError, build_config, read_recipe

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]*[!-\[\]-~][ -\[\]-~]*$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
_IMAGES_ONLY_ON_LOOPBACK = "is not this machine alone (loopback); add allow_network: true to listen there"


class TlsFiles(Config):
    """Files in PEM format.

    Attributes:
        certificate: of this side.
        key: of the certificate.
        ca: whose certificates are trusted; a server asks clients for a certificate that it signed.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


class DicomPeer(Config):
    """Another DICOM application entity.

    Attributes:
        ae_title: what it is called.
        host: where it is.
        port: where it listens.
        tls: whether it is reached by TLS; ``tls`` of the node names the files.
        retrieve: how studies are fetched from it.
        check: ask it by C-FIND whether it has an object whose sending was interrupted, before it is sent again.
        commitment: ask it to commit itself to the storage of what it was sent.
        timeout_s: how long it may be silent.
    """

    ae_title: AeTitle
    host: str
    port: Port
    tls: bool = False
    retrieve: Literal["move", "get"] = "move"
    check: bool = True
    commitment: bool = False
    timeout_s: Seconds = 30


class WebPeer(Config):
    """A DICOMweb server.

    Attributes:
        url: of its services, for example ``https://pacs.example/dicom-web``.
        user: name for HTTP basic authentication.
        password_env: the environment variable that holds the password.
        token_env: the environment variable that holds a bearer token.
        ca: whose certificates are trusted; by default what the machine trusts.
        timeout_s: how long it may be silent.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^/]+")]
    user: str = ""
    password_env: str = ""
    token_env: str = ""
    ca: Path | None = None
    timeout_s: Seconds = 30


class WorklistServer(WebPeer):
    """A worklist over HTTP (UPS-RS) that tells this node what to analyse.

    Attributes:
        station: code value of the station for which workitems are scheduled; empty for any.
        label: worklist label of the workitems; empty for any.
        fetch_from: the peer that has the studies; addresses in a workitem are not followed.
        results_at: the peer of ``send_to`` that a finished workitem names for its results; the first by default.
        most: how many workitems this node holds at once.
        poll_s: how often the worklist is asked.
        named_transaction: send the transaction UID of an update as ``?transaction-uid=UID`` instead of ``?UID``;
            servers read PS3.18 11.6.1 in both ways.
    """

    station: str = ""
    label: str = ""
    fetch_from: str
    results_at: str = ""
    most: Annotated[int, Field(ge=1)] = 4
    poll_s: Seconds = 30
    named_transaction: bool = False


class Limits(Config):
    """How much is accepted.

    Attributes:
        associations: at once.
        instance_mb: size of one instance.
        free_mb: how much room stays free on the disk; below it, instances are refused.
    """

    associations: Annotated[int, Field(ge=1)] = 8
    instance_mb: Annotated[float, Field(gt=0)] = 512
    free_mb: Annotated[float, Field(ge=0)] = 1024


class RetryRules(Config):
    """How often a job is tried again.

    Attributes:
        attempts: after so many it waits for a person (dead letter).
        first_s: wait after the first failure; it doubles with every further one.
        longest_s: longest wait.
        lease_s: a job whose worker has not been heard of for so long is given to another.
    """

    attempts: Annotated[int, Field(ge=1)] = 8
    first_s: Seconds = 10
    longest_s: Seconds = 3600
    lease_s: Seconds = 120


class AnalysisSettings(Config):
    """How studies are analysed.

    Attributes:
        workers: processes that analyse; each holds the weights in memory.
        bundle: name or folder of the set of weights.
        device: where the models run.
        precision: of the encoder.
        contours: over the whole cycle, or at ED and ES only.
        results: what is made and sent: structured reports (sr), segmentations (seg), pictures with outlines as a
            secondary capture (sc), the report as Encapsulated PDF (pdf).
        templates: of the structured reports.
    """

    workers: Annotated[int, Field(ge=1)] = 1
    bundle: str = "default"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    contours: Literal["cycle", "ed_es"] = "cycle"
    results: Annotated[tuple[Literal["sr", "seg", "sc", "pdf"], ...], Field(min_length=1)] = ("sr", "seg")
    templates: Annotated[tuple[Literal["5300", "1500", "5200"], ...], Field(min_length=1)] = ("5300", "1500")


class HealthSettings(Config):
    """Where health and metrics are served over HTTP.

    Attributes:
        host: address; other machines need ``allow_network`` as well.
        port: port; 0 turns it off.
        tls: by TLS, with the certificate of the node.
    """

    host: str = "127.0.0.1"
    port: Port = 11180
    tls: bool = False


class NodeConfig(Config):
    """The settings of a node.

    Attributes:
        ae_title: what the node is called.
        host: address to listen on.
        port: port to listen on.
        allow_network: allow addresses other than loopback.
        accept_from: AE titles that may open an association.
        require_tls: listen by TLS only, with the files of ``tls``.
        tls: certificates.
        data: folder for studies, results and the database; it holds patient data.
        database: URL of PostgreSQL; by default SQLite in ``data``.
        settle_s: a study is complete when nothing came for so long.
        keep_hours: how long a finished study stays, so that late instances join it.
        peers: other systems by a name of your choice.
        send_to: the peers that get the results.
        worklist: a server that tells what to analyse.
        transfers: how many sendings and retrievals run at once.
        limits: how much is accepted.
        retry: how often a job is tried again.
        analysis: how studies are analysed.
        health: where health and metrics are served.
    """

    ae_title: AeTitle = "ECHOAPEX"
    host: str = "127.0.0.1"
    port: Port = 11112
    allow_network: bool = False
    accept_from: Annotated[tuple[AeTitle, ...], Field(min_length=1)]
    require_tls: bool = False
    tls: TlsFiles = TlsFiles()
    data: Path
    database: str = ""
    settle_s: Seconds = 60
    keep_hours: Annotated[float, Field(ge=0)] = 24
    peers: dict[str, DicomPeer | WebPeer] = Field(default_factory=dict)
    send_to: tuple[str, ...] = ()
    worklist: WorklistServer | None = None
    transfers: Annotated[int, Field(ge=1)] = 2
    limits: Limits = Limits()
    retry: RetryRules = RetryRules()
    analysis: AnalysisSettings = AnalysisSettings()
    health: HealthSettings = HealthSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [name for name in self.send_to if name not in self.peers]
        if unknown:
            raise ValueError(f"send_to names {unknown[0]!r}, which is not in peers")
        if self.worklist is not None:
            self._check_worklist(self.worklist)
        for section, host in (("host", self.host), ("health.host", self.health.host)):
            if not is_loopback(host) and not self.allow_network:
                raise ValueError(f"{section} {host} {_IMAGES_ONLY_ON_LOOPBACK}")
        if (self.require_tls or self.health.tls) and not (self.tls.certificate and self.tls.key):
            raise ValueError("TLS needs tls.certificate and tls.key")
        return self

    def _check_worklist(self, worklist: WorklistServer) -> None:
        if worklist.fetch_from not in self.peers:
            raise ValueError(f"worklist.fetch_from names {worklist.fetch_from!r}, which is not in peers")
        if not self.send_to:
            raise ValueError("a worklist needs send_to: a finished workitem says where its results are")
        if worklist.results_at and worklist.results_at not in self.send_to:
            raise ValueError(f"worklist.results_at names {worklist.results_at!r}, which is not in send_to")

    @property
    def database_url(self) -> str:
        """Where the jobs are kept."""
        return self.database or f"sqlite:///{(self.data / 'node.db').absolute()}"

    def peer(self, name: str) -> DicomPeer | WebPeer:
        """A peer by its name.

        Raises:
            ConfigError: there is none of this name.
        """
        if name not in self.peers:
            raise ConfigError(f"there is no peer {name!r}; known: {', '.join(sorted(self.peers)) or 'none'}")
        return self.peers[name]


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_node_config(path: Path) -> NodeConfig:
    """Read the settings of a node; paths in the file are relative to its folder.

    Raises:
        ConfigError: with one line for each mistake.
    """
    values = read_recipe(path)
    base = path.resolve().parent
    if isinstance(values.get("data"), str):
        values["data"] = str(base / values["data"])
    for section in (values.get("tls"), values.get("worklist"), *_sections(values.get("peers"))):
        for key in ("certificate", "key", "ca"):
            if isinstance(section, dict) and isinstance(section.get(key), str):
                section[key] = str(base / section[key])
    return build_config(NodeConfig, values, path.name)


def _sections(peers: object) -> list[Any]:
    return list(peers.values()) if isinstance(peers, dict) else []


def secret_from(variable: str) -> str:
    """A password or token from the environment; empty where no variable is named.

    Raises:
        ConfigError: the variable is not set.
    """
    if variable and variable not in os.environ:
        raise ConfigError(f"the environment variable {variable} is not set; it holds the password of a peer")
    return os.environ[variable] if variable else ""
