"""The field's words: views, structures, quantities and sub-tasks, with their standard codes."""

from echoapex.vocabulary.codes import Code
from echoapex.vocabulary.quantities import Quantity
from echoapex.vocabulary.subtasks import SUBTASKS, Application, SubTask
from echoapex.vocabulary.views import CHAMBERS, VISIBLE_STRUCTURES, Probe, Structure, View

__all__ = [
    "CHAMBERS",
    "SUBTASKS",
    "VISIBLE_STRUCTURES",
    "Application",
    "Code",
    "Probe",
    "Quantity",
    "Structure",
    "SubTask",
    "View",
]
