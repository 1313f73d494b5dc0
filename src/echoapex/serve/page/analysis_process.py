"""The analysis in a process of its own: a crash of it ends no page, and its Python code does not hold up clicks.

The process is started (spawn) with the first study, keeps its weights for the next ones, and ends with the server,
however that ends. What it has finished is on the disk clip by clip, so a study whose process ended goes on with the
clips that are left.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.files import NameMapError, name_map_path
from echoapex.infer.study.analyze import AnalysisError, NamedInterpreter, Observer, SilentObserver, StudyAnalyzer
from echoapex.models.bundle import BundleError
from echoapex.models.precision import DeviceError, Precision
from echoapex.serve.page.page_models import load_named
from echoapex.serve.worker import end_with_parent, log_to_standard_error

_LOG = logging.getLogger("echoapex.page")
_TICK_S = 0.2
_PATIENCE_S = 15.0
_Weights = tuple[str, str, Precision]
_EXPECTED = (AnalysisError, BundleError, DeviceError, NameMapError, OSError)


class AnalysisStoppedError(Exception):
    """The server stops: the study is analysed again from what is done."""


class AnalysisCrashError(Exception):
    """The process of analysis ended before its study; the message says how."""


class AnalysisFailedError(Exception):
    """A study cannot be analysed; the message is for people and quotes no file."""


@dataclass(frozen=True)
class AnalysisRequest:
    """What is analysed, and with what.

    Attributes:
        inputs: files and folders of the study.
        out: folder of the results.
        bundle: name or folder of the set of weights.
        device: where the models run.
        options: choices of the analysis.
    """

    inputs: tuple[Path, ...]
    out: Path
    bundle: str
    device: str
    options: AnalysisOptions


@dataclass(frozen=True)
class AnalysisOutcome:
    """What came of it: how many clips, how many of them were set aside, and why files were refused."""

    clips: int
    set_aside: int
    refused: tuple[str, ...]


class StudyAnalysis(Protocol):
    """What analyses studies, one at a time."""

    def run(self, request: AnalysisRequest, observer: Observer, stop: threading.Event) -> AnalysisOutcome:
        """Analyse a study.

        Args:
            request: what and with what.
            observer: is told of progress.
            stop: is set when the server stops.

        Raises:
            AnalysisStoppedError: the server stops.
            AnalysisFailedError: the study cannot be analysed.
            AnalysisCrashError: the process ended.
        """
        ...

    def close(self) -> None:
        """End; nothing is analysed any more."""
        ...


def analyze_request(
    models: NamedInterpreter, request: AnalysisRequest, observer: Observer, stop: threading.Event
) -> AnalysisOutcome:
    """Analyse one study here; what is set to stop it is looked at between two clips.

    Raises:
        AnalysisFailedError: it cannot be analysed.
        AnalysisStoppedError: it was stopped.
    """
    try:
        analyzer = StudyAnalyzer(models, request.options, _UntilStopped(observer, stop))
        report = analyzer.run(list(request.inputs), request.out, name_map_path(request.out))
    except _EXPECTED as error:
        raise AnalysisFailedError(_reason(error)) from None
    aside = sum(1 for clip in report.clips if clip.set_aside)
    return AnalysisOutcome(len(report.clips), aside, tuple(dict.fromkeys(one["reason"] for one in report.errors)))


def _reason(error: Exception) -> str:
    return f"no room or no access ({error.strerror})" if isinstance(error, OSError) else str(error)


class AnalysisProcess:
    """Analyses in one further process, which is started when it is needed."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._pipe: Connection | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Number of the process; None while there is none."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    def run(self, request: AnalysisRequest, observer: Observer, stop: threading.Event) -> AnalysisOutcome:
        """Analyse a study; see :class:`StudyAnalysis`."""
        pipe = self._started()
        told_s: float | None = None
        try:
            pipe.send(request)
            while True:
                if stop.is_set() and told_s is None:
                    self._process.terminate()  # it ends after the clip in work
                    told_s = time.monotonic()
                if told_s is not None and time.monotonic() - told_s > _PATIENCE_S:
                    self._process.kill()
                if pipe.poll(_TICK_S) and (outcome := _heard(pipe.recv(), observer)) is not None:
                    return outcome
        except (EOFError, OSError):
            how = self._how_it_ended()
            if stop.is_set():
                raise AnalysisStoppedError from None
            raise AnalysisCrashError(how) from None

    def close(self) -> None:
        """End the process, at the latest after some seconds."""
        with self._lock:
            if self._process is None:
                return
            if self._pipe is not None:
                self._pipe.close()
            self._process.terminate()
            self._process.join(_PATIENCE_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process = self._pipe = None

    def _started(self) -> Connection:
        with self._lock:
            if self._pipe is None or self._process is None or not self._process.is_alive():
                self._pipe, theirs = self._context.Pipe()
                self._process = self._context.Process(
                    target=_serve, args=(theirs,), name="echoapex-analysis", daemon=True
                )
                self._process.start()
                theirs.close()
            return self._pipe

    def _how_it_ended(self) -> str:
        self._process.join(_PATIENCE_S)
        code = self._process.exitcode
        self._pipe = None
        if code is not None and code < 0:
            return f"it was ended by {signal.Signals(-code).name}, as when memory runs out"
        return f"it ended with {code}"


def _heard(message: tuple[Any, ...], observer: Observer) -> AnalysisOutcome | None:
    """Pass on what the process says; its last word on a study is an outcome or an error."""
    kind, *content = message
    if kind == "found":
        observer.found(*content)
    elif kind == "finished":
        observer.finished(*content)
    elif kind == "stopped":
        raise AnalysisStoppedError
    elif kind == "failed":
        raise AnalysisFailedError(*content)
    elif kind == "done":
        outcome: AnalysisOutcome = content[0]
        return outcome
    return None


class _UntilStopped:
    """Tells another observer of progress, and stops between two clips."""

    def __init__(self, observer: Observer, stop: threading.Event) -> None:
        self._stop = stop
        self.found = observer.found
        self.finished = observer.finished

    def begun(self, name: str) -> None:
        """A clip is being analysed, unless it was stopped."""
        if self._stop.is_set():
            raise AnalysisStoppedError


class _Told(SilentObserver):
    """Tells the server of progress."""

    def __init__(self, say: Callable[[tuple[Any, ...]], None]) -> None:
        self._say = say

    def found(self, clips: int) -> None:
        """So many clips were found."""
        self._say(("found", clips))

    def finished(self, name: str, outcome: str) -> None:
        """A clip is done."""
        self._say(("finished", name, outcome))


def _serve(pipe: Connection) -> None:
    """What the process does until the server closes the pipe, tells it to stop (SIGTERM) or is gone."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the server, which ends this process
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.umask(0o077)
    log_to_standard_error()
    loaded: dict[_Weights, NamedInterpreter] = {}
    while not stop.is_set():
        try:
            request: AnalysisRequest = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(request, loaded, _Told(pipe.send), stop))


def _answer(
    request: AnalysisRequest, loaded: dict[_Weights, NamedInterpreter], observer: Observer, stop: threading.Event
) -> tuple[Any, ...]:
    """What comes of a study: the last message about it."""
    key: _Weights = (request.bundle, request.device, request.options.precision)
    try:
        if key not in loaded:
            loaded.clear()
            loaded[key] = load_named(*key)
        return ("done", analyze_request(loaded[key], request, observer, stop))
    except AnalysisStoppedError:
        return ("stopped",)
    except AnalysisFailedError as error:
        return ("failed", str(error))
    except _EXPECTED as error:
        return ("failed", _reason(error))
    except Exception as error:  # its text may quote a file, so only its kind is told
        _LOG.error("a study: failed (%s)", type(error).__name__)
        _LOG.debug("its traceback", exc_info=error)
        return ("failed", f"internal error ({type(error).__name__}); look at the log of the server")
