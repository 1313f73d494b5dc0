"""Work that kills its own process, as the system does when memory runs out; importable by worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from echoapex.data.ingest.plan import Unit
from echoapex.data.ingest.unit_work import UnitReport, Work


def die_once(marker: Path, work: Work, unit: Unit) -> UnitReport:
    """The worker of unit 1 is killed the first time."""
    if unit.number == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return work(unit)


def die_on(file: str, work: Work, unit: Unit) -> UnitReport:
    """The worker is killed whenever it is given this file."""
    if any(source.file == file for source in unit.files):
        os.kill(os.getpid(), signal.SIGKILL)
    return work(unit)


def note_node(folder: Path, work: Work, unit: Unit) -> UnitReport:
    """Note on which node of a Ray cluster the unit ran; take a while, so that all nodes get some."""
    import ray

    (folder / ray.get_runtime_context().get_node_id()).touch()
    time.sleep(0.3)
    return work(unit)


def refuse(unit: Unit) -> UnitReport:
    """Work that fails as a full disk does."""
    from echoapex.data.stores.frame_store_writer import cannot_write

    raise cannot_write(OSError(28, "No space left on device"))


def read_environment(name: str, unit: Unit) -> str:
    """What a variable is where the work is done."""
    return os.environ[name]
