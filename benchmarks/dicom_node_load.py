"""Load on ``echoapex listen``: many studies over several associations at once; nothing may be lost, memory stays flat.

    python benchmarks/dicom_node_load.py [--studies 200] [--associations 8] [--instances 2] [--analyse]

It needs the extra ``node`` and DCMTK (``storescu``). A node runs as a process of its own on loopback with SQLite. The
studies are simulated, small (two clips of 20 frames at 96 pixels), and each has UIDs of its own. The senders are
processes of storescu, each with one association that sends its share of the studies.

Receiving is measured alone: the node does not settle studies in the meantime. The digest of every data set on disk is
compared with what was sent. ``--analyse`` then analyses ten of the studies with the shipped weights and measures this
apart.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from figures_file import tell_figures

from echoapex.domain import Clip, ClipHeader
from echoapex.io.dicom.writer import FictitiousStudy, write_ultrasound
from echoapex.phantom import simulate_clip
from echoapex.serve.instance_file import read_instance_header
from echoapex.vocabulary import View

SEED = 1_900_000
FRAMES, SIZE = 20, 96
VIEWS = (View.PLAX, View.A4C, View.A2C)
ANALYSED = 10


class LoadError(ValueError):
    """A load test that did not do the work; the message says why."""


def write_studies(folder: Path, studies: int, instances: int) -> list[list[Path]]:
    """The files of each study."""
    loops = [simulate_clip(view, SEED, frames=FRAMES, beats=1.0, size=SIZE) for view in VIEWS[:instances]]
    written = []
    for number in range(studies):
        files = []
        for instance, loop in enumerate(loops, 1):
            times = tuple((np.arange(FRAMES) * float(loop.frame_times_s[1])).tolist())
            header = ClipHeader(
                clip_id="load", size=(SIZE, SIZE), frame_times_s=times, spacing=loop.spacing, sector=loop.sector
            )
            path = folder / f"{number:04d}-{instance}.dcm"
            write_ultrasound(path, Clip(header, loop.frames), FictitiousStudy(SEED + number), instance=instance)
            files.append(path)
        written.append(files)
    return written


class Node:
    """A node as a process of its own.

    Args:
        folder: for its settings and data.
        settle_s: after so long a study is analysed.
        associations: at once.
    """

    def __init__(self, folder: Path, settle_s: float, associations: int) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        self.data = folder / "data"
        settings = {
            "data": str(self.data), "port": self.port, "accept_from": ["SENDER"], "settle_s": settle_s,
            "limits": {"associations": associations, "free_mb": 1}, "health": {"port": 0},
        }  # fmt: skip
        place = folder / "node.yaml"
        place.write_text(yaml.safe_dump(settings))
        line = [sys.executable, "-c", "from echoapex.cli import main; main()", "listen", str(place)]
        self.log = (folder / "node.log").open("ab")
        self.process = subprocess.Popen(line, stdout=self.log, stderr=self.log)
        ends = time.monotonic() + 120
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > ends:
                raise LoadError("the node did not start")
            time.sleep(0.1)

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def memory_mb(self) -> float:
        """Resident memory of the listener, without its workers."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def ask(self, query: str) -> Any:
        """One value of its database."""
        with sqlite3.connect(self.data / "node.db", timeout=30) as connection:
            return connection.execute(query).fetchone()[0]

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        self.log.close()


