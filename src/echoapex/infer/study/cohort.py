"""Many clips by many processes: an archive is analysed clip by clip, and the results are those of one process.

Each worker loads the weights once and analyses one clip after the other. It writes the files of a clip itself, the
record last, so an interrupted run goes on where it stopped, whatever ended it. The main process loads no pixels: it
collects what the workers report, in the order of the clips, and combines it as for a single study.

Every worker computes with one thread. So the results are bit for bit the same for any number of workers, and for one
process with one thread. The number of threads changes sums in their last digits.

A worker that dies is replaced and its clip is tried again, alone. A clip that ends its worker each time becomes a row
of ``errors.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import cv2

from echoapex.infer.clip.models import Interpreter, TaskInterpreter
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import AnalysisRun, NamedInterpreter, Observer, SilentObserver, StudyAnalyzer
from echoapex.infer.study.records import files_of_clip
from echoapex.io.clip_file import ClipFile, open_clip
from echoapex.io.clip_source import ReadError
from echoapex.io.local_engine import Engine, LostUnit
from echoapex.models.precision import Precision

WORKER_DIED = "each worker that read it died"
WORKER_REMEDY = "give the workers more memory and run the same command again, or leave this file out"


@dataclass(frozen=True)
class WorkerModels:
    """Which weights a worker loads, and where it runs them.

    Attributes:
        bundle: name or folder of the set.
        device: ``cpu``, ``cuda`` or ``mps``, never ``auto``: all workers must run on the same kind.
        precision: of the encoder, never ``auto`` for the same reason.
    """

    bundle: str
    device: str
    precision: str

    def load(self) -> Interpreter:
        """Load the weights.

        Raises:
            BundleError: the set is missing or damaged.
            DeviceError: there is no such device here.
        """
        return TaskInterpreter.load(self.bundle, self.device, cast(Precision, self.precision))


@dataclass(frozen=True)
class CohortWork:
    """The work on one clip, as it is sent to a worker.

    Attributes:
        models: what the worker loads.
        options: choices of the analysis.
        out: the output folder, at the same path for every worker.
        run_key: of the run, by which finished clips are known.
        raise_unexpected: let an internal error stop the run with its traceback.
    """

    models: WorkerModels
    options: AnalysisOptions
    out: Path
    run_key: str
    raise_unexpected: bool = False

    def __call__(self, task: ClipTask) -> FinishedClip:
        """Analyse a clip, or note why it could not be; runs in a worker."""
        run = AnalysisRun(self.run_key, self.out, 1)
        return FinishedClip(_analyzer_for(self).analyze_file(task.file, run), run)


@dataclass(frozen=True)
class ClipTask:
    """One clip for a worker."""

    file: ClipFile

    def for_worker(self) -> ClipTask:
        """The task without the temporary folder that the main process keeps alive."""
        return ClipTask(replace(self.file, keeps=None))


@dataclass(frozen=True)
class FinishedClip:
    """What a worker did with one clip: the outcome in a few words, and its part of the run."""

    outcome: str
    part: AnalysisRun


_LOADED: dict[CohortWork, StudyAnalyzer] = {}
"""In a worker: the analyzer with the weights that it has loaded."""


def _analyzer_for(work: CohortWork) -> StudyAnalyzer:
    """The analyzer of this worker; loaded for its first clip and kept."""
    if work not in _LOADED:
        import torch

        _LOADED.clear()  # a worker of Ray may serve several runs; their weights must not add up
        torch.set_num_threads(1)  # so that the results do not depend on the machine; the workers keep the cores busy
        cv2.setNumThreads(1)
        models = work.models
        named = NamedInterpreter(models.load(), models.bundle, models.device, models.precision)
        _LOADED[work] = StudyAnalyzer(named, work.options, raise_unexpected=work.raise_unexpected)
    return _LOADED[work]


@dataclass(frozen=True)
class _Digests:
    """What the main process needs of the models: by which weights the results were made."""

    digests: Mapping[str, str]


class CohortAnalyzer(StudyAnalyzer):
    """Analyses archives with the workers of an engine; ``run`` is that of :class:`StudyAnalyzer`, and needs ``out``."""

    def __init__(
        self,
        models: NamedInterpreter,
        source: WorkerModels,
        engine: Engine,
        options: AnalysisOptions | None = None,
        observer: Observer | None = None,
        *,
        raise_unexpected: bool = False,
    ) -> None:
        """Prepare an analysis.

        Args:
            models: the loaded models; only their names and digests are kept, not their weights.
            source: the same models, as a worker loads them.
            engine: runs the workers.
            options: choices of the analysis.
            observer: is told of progress.
            raise_unexpected: let an internal error stop the run with its traceback, for debugging.
        """
        digests = cast(Interpreter, _Digests(dict(models.interpreter.digests)))
        super().__init__(replace(models, interpreter=digests), options, observer, raise_unexpected=raise_unexpected)
        self._source = source
        self._engine = engine
        self._told = observer or SilentObserver()

    def _work_through(self, files: Sequence[ClipFile], run: AnalysisRun) -> None:
        """Give the clips to the workers, and collect their parts in the order of the clips.

        Raises:
            AnalysisError: there is no room left.
            EngineError: the workers cannot be reached or started.
        """
        if run.out is None:
            raise ValueError("a cohort is written while it is analysed; give an output folder")
        work = CohortWork(self._source, self._options, run.out.absolute(), run.run_key, self._raise_unexpected)
        tasks = [ClipTask(file) for file in files]
        waiting = dict.fromkeys(file.clip_id for file in files)
        try:
            with closing(self._engine.run(work, tasks)) as results:
                for task, result in results:
                    self._take(task.file, result, run)
                    del waiting[task.file.clip_id]
        finally:
            # interrupted: clips that were finished ahead of their turn are on disk, and the manifest must name them
            run.files += [name for clip_id in waiting for name in files_of_clip(run.out, clip_id)]

    def _take(self, file: ClipFile, result: FinishedClip | LostUnit, run: AnalysisRun) -> None:
        self._told.begun(file.display_name)
        if isinstance(result, LostUnit):
            run.errors.append({"file": file.display_name, "reason": WORKER_DIED, "remedy": WORKER_REMEDY})
            self._told.finished(file.display_name, f"failed: {WORKER_DIED}")
            return
        run.take(result.part)
        if run.dicom is not None and result.part.records:
            with suppress(ReadError), closing(open_clip(file, keep_identifiers=self._options.keep_identifiers)) as clip:
                run.dicom.remember(clip)
        self._told.finished(file.display_name, result.outcome)
