"""The command line: ``echoapex VERB``. One file per verb, imported only when its verb is used.

The module of a verb holds ``app``, a cyclopts ``App`` with the name of the verb. Its functions return an exit code: 0
all good, 2 wrong usage, 3 some files failed, 4 nothing could be done; see ``echoapex.cli.console``.
"""

from __future__ import annotations

import difflib
import signal
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from echoapex.cli.console import ExitCode, PipedConsole, discard_output, examples
from echoapex.version import __version__

_VERBS = {
    "analyze": "Analyse echocardiograms: views, contours, volumes, ejection fraction, walls, with their evidence.",
    "listen": "Take studies over DICOM, analyse them, and send the results back.",
    "serve": "Open a local page to review studies, correct them with clicks, sign them off and export them.",
    "measure": "Compute the measurements of an analysis again from its stored contours, without the models.",
    "summarize": "Summarize a cohort: counts, quality, the values of each quantity, what was refused, and pictures.",
    "models": "List, show, verify and import the weights that EchoApex uses.",
    "datasets": "List the public data sets that can be read, and verify a copy of one.",
    "phantom": "Write simulated studies as DICOM, with the exact truth of every measurement.",
    "ingest": "Turn an archive of echo files into a de-identified store of frames to train on.",
    "deidentify": "De-identify ultrasound DICOM by the standard's profile, header and pixels, with a proof.",
    "curate": "Give the frames of a store weights, so that training also sees rare views, vendors and qualities.",
    "evaluate": "Score an analysis against a reference data set.",
    "transfer": "Score several sets of weights on several data sets, with no change, as one table.",
    "clicks": "Measure interactive segmentation by simulated clicks, boxes and propagation.",
    "benchmark": "Run the suite of 28 sub-tasks on the data that you have, and write its card.",
    "recipes": "List the recipes of training, show one, and list the keys that it may have.",
    "finetune": "Train decoders or encoders by a recipe.",
    "pretrain": "Pretrain an encoder without labels by a recipe.",
    "demo": "Analyse a real and a simulated study, and say where to look.",
}

app = App(
    name="echoapex",
    version=__version__,
    help="One foundation model for echocardiography.\n\n"
    "Research software, not a medical device: not for diagnosis or treatment.",
    suppress_keyboard_interrupt=False,
    help_epilogue=examples("echoapex analyze study/ --out results/", "echoapex analyze --help"),
)
for _verb, _summary in _VERBS.items():
    app.command(f"echoapex.cli.{_verb}:app", name=_verb, help=_summary)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Args:
        arguments: what follows ``echoapex``; by default the arguments of this process.
    """
    told_to_stop = stop_cleanly_when_told()
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        code = int(ExitCode.NOBODY_READS)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ExitCode.USAGE)
    if code == ExitCode.NOBODY_READS:
        discard_output()
    sys.exit(ExitCode.TERMINATED if told_to_stop else code)


def stop_cleanly_when_told() -> list[int]:
    """On SIGTERM stop as on Ctrl-C: outputs stay valid, extracted files and workers do not stay behind.

    Returns:
        A list that is filled when it happened.
    """
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        told.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    return told


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code. A mistake in the arguments is one line on standard error."""
    if arguments and arguments[0] not in _VERBS and not arguments[0].startswith("-"):
        # cyclopts would import every verb to word this
        close = difflib.get_close_matches(arguments[0], _VERBS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(_VERBS)}"
        sys.stderr.write(f"echoapex: there is no verb {arguments[0]!r}; {hint}\n")
        return ExitCode.USAGE
    try:
        result = app(
            list(arguments),
            console=PipedConsole(),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        sys.stderr.write(f"echoapex: {' '.join(str(error).split())} (see echoapex --help)\n")
        return ExitCode.USAGE
    except KeyboardInterrupt:
        sys.stderr.write("echoapex: interrupted\n")
        return ExitCode.INTERRUPTED
    return int(result) if isinstance(result, int) else ExitCode.ALL_GOOD
