"""What a person sees while work is done: a progress bar on a terminal, nothing but results when piped.

The exit codes of every verb.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from enum import IntEnum
from types import TracebackType
from typing import NoReturn, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)


class PipedConsole(Console):
    """A console that ends the command quietly when nobody reads its output any more, as in ``echoapex ... | head``."""

    def on_broken_pipe(self) -> NoReturn:
        """Leave with the exit code that shells know, after what ``finally`` and ``with`` have to do."""
        self.quiet = True
        raise SystemExit(int(ExitCode.NOBODY_READS))


def discard_output() -> None:
    """Discard the output that is still buffered: the interpreter would complain about it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a stream that is no file
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


ERRORS = PipedConsole(stderr=True, soft_wrap=True, highlight=False)
"""Messages for people go to standard error, so that standard output holds results only."""


EXIT_CODES = "Exit codes: 0 all good, 2 wrong usage, 3 some files failed, 4 nothing could be analysed."


def examples(*commands: str) -> str:
    """The end of a verb's help: commands that can be typed as they stand, and the exit codes."""
    title = "Example:" if len(commands) == 1 else "Examples:"
    return "\n".join([title, "", *(f"    {command}" for command in commands), "", EXIT_CODES])


def complain(verb: str, problem: str) -> None:
    """Say in one line on standard error what is wrong."""
    sys.stderr.write(f"echoapex {verb}: {' '.join(problem.split())}\n")


class TerminalProgress:
    """A line of columns that follows some work; silent unless standard error is a terminal."""

    def __init__(self, *columns: ProgressColumn, quiet: bool) -> None:
        self._progress = Progress(*columns, console=ERRORS, transient=True, disable=quiet or not ERRORS.is_terminal)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class ProgressBar(TerminalProgress):
    """Shows how far an analysis is."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(
            SpinnerColumn(),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.description}", table_column=None),
            TimeRemainingColumn(compact=True),
            quiet=quiet,
        )
        self._task = self._progress.add_task("looking for clips", total=None)

    def found(self, clips: int) -> None:
        """So many clips were found."""
        self._progress.update(self._task, total=clips, description="")

    def begun(self, name: str) -> None:
        """A clip is being analysed."""
        self._progress.update(self._task, description=escape(name))

    def finished(self, name: str, outcome: str) -> None:
        """A clip is done."""
        if not self._progress.disable:
            style = "red" if outcome.startswith("failed") else "dim" if outcome.startswith("set aside") else "green"
            self._progress.console.print(f"{escape(name)}  [{style}]{escape(outcome)}[/{style}]")
        self._progress.advance(self._task)


class ExitCode(IntEnum):
    """The exit codes of every verb; stable, documented in ``docs/reference/output.md``."""

    ALL_GOOD = 0
    USAGE = 2
    SOME_FILES_FAILED = 3
    NOTHING_ANALYSED = 4
    INTERRUPTED = 130
    """Stopped by Ctrl-C, as shells expect (128 + SIGINT)."""
    NOBODY_READS = 141
    """The reader of the output went away, as shells expect (128 + SIGPIPE)."""
    TERMINATED = 143
    """Stopped by SIGTERM, as shells expect (128 + SIGTERM)."""
