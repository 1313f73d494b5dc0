"""EchoApex: one vision foundation model for echocardiography that serves every task.

Research software, not a medical device: not for diagnosis or treatment.

>>> import echoapex
>>> report = echoapex.analyze("study/")  # doctest: +SKIP
>>> report.ef.value, report.ef.evidence  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from echoapex.version import __version__

if TYPE_CHECKING:
    from echoapex.infer.clip.reading import AnalysisOptions
    from echoapex.infer.interactive.propagation import segment_clip
    from echoapex.infer.study.analyze import analyze

__all__ = ["AnalysisOptions", "__version__", "analyze", "segment_clip"]

_LAZY = {
    "analyze": "echoapex.infer.study.analyze",
    "AnalysisOptions": "echoapex.infer.clip.reading",
    "segment_clip": "echoapex.infer.interactive.propagation",
}


def __getattr__(name: str) -> Any:
    """Load what needs the models only when it is used, so that ``import echoapex`` is quick."""
    if name not in _LAZY:
        raise AttributeError(f"module 'echoapex' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
