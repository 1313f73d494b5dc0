"""Has queued studies analysed one after another, by a process of its own; a restart goes on where it stopped.

If that process ends in the middle of a study, the study is tried once more. The thread of the queue also takes over
what lies in the folder of studies, since reading its headers takes a while.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.outputs.files import FILE_NAME, name_map_path
from echoapex.infer.study.analyze import SilentObserver
from echoapex.infer.study.stored import StoredError, read_stored
from echoapex.serve.page.analysis_process import (
    AnalysisCrashError,
    AnalysisFailedError,
    AnalysisOutcome,
    AnalysisProcess,
    AnalysisRequest,
    AnalysisStoppedError,
    StudyAnalysis,
)
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.page_models import PageModels
from echoapex.serve.page.schemas import PageState
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_list import StudyList
from echoapex.serve.page.study_results import parts_of

_LOG = logging.getLogger("echoapex.page")
_PATIENCE_S = 60.0
_NO_CLIP = "no clip could be analysed: {}; give DICOM, AVI, MP4, GIF, PNG, JPEG, NIfTI or MHD of an echocardiogram"
_NAMES_KEPT = (
    "its results were made with --keep-identifiers, so that clips are called by their files; "
    "analyse it again without that, or let the page do it"
)
_CRASHED = (
    "the process of analysis ended twice ({}); look at the log of the server: a clip may need more memory than there is"
)
_ATTEMPTS = 2
_FAILURES = (AnalysisFailedError, StoredError, PageError, OSError)


class _Progress(SilentObserver):
    """Writes down how far the analysis of a study is."""

    def __init__(self, study: str, studies: StudyList) -> None:
        self._study = study
        self._studies = studies
        self._clips = 0
        self._done = 0

    def found(self, clips: int) -> None:
        """So many clips were found."""
        self._clips, self._done = clips, 0
        self._studies.update(self._study, clips=clips)

    def finished(self, name: str, outcome: str) -> None:
        """A clip is done."""
        self._done += 1
        self._studies.update(self._study, clips_done=self._done, progress=self._done / max(1, self._clips))


class WorkQueue:
    """The thread that has studies analysed.

    Args:
        config: of the page.
        studies: the list.
        models: the weights.
        finished: is called with each study that is ready.

    Attributes:
        analysis: what analyses.
    """

    def __init__(
        self, config: PageConfig, studies: StudyList, models: PageModels, finished: Callable[[str], None]
    ) -> None:
        self._config = config
        self._studies = studies
        self._models = models
        self.analysis: StudyAnalysis = AnalysisProcess()
        self._finished = finished
        self._stop = threading.Event()
        self._news = threading.Event()
        self._first: Callable[[threading.Event], None] | None = None
        self._thread = threading.Thread(target=self._run, name="echoapex-analysis", daemon=True)

    def start(self, first: Callable[[threading.Event], None] | None = None) -> None:
        """Begin to work.

        Args:
            first: is done before the studies; it is given what is set when the server stops.
        """
        self._studies.requeue_interrupted()
        self._first = first
        self._thread.start()

    def wake(self) -> None:
        """Look for studies now."""
        self._news.set()

    def stop(self) -> None:
        """End after the clip that is being analysed."""
        self._stop.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)
        self.analysis.close()

    def _run(self) -> None:
        if self._first is not None:
            self._guard(lambda: self._first(self._stop) if self._first else None, "the folder of studies")
        while not self._stop.is_set():
            self._news.clear()
            study = self._studies.next_queued()
            if study is None:
                self._news.wait()
            else:
                self._guard(lambda study=study: self.analyze(study), f"study {study}")  # type: ignore[misc]

    def _guard(self, work: Callable[[], None], what: str) -> None:
        """No error ends the thread; of an unexpected one only the kind is told, since its text may quote a file."""
        try:
            work()
        except AnalysisStoppedError:
            pass
        except Exception as error:
            _LOG.error("%s: failed (%s)", what, type(error).__name__)
            _LOG.debug("its traceback", exc_info=error)
            self._stop.wait(1.0)

    def analyze(self, study: str) -> None:
        """Analyse one study, or take over its results."""
        places = self._studies.places(study)
        self._studies.update(study, state=PageState.ANALYSING, error="", progress=0.0, clips_done=0)
        try:
            if places.results is None:
                self._analyze(study, places.inputs)
            self._split(study)
            self._studies.update(study, revision=self._studies.places(study).revision + 1)
            self._finished(study)
            self._studies.update(study, state=PageState.READY, progress=1.0)
            self._models.load()  # for clicks, before the first of them
        except AnalysisStoppedError:
            self._studies.update(study, state=PageState.QUEUED)
            raise
        except _FAILURES as error:
            reason = f"no room or no access ({error.strerror})" if isinstance(error, OSError) else str(error)
            self._fail(study, reason)
        except Exception as error:
            self._fail(study, f"internal error ({type(error).__name__}); look at the log of the server")
            raise

    def _fail(self, study: str, reason: str) -> None:
        _LOG.warning("study %s: could not be analysed", study)
        self._studies.update(study, state=PageState.FAILED, error=reason)

    def _analyze(self, study: str, inputs: tuple[Path, ...]) -> None:
        options = AnalysisOptions(
            contours=self._config.contours, precision=self._config.precision, overlays=False, keep_identifiers=False
        )
        out = self._config.state / "results" / study
        request = AnalysisRequest(inputs, out, self._models.bundle, self._config.device, options)
        found = self._run_analysis(study, request)
        if not found.clips:
            raise PageError(_NO_CLIP.format("; ".join(found.refused) or "there was none"))
        _LOG.info("study %s: %d clips analysed, %d set aside", study, found.clips - found.set_aside, found.set_aside)

    def _run_analysis(self, study: str, request: AnalysisRequest) -> AnalysisOutcome:
        """Analyse, and once more where the process ended; the clips that were done stay done."""
        how = ""
        for _ in range(_ATTEMPTS):
            try:
                return self.analysis.run(request, _Progress(study, self._studies), self._stop)
            except AnalysisCrashError as error:
                how = str(error)
                _LOG.error("study %s: the process of analysis ended: %s", study, how)
        raise AnalysisFailedError(_CRASHED.format(how))

    def _split(self, study: str) -> None:
        """Give each study of a folder of results its own row; the first keeps this one."""
        places = self._studies.places(study)
        if places.part:
            return
        folder = places.results or self._config.state / "results" / study
        stored = read_stored(folder)
        if stored.manifest.options.keep_identifiers:
            raise PageError(_NAMES_KEPT)
        first, *others = parts_of(stored)
        if others:
            self._studies.update(study, part=first)
        for part in others:
            self._studies.add(places.inputs, origin=f"part:{study}:{part}", results=folder, part=part)


def forget_results(config: PageConfig, study: str, results: Path | None, *, shared: bool) -> None:
    """Delete what the page itself has written of a study; a folder of results that was there before stays.

    Args:
        config: of the page.
        study: the study.
        results: folder of its analysis, where it is not its own.
        shared: whether another study was analysed together with it, and still needs that folder.
    """
    for room in ("reviewed", "corrections", "cache"):
        shutil.rmtree(config.state / room / study, ignore_errors=True)
    own = config.state / "results"
    folder = results or own / study
    if shared or folder.parent != own:
        return
    for room in ("inputs", "results"):
        shutil.rmtree(config.state / room / folder.name, ignore_errors=True)
    name_map_path(folder).unlink(missing_ok=True)


def is_analysis(folder: Path) -> bool:
    """Whether a folder holds the results of an analysis."""
    return (folder / FILE_NAME).is_file() and (folder / "results.json").is_file()