@contextmanager
def watched(node: Node, samples: list[float]) -> Iterator[None]:
    """Note the memory of the node every tenth of a second."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            samples.append(node.memory_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def send(node: Node, shares: Sequence[Sequence[Path]]) -> None:
    """Send each share over an association of its own, all at once.

    Raises:
        LoadError: a sender was refused.
    """
    base = ["storescu", "-aet", "SENDER", "-aec", "ECHOAPEX", "-R", "-xy", "127.0.0.1", str(node.port)]
    senders = [subprocess.Popen([*base, *map(str, share)], stdout=subprocess.DEVNULL) for share in shares if share]
    if any(sender.wait() for sender in senders):
        raise LoadError("a sender was refused")


def measure(studies: int, associations: int, instances: int, analyse: bool) -> dict[str, Any]:
    """Send everything, compare what arrived, and look at the memory of the node.

    Raises:
        LoadError: an instance is lost or changed, or DCMTK is missing.
    """
    if shutil.which("storescu") is None:
        raise LoadError("storescu is not installed (Debian: dcmtk)")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "studies").mkdir()
        sent = write_studies(folder / "studies", studies, instances)
        node = Node(folder, 86_400, associations)
        samples: list[float] = []
        try:
            send(node, [sent[0]])  # warm
            time.sleep(2.0)  # until its association has ended, which counts as one
            before = node.memory_mb()
            start_s = time.monotonic()
            with watched(node, samples):
                share = [sent[1:][place::associations] for place in range(associations)]
                send(node, [[path for study in studies for path in study] for studies in share])
            seconds = time.monotonic() - start_s
            registered = node.ask("SELECT count(*) FROM studies"), node.ask("SELECT count(*) FROM instances")
        finally:
            node.stop()
        compare(node.data, sent, registered)
        tenth = max(1, len(samples) // 10)
        found = {
            "studies": studies - 1,
            "instances": (studies - 1) * instances,
            "bytes": sum(path.stat().st_size for study in sent[1:] for path in study),
            "associations": associations,
            "seconds": round(seconds, 2),
            "studies_per_minute": round(60 * (studies - 1) / seconds, 1),
            "lost": 0,
            "memory_mb": {
                "before": round(before, 1),
                "first_tenth": round(float(np.median(samples[:tenth])), 1),
                "last_tenth": round(float(np.median(samples[-tenth:])), 1),
                "most": round(max(samples), 1),
            },
        }
        if analyse:
            found["analysis"] = measure_analysis(folder / "analysis", sent[:ANALYSED])
        return found


def compare(data: Path, sent: Sequence[Sequence[Path]], registered: tuple[int, int]) -> None:
    """Hold what is on the disk of the node against what was sent.

    Raises:
        LoadError: an instance is lost or changed.
    """

    def digests(paths: Iterator[Path]) -> set[str]:
        headers = (read_instance_header(path.read_bytes()) for path in paths)
        return {header.sha256 for header in headers if header is not None}

    wanted = digests(path for study in sent for path in study)
    instances = sum(len(study) for study in sent)
    if len(wanted) != instances or digests((data / "incoming").rglob("*.dcm")) != wanted:
        raise LoadError("an instance was lost or changed")
    if registered != (len(sent), instances):
        raise LoadError(f"{registered} studies and instances are registered, {len(sent)} and {instances} were sent")


def measure_analysis(folder: Path, sent: Sequence[Sequence[Path]]) -> dict[str, Any]:
    """Let a node analyse studies with the shipped weights; the time from the last instance to the last result."""
    folder.mkdir()
    node = Node(folder, 1.0, 8)
    try:
        send(node, [[path for study in sent for path in study]])
        start_s = time.monotonic()
        while node.ask("SELECT count(*) FROM studies WHERE state = 'done'") < len(sent):
            if time.monotonic() - start_s > 120 * len(sent):
                raise LoadError("the analysis did not end")
            time.sleep(0.2)
        seconds = time.monotonic() - start_s
        results = node.ask("SELECT count(*) FROM results")
    finally:
        node.stop()
    per_minute = round(60 * len(sent) / seconds, 1)
    return {"studies": len(sent), "results": results, "seconds": round(seconds, 1), "studies_per_minute": per_minute}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--analyse", action="store_true")
    parser.add_argument("--out", type=Path)
    choices = parser.parse_args()
    try:
        found = measure(choices.studies + 1, choices.associations, choices.instances, choices.analyse)
    except LoadError as error:
        parser.exit(2, f"dicom_node_load: {error}\n")
    tell_figures(found, choices.out)


if __name__ == "__main__":
    main()
