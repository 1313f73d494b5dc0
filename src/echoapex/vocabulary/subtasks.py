"""The 28 sub-tasks of the benchmark: 18 views, 6 structures, 3 wall measurements and the ejection fraction.

The paper (arXiv 2410.11092) counts 28 sub-tasks in four applications. Which 28 they are is our own choice
(docs/explanation/paper.md).
"""

from enum import StrEnum
from typing import NamedTuple

from echoapex.vocabulary.quantities import Quantity
from echoapex.vocabulary.views import Structure, View


class Application(StrEnum):
    """One of the four applications."""

    VIEW_CLASSIFICATION = "view_classification"
    SEGMENTATION = "segmentation"
    LV_WALL = "lv_wall"
    EJECTION_FRACTION = "ejection_fraction"


class SubTask(NamedTuple):
    """One sub-task: a row of the benchmark card."""

    application: Application
    subject: View | Structure | Quantity

    @property
    def key(self) -> str:
        """A stable name: ``segmentation/lv_cavity``."""
        subject = self.subject
        return f"{self.application}/{subject.key if isinstance(subject, Structure) else subject.value}"


SUBTASKS: tuple[SubTask, ...] = (
    *(SubTask(Application.VIEW_CLASSIFICATION, view) for view in View),
    *(SubTask(Application.SEGMENTATION, structure) for structure in Structure),
    *(SubTask(Application.LV_WALL, wall) for wall in (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD)),
    SubTask(Application.EJECTION_FRACTION, Quantity.LVEF),
)
