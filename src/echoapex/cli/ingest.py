"""``echoapex ingest``: an archive of echo files to a de-identified store of frames."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from echoapex.cli.console import ERRORS, ExitCode, TerminalProgress, complain, examples

if TYPE_CHECKING:
    from echoapex.data.ingest.ingest import IngestSummary
    from echoapex.io.local_engine import Engine

app = App(
    name="ingest",
    help="Turn an archive of echo files into a de-identified store of frames to train on.",
    help_epilogue=examples(
        "echoapex ingest studies/ --out frames/", "echoapex ingest @list.txt --out frames/ --key frames.key --workers 4"
    ),
)


@Parameter(name="*")
@dataclass(frozen=True)
class Frames:
    """Which frames are kept, and how.

    Attributes:
        size: side of a stored frame in pixels.
        max_frames_per_clip: largest number of frames that are looked at in a clip; they are spread over it.
        stride: look at every n-th frame only.
        near_duplicate_bits: drop a frame when its hash (256 bits) differs from that of an earlier frame in at most this
            many bits; -1 keeps all.
        val_percent: percentage of the patients that are kept for validation.
        unnamed: for clips without a patient name, such as videos: one patient for each folder, or for each file.
        names: how the ledger names files: by keyed digest, or by path. Use path only when the paths identify no person.
    """

    size: Annotated[int, Parameter(validator=Number(gte=32, lte=1024))] = 256
    max_frames_per_clip: Annotated[int, Parameter(validator=Number(gte=1, lte=4096))] = 64
    stride: Annotated[int, Parameter(validator=Number(gte=1))] = 1
    near_duplicate_bits: Annotated[int, Parameter(validator=Number(gte=-1, lte=255))] = 2
    val_percent: Annotated[float, Parameter(validator=Number(gte=0, lte=100))] = 5.0
    unnamed: Literal["folder", "file"] = "folder"
    names: Literal["digest", "path"] = "digest"


@Parameter(name="*")
@dataclass(frozen=True)
class Workers:
    """How the work is divided.

    Attributes:
        engine: processes on this machine, or Ray on many.
        ray_address: head node of a running Ray cluster, host:port; without it Ray is started on this machine.
        workers: processes or Ray tasks at the same time; by default one for each core.
    """

    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    workers: Annotated[int | None, Parameter(validator=Number(gte=1))] = None

    def build(self) -> Engine:
        """The engine."""
        from echoapex.io.local_engine import LocalEngine
        from echoapex.io.ray_engine import RayEngine

        if self.engine == "ray":
            return RayEngine(self.ray_address, self.workers)
        return LocalEngine(self.workers or _cores())


@app.default
def ingest(
    *sources: str,
    out: str,
    key: Path | None = None,
    frames: Frames | None = None,
    workers: Workers | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Turn an archive of echo files into a de-identified store of frames to train on.

    Keeps B-mode and colour Doppler frames: blank outside the ultrasound sector, cropped, resized, without
    near-duplicates. Patients, studies and clips are named by keyed digests only. The same command completes an
    interrupted run.

    Args:
        sources: folders, DICOMDIRs, zip archives, files, or @list.txt with one of these a line.
        out: folder or URL (s3://bucket/name) of the frame store.
        key: file of the secret key of the digests, made when it is missing; by default OUT.key beside the store.
        frames: which frames are kept, and how.
        workers: how the work is divided.
        quiet: show errors only.
    """
    frames, workers = frames or Frames(), workers or Workers()
    if key is None and "://" in out:
        complain("ingest", "a store at a URL needs --key FILE, a file on this machine that is kept secret")
        return ExitCode.USAGE
    if workers.ray_address and workers.engine != "ray":
        complain("ingest", "--ray-address is for --engine ray")
        return ExitCode.USAGE
    # slow to load: not before the arguments are known to be good
    from echoapex.data.ingest.ingest import IngestPlan
    from echoapex.data.ingest.ingest import ingest as run_ingest
    from echoapex.data.ingest.plan import IngestRules
    from echoapex.data.stores.place import StoreError, import_lance
    from echoapex.io.local_engine import EngineError

    try:
        import_lance()  # before a key is made
    except StoreError as error:
        complain("ingest", str(error))
        return ExitCode.USAGE
    key = key or Path(f"{out.rstrip('/')}.key")
    is_new_key = not key.exists() and not quiet
    plan = IngestPlan(
        sources=sources,
        out=out,
        key=key,
        rules=IngestRules(
            size=frames.size,
            stride=frames.stride,
            max_frames=frames.max_frames_per_clip,
            near_duplicate_bits=frames.near_duplicate_bits,
            val_percent=frames.val_percent,
            unnamed=frames.unnamed,
        ),
        names=frames.names,
    )
    try:
        with _Bar(quiet=quiet) as bar:
            summary = run_ingest(plan, workers.build(), bar)
    except (StoreError, EngineError) as error:
        complain("ingest", str(error))
        return ExitCode.USAGE
    except KeyboardInterrupt:
        complain("ingest", "interrupted; what was committed is kept, the same command completes it")
        return ExitCode.INTERRUPTED
    finally:
        if is_new_key and key.exists():
            ERRORS.print(f"made the secret key {key}: keep it, and keep it away from the store", markup=False)
    if not quiet:
        _summarise(summary, out, key)
    return exit_code_of(summary)


def exit_code_of(summary: IngestSummary) -> ExitCode:
    """The exit code that a summary stands for."""
    if not summary.ingested:
        return ExitCode.NOTHING_ANALYSED
    return ExitCode.SOME_FILES_FAILED if summary.rejected else ExitCode.ALL_GOOD


def _summarise(summary: IngestSummary, out: str, key: Path) -> None:
    from echoapex.data.ingest.ledger import LEDGER_FILE, path_table_of

    lines = [
        f"{summary.ingested} clips ingested, {summary.set_aside} set aside, {summary.rejected} rejected"
        + (f" ({summary.done_before} of these done before)" if summary.done_before else ""),
        f"{summary.frames_kept} new frames kept, {summary.near_duplicates} dropped as near-duplicates",
        f"{summary.frames_stored} frames in {out}, {summary.equal_frames} dropped as equal to another of the store",
    ]
    if summary.set_aside or summary.rejected:
        table = path_table_of(key)
        where = f"; which files these are: {table}" if table.is_file() else ""
        lines.append(f"reasons: {LEDGER_FILE} in the store{where}")
    for line in lines:
        ERRORS.print(line, markup=False)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Bar(TerminalProgress):
    """How many files are done, and how many frames came of them."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(
            SpinnerColumn(),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("files, {task.fields[frames]} frames"),
            TimeElapsedColumn(),
            quiet=quiet,
        )
        self._frames = 0
        self._task = self._progress.add_task("", total=None, frames=0)

    def found(self, files: int) -> None:
        self._progress.update(self._task, total=files)

    def finished(self, files: int, frames: int) -> None:
        self._frames += frames
        self._progress.update(self._task, advance=files, frames=self._frames)
