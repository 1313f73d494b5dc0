"""The learning loop of the page: corrections teach the site's own set, and it is used when it is better.

One run at a time, each a process of its own. Patients who were held back judge before and after; a run whose score on
them rose becomes the next version of the site's set. It is switched to unless simulated patients, whom nobody has
corrected, show that it has forgotten too much (``recipes.forgetting_check``); then an admin decides. A run that was
stopped changes nothing. When the server ends, the run is told to stop, and the next server goes on with it from its
last checkpoint.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import Field

from echoapex.data.datasets.corrections import LabelCount, count_labels
from echoapex.infer.outputs.files import utc_now
from echoapex.models.bundle import BundleError
from echoapex.models.precision import choose_device
from echoapex.recipes.forgetting_check import PATIENTS_PER_VIEW, ForgettingCheck, read_check, why_not_switched
from echoapex.recipes.site_sets import RECIPES, SiteLineage, SiteSets, main_score
from echoapex.serve.page.learning_runs import (
    CANDIDATE,
    WAITING,
    RunFiles,
    RunProcess,
    RunState,
    StoredRun,
    check_command,
    finetune_command,
)
from echoapex.serve.page.schemas import Wire
from echoapex.serve.page.security import PageError
from echoapex.vocabulary import Application

_LOG = logging.getLogger("echoapex.page")
_FEWEST_TEACHING, _FEWEST_JUDGING = 2, 1
_NOT_TAUGHT = "no recipe learns this task from corrections"
_TOO_FEW = "so far {} teach and {} held back to judge; correct more patients, about a quarter of whom are held back"
_PATIENCE_S = 90.0


class LearningCheck(Wire):
    """Both sets on simulated patients whom nobody corrected, and why the new one is not switched to by itself."""

    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)
    clips: int = 0
    refused: str = ""


class LearningRun(Wire):
    """A run of learning; scores are on patients that it did not learn from."""

    run: str
    task: Application
    state: RunState
    step: int = 0
    steps: int = 0
    before: dict[str, float] = Field(default_factory=dict)
    after: dict[str, float] = Field(default_factory=dict)
    better: bool = False
    check: LearningCheck | None = Field(default=None, description="what was forgotten; null unless the run was better")
    switched: bool = Field(default=False, description="whether the page uses what it learned")
    error: str = ""


class LearningTask(Wire):
    """What was corrected for a task, and whether that is enough to learn from."""

    task: Application
    labelled_clips: int = 0
    patients: int = 0
    held_back_patients: int = 0
    enough: bool = False
    why: str = ""


class SiteUse(Protocol):
    """Which of the site's sets is used; see ``PageModels``."""

    @property
    def site_version(self) -> int | None:
        """The version in use; None for the set that was given."""
        ...

    def switch(self, version: int | None) -> None:
        """Use another one."""
        ...


