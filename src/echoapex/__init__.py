"""EchoApex: one vision foundation model for echocardiography that serves every task.

Research software, not a medical device: not for diagnosis or treatment.

>>> import echoapex
>>> model = echoapex.load()  # doctest: +SKIP
>>> report = model.analyze("study/")  # doctest: +SKIP
>>> report.ef.value, report.ef.evidence  # doctest: +SKIP
>>> model.classify_view(echoapex.read("study/A4C.dcm")).view  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from echoapex.version import __version__

if TYPE_CHECKING:
    from echoapex.domain import Clip, Measurement, Prompt, StudyReport
    from echoapex.infer.clip.reading import AnalysisOptions
    from echoapex.infer.interactive.propagation import segment_clip
    from echoapex.infer.model import ClipFeatures, ClipSegmentation, Encoder, Model, analyze, load, load_encoder
    from echoapex.io.study_files import read_clip as read
    from echoapex.vocabulary import Application, Quantity, Structure, View

__all__ = [
    "AnalysisOptions",
    "Application",
    "Clip",
    "ClipFeatures",
    "ClipSegmentation",
    "Encoder",
    "Measurement",
    "Model",
    "Prompt",
    "Quantity",
    "Structure",
    "StudyReport",
    "View",
    "__version__",
    "analyze",
    "load",
    "load_encoder",
    "read",
    "segment_clip",
]

_PLACES = {
    "echoapex.domain": ("Clip", "Measurement", "Prompt", "StudyReport"),
    "echoapex.infer.clip.reading": ("AnalysisOptions",),
    "echoapex.infer.interactive.propagation": ("segment_clip",),
    "echoapex.infer.model": ("ClipFeatures", "ClipSegmentation", "Encoder", "Model", "analyze", "load", "load_encoder"),
    "echoapex.io.study_files": ("read",),
    "echoapex.vocabulary": ("Application", "Quantity", "Structure", "View"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}
_OTHER_NAMES = {"read": "read_clip"}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that ``import echoapex`` is quick."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'echoapex' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACE_OF[name]), _OTHER_NAMES.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
