"""``echoapex listen``: a DICOM node that takes studies, analyses them, and sends the results back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App
from rich.table import Table

from echoapex.cli.console import ERRORS, ExitCode, PipedConsole, complain, examples
from echoapex.config import ConfigError
from echoapex.domain.results import DISCLAIMER

if TYPE_CHECKING:
    from echoapex.serve.worker import NodeParts

app = App(
    name="listen",
    help=f"Take studies over DICOM, analyse them, and send the results back.\n\n{DISCLAIMER}",
    help_epilogue=examples("echoapex listen node.yaml", "echoapex listen jobs node.yaml"),
)
_NEEDED = ("pynetdicom", "dicomweb_client", "sqlalchemy", "alembic", "pg8000", "highdicom", "reportlab")
_MISSING = "the DICOM node needs more packages: pip install 'echoapex[node]'"


@app.default
def listen(config: Path) -> int:
    """Run a node until it is told to stop (Ctrl-C or SIGTERM).

    Args:
        config: settings of the node, a YAML file; the guide "A DICOM node" explains them.
    """
    with _one_line_errors() as failures:
        from echoapex.serve.node_config import read_node_config
        from echoapex.serve.service import NodeService
        from echoapex.serve.worker import log_to_standard_error

        settings = read_node_config(config)
        log_to_standard_error()
        service = NodeService(settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, service.stop)
        service.run()
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="peers")
def check_peers(config: Path) -> int:
    """Ask every peer whether it answers: C-ECHO, or a query of one study over DICOMweb; and the worklist.

    Args:
        config: settings of the node.
    """
    silent = 0
    with _one_line_errors() as failures:
        from echoapex.serve.dicom_client import PeerError
        from echoapex.serve.node_config import read_node_config
        from echoapex.serve.worker import client_of
        from echoapex.serve.worklist_client import WorklistClient

        settings = read_node_config(config)
        table = Table("peer", "answer", box=None, pad_edge=False)
        asked: dict[str, Callable[[], None]] = {name: client_of(settings, name).echo for name in settings.peers}
        if settings.worklist is not None:
            asked[WorklistClient.name] = WorklistClient(settings.worklist).echo
        for name, echo in asked.items():
            try:
                echo()
                table.add_row(name, "answers")
            except PeerError as error:
                silent += 1
                table.add_row(name, str(error).removeprefix(f"{name}: "))
        PipedConsole().print(table if asked else "there are no peers; add some under peers")
    if failures:
        return ExitCode.USAGE
    return ExitCode.SOME_FILES_FAILED if silent else ExitCode.ALL_GOOD


@app.command(name="find")
def find_studies(config: Path, peer: str, *, date: str = "", patient_id: str = "", accession: str = "") -> int:
    """List the studies of a peer that match; shows no names.

    Args:
        config: settings of the node.
        peer: name of the peer.
        date: of the study: 20260131, or a range 20260101-20260131.
        patient_id: ID of the patient.
        accession: accession number.
    """
    with _one_line_errors() as failures:
        from echoapex.serve.node_config import read_node_config
        from echoapex.serve.worker import client_of

        asked = {"StudyDate": date, "PatientID": patient_id, "AccessionNumber": accession}
        client = client_of(read_node_config(config), peer)
        found = client.find_studies(**{keyword: value for keyword, value in asked.items() if value})
        table = Table("study UID", "date", "modalities", "instances", box=None, pad_edge=False)
        for study in found:
            table.add_row(*study.values())
        PipedConsole(soft_wrap=True).print(table if found else "no study matches")
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="pull")
def pull_studies(config: Path, peer: str, *study_uids: str) -> int:
    """Let the running node fetch studies from a peer, by C-MOVE, C-GET or DICOMweb, and analyse them.

    Args:
        config: settings of the node.
        peer: name of the peer.
        study_uids: UIDs of the studies.
    """
    with _one_line_errors() as failures:
        from echoapex.serve.jobs import JobKind

        parts = _parts(config)
        parts.config.peer(peer)
        for study_uid in study_uids:
            with parts.database.begin() as connection:
                if not parts.queue.add(connection, JobKind.RETRIEVE, study_uid, peer=peer):
                    parts.queue.reopen(connection, JobKind.RETRIEVE, study_uid, peer=peer, digest="")
        ERRORS.print(f"{len(study_uids)} studies will be fetched from {peer}", markup=False)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="jobs")
def show_jobs(config: Path) -> int:
    """Show how many jobs there are, and the dead letters: jobs that failed too often and wait for a person.

    Args:
        config: settings of the node.
    """
    with _one_line_errors() as failures:
        parts = _parts(config)
        table = Table("job", "state", "number", box=None, pad_edge=False)
        for (kind, state), number in sorted(parts.queue.counts().items()):
            table.add_row(kind, state, str(number))
        dead = Table("dead letter", "job", "study", "peer", "attempts", "reason", box=None, pad_edge=False)
        letters = parts.queue.dead_letters()
        for letter in letters:
            study = parts.studies.key_of(letter.study_uid)
            dead.add_row(str(letter.id), letter.kind, study, letter.peer, str(letter.attempts), letter.reason)
        console = PipedConsole(soft_wrap=True)
        console.print(table if table.row_count else "there are no jobs")
        if letters:
            console.print(dead)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


@app.command(name="retry")
def retry_jobs(config: Path, *numbers: int) -> int:
    """Let dead letters be tried again.

    Args:
        config: settings of the node.
        numbers: which ones, as ``echoapex listen jobs`` shows them; all when left out.
    """
    with _one_line_errors() as failures:
        again = _parts(config).queue.retry(numbers or None)
        ERRORS.print(f"{again} jobs are tried again", markup=False)
    return ExitCode.USAGE if failures else ExitCode.ALL_GOOD


def _parts(config: Path) -> NodeParts:
    """The parts of a node that need not run."""
    from echoapex.serve.database import Database
    from echoapex.serve.node_config import read_node_config
    from echoapex.serve.worker import NodeParts

    settings = read_node_config(config)
    if not settings.data.is_dir():
        raise ConfigError(f"{settings.data.name}: there is no such data folder; start the node first")
    Database(settings.database_url).migrate()
    return NodeParts.open(settings)


@contextmanager
def _one_line_errors() -> Iterator[list[str]]:
    """Say in one line each what is wrong; the list is filled then."""
    failures: list[str] = []
    if any(find_spec(name) is None for name in _NEEDED):
        complain("listen", _MISSING)
        raise SystemExit(int(ExitCode.USAGE))
    from echoapex.serve.database import DatabaseError
    from echoapex.serve.dicom_client import PeerError

    try:
        yield failures
    except (ConfigError, DatabaseError, PeerError) as error:
        for line in str(error).splitlines():
            complain("listen", line)
            failures.append(line)
