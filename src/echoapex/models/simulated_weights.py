"""Whether a set of weights has learned outlines from simulated hearts only, and what its user should know.

The cards decide, not the name of the set.
"""

from __future__ import annotations

from echoapex.models.bundle import BundleError, read_card
from echoapex.models.registry import TASKS, SetPaths, list_sets

SIMULATED_NOTE = "learned outlines from simulated hearts only"
RESEARCH_SET = "research"
"""The set in the repository that also learned from patients."""
_RESEARCH_LICENCE = "CC BY-NC-SA 4.0, non-commercial"


def has_simulated_outlines(paths: SetPaths) -> bool:
    """Whether no bundle that a set uses has learned an outline of a patient, also those of the default set.

    Raises:
        BundleError: a task is missing, or a card is missing or damaged.
    """
    tasks = [paths.find_task(task) for task in TASKS]
    places = {place for task in tasks for place in (task.encoder, task.decoder, task.adapter) if place is not None}
    return all(read_card(place).origin.has_simulated_outlines for place in places)


def advise_patients(paths: SetPaths, option: str = f"--bundle {RESEARCH_SET}") -> str:
    """One line about a set that learned outlines from simulated hearts only; empty for any other set.

    Args:
        paths: the set in use.
        option: how another set is chosen where the line is shown.

    Raises:
        BundleError: a card is missing or damaged.
    """
    if not has_simulated_outlines(paths):
        return ""
    said = f"the weights {paths.name!r} {SIMULATED_NOTE}; "
    if _is_installed():
        return said + f"the set {RESEARCH_SET!r} also learned from patients ({_RESEARCH_LICENCE}): use {option}"
    return said + (
        f"a set that also learned from patients is in the repository ({_RESEARCH_LICENCE}): "
        f"`echoapex models import bundles/{RESEARCH_SET}`, then {option}"
    )


def _is_installed() -> bool:
    """Whether the research set is known by name, and its cards say more than simulated outlines."""
    try:
        return any(known.name == RESEARCH_SET and not has_simulated_outlines(known) for known in list_sets())
    except BundleError:
        return False