class LearningLoop:
    """Runs of learning, one after the other, in a thread of the server.

    Args:
        state: folder of the page.
        base: name or folder of the set that the page was started with.
        device: where the models run; runs compute on the CPU unless this is a CUDA device.
        use: which set is used.
        told: is called with a run whenever it changes.

    Attributes:
        overrides: further words of the command of a run, as in ``("--train.steps", "40")``.
        check_patients: simulated patients of each view on which a set is checked before it is used.
    """

    def __init__(self, state: Path, base: str, device: str, use: SiteUse, told: Callable[[LearningRun], None]) -> None:
        self._state = state
        self._base = base
        self._device = device
        self._use = use
        self._told = told
        self._files = RunFiles(state / "learning")
        self._sites = SiteSets(state / "site", base)
        self._stopping: set[str] = set()
        self._lock = threading.RLock()
        self._ending, self._news = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="echoapex-learning", daemon=True)
        self._shown: LearningRun | None = None
        self.overrides: Sequence[str] = ()
        self.check_patients = PATIENTS_PER_VIEW

    def start(self) -> None:
        """Go on with runs that wait or were interrupted."""
        self._thread.start()

    def close(self) -> None:
        """Tell the run to stop, and wait for it; the next server goes on with it."""
        self._ending.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def tasks(self) -> list[LearningTask]:
        """What was corrected for each task.

        Raises:
            DatasetError: the index of corrections is damaged.
        """
        counts = count_labels(self._state)
        known = (Application.SEGMENTATION, Application.VIEW_CLASSIFICATION, Application.LV_WALL)
        return [_describe(task, counts.get(task, LabelCount())) for task in known]

    def runs(self) -> list[LearningRun]:
        """All runs, the newest first."""
        return [self._show(record) for record in self._files.all()]

    def queue(self, task: Application) -> LearningRun:
        """Ask for a run.

        Raises:
            PageError: the task cannot be learned, too little was corrected, or a run of it waits already.
        """
        if task not in RECIPES:
            raise PageError(_NOT_TAUGHT, 409)
        count = count_labels(self._state).get(task, LabelCount())
        described = _describe(task, count)
        if not described.enough:
            raise PageError(f"too little was corrected: {described.why}", 409)
        with self._lock:
            if any(record.state in WAITING and record.task is task for record in self._files.all()):
                raise PageError("a run of this task waits or runs already; wait for its end, or stop it", 409)
            record = self._files.add(task, self._start_of(task), count.model_dump())
        shown = self._tell(record)
        self._news.set()
        return shown

    def _start_of(self, task: Application) -> str:
        try:
            return self._sites.start_of(task, self._use.site_version)
        except BundleError as error:
            raise PageError(str(error), 409) from None

    def stop(self, run: str) -> LearningRun:
        """Stop a run; it changes nothing any more.

        Raises:
            PageError: there is no such run, or it has ended.
        """
        with self._lock:
            record = self._files.get(run)
            if record.state not in WAITING:
                raise PageError("the run has ended already", 409)
            self._stopping.add(run)
            if record.state is RunState.QUEUED:
                record = self._save(record, state=RunState.STOPPED)
        return self._show(record)

    def switch(self, run: str | None) -> int | None:
        """Use what a run learned, or with None the set that was given; returns the version.

        Raises:
            PageError: there is no such run, or it was not better.
        """
        version = None
        if run is not None:
            version = self._files.get(run).version
            if version is None:
                raise PageError("what this run learned was not better, so it was not kept; choose another run", 409)
        try:
            self._use.switch(version)
        except BundleError as error:
            raise PageError(str(error), 409) from None
        return version

    def _work(self) -> None:
        for record in self._files.all():
            if record.state is RunState.RUNNING:
                self._files.end_orphan(record)
        while not self._ending.is_set():
            self._news.clear()
            waiting = [record for record in self._files.all() if record.state in WAITING]
            if not waiting:
                self._news.wait()
                continue
            record = waiting[-1]
            try:
                self._learn(record)
            except Exception as error:  # no run ends the thread; its text may quote a file, so only its kind is told
                _LOG.error("run %s: failed (%s)", record.run, type(error).__name__)
                _LOG.debug("its traceback", exc_info=error)
                reason = f"internal error ({type(error).__name__}); look at the log of the server"
                self._save(record, state=RunState.FAILED, error=reason, pid=0)

    def _learn(self, record: StoredRun) -> None:
        """Run the process of a run to its end, and decide what comes of it."""
        out = self._files.place(record.run)
        if record.state is RunState.QUEUED:  # a run before this one may have changed what is used
            record = self._save(record, start=self._start_of(record.task))
        device = "cuda" if choose_device(self._device).type == "cuda" else "cpu"
        code, lineage = 0, None
        if not (out / CANDIDATE).is_dir():  # else the server ended while the set was looked at
            more = ["--train.device", device, *self.overrides]
            code, record = self._run(record, finetune_command(record, self._state, out, more))
        if code == 0 and not self._is_over(record):
            lineage = self._compose(record)
            if lineage is not None and read_check(out) is None:
                code, record = self._run(record, check_command(out, self._set_in_use(), device, self.check_patients))
                if code != 0 and not self._is_over(record):
                    _LOG.warning("run %s: what it may have forgotten could not be checked", record.run)
                    code = 0
        with self._lock:
            if record.run in self._stopping:
                self._save(record, state=RunState.STOPPED, pid=0)
            elif self._ending.is_set():
                return
            elif code == 0:
                self._finish(record, lineage)
            else:
                reason = self._files.last_words(record.run) or f"the process ended with {code}"
                self._save(record, state=RunState.FAILED, error=reason, pid=0)
            self._files.tidy(record.run)

    def _is_over(self, record: StoredRun) -> bool:
        """Whether the run was stopped, or the server ends."""
        return self._ending.is_set() or record.run in self._stopping

    def _run(self, record: StoredRun, command: Sequence[str]) -> tuple[int, StoredRun]:
        """Run one process of a run to its end; returns its exit code and the run as it is then."""
        process = RunProcess(command, self._files.place(record.run))
        record = self._save(record, state=RunState.RUNNING, pid=process.pid)

        def tick() -> None:
            nonlocal record
            record = self._with_steps(record)
            if self._show(record) != self._shown:
                self._tell(record)

        code = process.watch(lambda: self._is_over(record), tick)
        return code, self._with_steps(record)

    def _set_in_use(self) -> str:
        version = self._use.site_version
        return self._base if version is None else str(self._sites.place(version))

    def _compose(self, record: StoredRun) -> SiteLineage | None:
        """Make a set of what was learned, if it is better on the patients held back."""
        outcome, place = self._files.outcome(record), self._files.place(record.run)
        if not outcome.is_better:
            return None
        lineage = SiteLineage(
            version=0, task=record.task, base=self._base, previous=self._use.site_version,
            run=record.run, made=utc_now(), before=outcome.before, after=outcome.after, labels=record.labels,
        )  # fmt: skip
        if not (place / CANDIDATE).is_dir():
            self._sites.compose(place / "bundles", lineage, place / CANDIDATE)
        return lineage

    def _finish(self, record: StoredRun, lineage: SiteLineage | None) -> None:
        """Keep what was learned as a version if it is better, and use it unless it has forgotten too much."""
        version = None
        if lineage is not None:
            place = self._files.place(record.run)
            check = read_check(place)
            version = self._sites.add(place / CANDIDATE, lineage.model_copy(update={"check": check}))
            refused = why_not_switched(check)
            if refused:
                _LOG.info("run %s: better, kept as version %d, not switched to: %s", record.run, version, refused)
            else:
                self._use.switch(version)
                _LOG.info("run %s: better, version %d of the site's set is used", record.run, version)
        self._save(record, state=RunState.DONE, version=version, pid=0)

    def _with_steps(self, record: StoredRun) -> StoredRun:
        """The run with the number of its updates, once its recipe is written."""
        if record.steps:
            return record
        try:
            recipe = json.loads((self._files.place(record.run) / "recipe.json").read_bytes())
            return self._save(record, steps=int(recipe["train"]["steps"]))
        except (OSError, ValueError, KeyError):
            return record

    def _save(self, record: StoredRun, **changes: object) -> StoredRun:
        changed = record.model_copy(update=changes)
        self._files.save(changed)
        self._tell(changed)
        return changed

    def _tell(self, record: StoredRun) -> LearningRun:
        self._shown = self._show(record)
        self._told(self._shown)
        return self._shown

    def _check_of(self, record: StoredRun) -> LearningCheck | None:
        """What is known of forgetting, once the run has made a version."""
        if record.state is not RunState.DONE or record.version is None:
            return None
        check = read_check(self._files.place(record.run))
        known = check or ForgettingCheck()
        return LearningCheck(before=known.before, after=known.after, clips=known.clips, refused=why_not_switched(check))

    def _show(self, record: StoredRun) -> LearningRun:
        outcome = self._files.outcome(record)
        return LearningRun(
            run=record.run,
            task=record.task,
            state=record.state,
            step=outcome.step,
            steps=record.steps,
            before=figures_for_people(outcome.before),
            after=figures_for_people(outcome.after),
            better=outcome.is_better,
            check=self._check_of(record),
            switched=record.version is not None and record.version == self._use.site_version,
            error=record.error,
        )


def figures_for_people(figures: dict[str, float]) -> dict[str, float]:
    """Scores without what only calibrates, and with the one that decides first.

    >>> figures_for_people({"view_frame_accuracy": 0.5, "view_temperature": 1.1})
    {'accuracy': 0.5}
    """
    if "view_frame_accuracy" in figures:
        return {"accuracy": figures["view_frame_accuracy"]}
    score = main_score(figures)
    return {} if score is None else figures if score < 0 else {"dice": round(score, 5), **figures}


def _describe(task: Application, count: LabelCount) -> LearningTask:
    enough = task in RECIPES and count.teaching >= _FEWEST_TEACHING and count.judging >= _FEWEST_JUDGING
    why = "" if enough else _TOO_FEW.format(_patients(count.teaching), _are(count.judging))
    return LearningTask(
        task=task,
        labelled_clips=count.clips,
        patients=count.teaching + count.judging,
        held_back_patients=count.judging,
        enough=enough,
        why=why if task in RECIPES else _NOT_TAUGHT,
    )


def _patients(count: int) -> str:
    return f"{count} {'patient' if count == 1 else 'patients'}"


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"
