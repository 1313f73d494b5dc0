"""``echoapex curate``: how often pretraining visits each frame of a store; rare views are visited more often."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from echoapex.cli.console import ERRORS, ExitCode, TerminalProgress, complain, examples

if TYPE_CHECKING:
    from echoapex.curation.balance import CurationRules
    from echoapex.curation.report import CurationReport

app = App(
    name="curate",
    help="Give the frames of a store weights, so that training also sees rare views, vendors and qualities.",
    help_epilogue=examples("echoapex curate frames/ --out curated/"),
)

_SHOWN = ("view", "vendor", "quality")


@Parameter(name="*")
@dataclass(frozen=True)
class Balance:
    """Which frames are used, and what is balanced.

    Attributes:
        frames_per_clip: number of frames that are embedded in each clip; each stands for an equal part of the clip.
        clusters: number of clusters on each level, finest first, as in 1024 128 16; by default chosen from the sample.
        balance: properties to balance besides the clusters: view, vendor, quality, probe, content.
        most_weight: largest weight of a frame; its reciprocal is the smallest. An average frame has weight 1.
        least_quality: leave out frames of lower quality than this, from 0 to 1; nearly blank ones are always left out.
        near_duplicate_bits: leave out a frame when its hash (256 bits) differs from that of a frame of another clip in
            at most this many bits; -1 keeps all.
        colour: keep frames with colour Doppler.
        seed: of the clusters.
    """

    frames_per_clip: Annotated[int, Parameter(validator=Number(gte=1, lte=4096))] = 2
    clusters: Annotated[tuple[int, ...], Parameter(consume_multiple=True, negative=())] = ()
    balance: Annotated[
        tuple[Literal["view", "vendor", "quality", "probe", "content"], ...], Parameter(consume_multiple=True)
    ] = ("view", "vendor", "quality")
    most_weight: Annotated[float, Parameter(validator=Number(gte=1, lte=16))] = 4.0
    least_quality: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.0
    near_duplicate_bits: Annotated[int, Parameter(validator=Number(gte=-1, lte=255))] = 4
    colour: bool = True
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0

    def build(self) -> CurationRules:
        """The rules of the curation.

        Raises:
            ConfigError: they contradict each other.
        """
        from echoapex.config import build_config
        from echoapex.curation.balance import CurationRules

        values = {name: getattr(self, name) for name in CurationRules.model_fields}
        return build_config(CurationRules, values, "arguments")


@app.default
def curate(
    store: str,
    *,
    out: Path,
    bundle: str = "default",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    balance: Balance | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Give the frames of a store weights, so that training also sees rare views, vendors and qualities.

    An encoder embeds a sample of the training patients' frames. These are clustered level by level, near-copies and
    blank frames are left out, and the rest gets weights that make clusters, views, vendors and quality as even as the
    frames permit. Writes selection.safetensors for `echoapex pretrain`, tables and a picture of before and after. No
    pixel is copied but to the picture. The same command goes on where an interrupted one stopped.

    Args:
        store: folder or URL that `echoapex ingest` wrote.
        out: folder for what is written.
        bundle: set of weights whose encoder and view classifier embed the frames: its name or folder; or the folder
            of an encoder bundle.
        device: where they run.
        balance: which frames are used, and what is balanced.
        quiet: show errors only.
    """
    # slow to load: not before the arguments are known to be good
    from echoapex.config import ConfigError
    from echoapex.curation.curate import CurationPlan
    from echoapex.curation.curate import curate as run_curation
    from echoapex.curation.frame_embedder import CurationError, FrameEmbedder
    from echoapex.data.stores.place import StoreError
    from echoapex.models.bundle import BundleError
    from echoapex.models.precision import DeviceError

    try:
        plan = CurationPlan(store, out, (balance or Balance()).build())
        with _Bar(quiet=quiet) as bar:
            report = run_curation(plan, FrameEmbedder.load(bundle, device), bar)
    except (BundleError, ConfigError, CurationError, DeviceError, StoreError) as error:
        complain("curate", str(error))
        return ExitCode.USAGE
    except OSError as error:
        complain("curate", f"{out}: cannot be written ({error.strerror}); make room or choose another --out")
        return ExitCode.USAGE
    except KeyboardInterrupt:
        complain("curate", "interrupted; the same command goes on where it stopped")
        return ExitCode.INTERRUPTED
    if not quiet:
        _tell(report, out)
    return ExitCode.ALL_GOOD


def _tell(report: CurationReport, out: Path) -> None:
    for what in _SHOWN:
        division = report.division(what)
        table = Table(what, "frames", "before", "after", title=None, box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for group in division.groups:
            table.add_row(group.name, f"{group.frames:,}", f"{100 * group.before:.1f} %", f"{100 * group.after:.1f} %")
        table.add_row("even groups", "", f"{division.effective_before:.2f}", f"{division.effective_after:.2f}")
        ERRORS.print(table)
        ERRORS.print()
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in report.left_out.items() if count) or "none"
    ERRORS.print(
        f"{report.frames:,} frames of {report.clips:,} clips; left out: {left_out}; visited: "
        f"{report.frames_visited:,}, worth {report.kish_frames:,.0f} even ones; see {out}",
        markup=False,
    )


class _Bar(TerminalProgress):
    """Which part of the work is under way, and how far it is."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            quiet=quiet,
        )
        self._task = self._progress.add_task("loading", total=None)

    def began(self, what: str, total: int) -> None:
        """A part of the work begins; 0 stands for one of unknown length."""
        self._progress.reset(self._task, description=what, total=total or None)

    def advanced(self, count: int) -> None:
        """So much more of it is done."""
        self._progress.advance(self._task, count)
