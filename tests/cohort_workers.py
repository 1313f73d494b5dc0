"""Models for workers of a cohort that know the phantom study, wait, or kill their worker; and a run to be killed.

Importable by worker processes. ``python cohort_workers.py ORACLE STUDIES OUT`` analyses with two workers, slowly.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phantom_oracle import PhantomOracle

from echoapex.cli import stop_cleanly_when_told
from echoapex.domain import StudyReport, ViewPrediction
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.study.analyze import NamedInterpreter
from echoapex.infer.study.cohort import CohortAnalyzer, WorkerModels
from echoapex.io.local_engine import Engine, LocalEngine
from echoapex.vocabulary import View

QUICK = AnalysisOptions(contours="ed_es", overlays=False)


@dataclass(frozen=True)
class OracleModels(WorkerModels):
    """``bundle`` is a pickled oracle; each loading leaves a file in ``loadings``."""

    loadings: Path | None = None

    def load(self) -> Any:
        if self.loadings is not None:
            (self.loadings / f"{os.getpid()}-{time.time_ns()}").touch()
        return pickle.loads(Path(self.bundle).read_bytes())


@dataclass(frozen=True)
class DeadlyModels(OracleModels):
    """The worker is killed when it meets a clip of the two-chamber view: once where there is a marker, else always."""

    marker: Path | None = None

    def load(self) -> Any:
        return _Deadly(super().load(), self.marker)


@dataclass(frozen=True)
class SlowModels(OracleModels):
    """Every clip takes a while."""

    def load(self) -> Any:
        return _Slow(super().load())


class _Wrapped:
    def __init__(self, oracle: PhantomOracle) -> None:
        self._oracle = oracle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._oracle, name)


class _Deadly(_Wrapped):
    def __init__(self, oracle: PhantomOracle, marker: Path | None) -> None:
        super().__init__(oracle)
        self._marker = marker

    def classify_view(self, encoded: Any) -> ViewPrediction:
        found = self._oracle.classify_view(encoded)
        if found.view is View.A2C and (self._marker is None or not self._marker.exists()):
            if self._marker is not None:
                self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return found


class _Slow(_Wrapped):
    def classify_view(self, encoded: Any) -> ViewPrediction:
        time.sleep(0.7)
        return self._oracle.classify_view(encoded)


def save_oracle(oracle: PhantomOracle, place: Path) -> str:
    place.write_bytes(pickle.dumps(oracle))
    return str(place)


def analyze_cohort(models: OracleModels, engine: Engine, study: Path, out: Path, *rest: Any) -> StudyReport:
    named = NamedInterpreter(pickle.loads(Path(models.bundle).read_bytes()), "oracle", "cpu")
    return CohortAnalyzer(named, models, engine, QUICK).run([study], out, *rest)


if __name__ == "__main__":
    stop_cleanly_when_told()
    analyze_cohort(SlowModels(sys.argv[1], "cpu", "fp32"), LocalEngine(2), Path(sys.argv[2]), Path(sys.argv[3]))
