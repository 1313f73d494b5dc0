"""Load on ``echoapex serve``: a long list, many users at once, the first study after an upload, and clicks.

    python benchmarks/page_load.py [--studies 1000] [--users 20] [--seconds 300] [--clicks 100] [--bundle default]

It needs the extra ``page``. The server runs as a process of its own on loopback. The long list is written into its
database before it starts: rows with views, flags and values as the page writes them, without files. The study that is
uploaded is simulated: A4C and PLAX, 60 frames at 320 pixels.

Each user has a session and a connection of its own and does over and over, without a pause, what the page does: list,
filter, open a study, its contours, a thumbnail, and the cine, which comes from the disk after the first time. Every
tenth round a user approves a value. An answer of any other status than 200 or 304 is an error.

The clicks are answered on one frame that is encoded: each is a new place, so that none is answered from memory. The
figures are those of the server alone, over loopback, with the mask on its way. They are taken once more while three
further studies are analysed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from figures_file import tell_figures

from echoapex.domain import Clip, ClipHeader
from echoapex.io.dicom.writer import FictitiousStudy, write_ultrasound
from echoapex.phantom import simulate_clip
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.page_parts import PageParts
from echoapex.serve.page.schemas import PageState
from echoapex.vocabulary import View

SEED = 1_800_000
FRAMES, SIZE = 60, 320
MASKS = 6
BUSY_STUDIES = 3
_FLAGS = ("low_confidence", "single_plane", "incomplete_beat", "not_calibrated")
_START_S = 120.0
_ALLOWED = (200, 304)


class PageLoadError(ValueError):
    """A load test that did not do the work; the message says why."""


def write_clips(folder: Path, frames: int = FRAMES, size: int = SIZE) -> list[Path]:
    """The study that is uploaded."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for instance, view in enumerate((View.A4C, View.PLAX), 1):
        loop = simulate_clip(view, SEED, frames=frames, beats=2.0, size=size)
        times = tuple((np.arange(frames) * float(loop.frame_times_s[1])).tolist())
        header = ClipHeader(
            clip_id="load", size=(size, size), frame_times_s=times, spacing=loop.spacing, sector=loop.sector
        )
        path = folder / f"{instance}.dcm"
        written.append(write_ultrasound(path, Clip(header, loop.frames), FictitiousStudy(SEED), instance=instance))
    return written


def fill_list(state: Path, bundle: str, studies: int) -> None:
    """Write the rows of a long list."""
    rng = random.Random(SEED)
    parts = PageParts.open(PageConfig(state=state, bundle=bundle))
    for number in range(studies):
        study = parts.studies.add([], origin=f"load:{number}")
        if study is None:
            raise PageLoadError("the list has a study twice; use an empty folder")
        views = {view.value: rng.randint(1, 3) for view in rng.sample(list(View)[:8], 3)}
        parts.studies.tag(study, views, rng.sample(_FLAGS, 2))
        ef = rng.uniform(20, 70)
        parts.studies.update(
            study, state=PageState.READY, progress=1.0, clips=6, clips_done=6, ef_percent=ef, quality=rng.random()
        )
    parts.close()


class Server:
    """``echoapex serve`` as a process of its own."""

    def __init__(self, state: Path, bundle: str) -> None:
        words = ["serve", "--port", "0", "--state", str(state), "--bundle", bundle]
        line = [sys.executable, "-c", "from echoapex.cli import main; main()", *words]
        self.process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        if self.process.stderr is None:
            raise PageLoadError("the server says nothing")
        first = self.process.stderr.readline()
        found = re.search(r"https?://[^ ]+/", first)
        if found is None:
            raise PageLoadError(f"the server did not start: {first}")
        self.address = f"{found[0]}api/v1"
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def memory_mb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A browser with a session."""
        with httpx.Client(base_url=self.address, timeout=_START_S) as client:
            client.headers["x-echoapex-csrf"] = client.get("/session").json()["csrf"]
            yield client

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_START_S)


def spread(times_s: Sequence[float]) -> dict[str, float]:
    """Number, median and 95th percentile in ms."""
    p50, p95 = np.percentile(times_s, [50, 95]) * 1000
    return {"n": len(times_s), "p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1)}


def timed(client: httpx.Client, method: str, path: str, **options: Any) -> tuple[float, httpx.Response]:
    """An answer, and how long it took."""
    begun = time.perf_counter()
    answer = client.request(method, path, **options)
    return time.perf_counter() - begun, answer


def measure_list(server: Server, rounds: int) -> dict[str, Any]:
    """How long the list takes: as it is, sorted, filtered, searched, and at its end."""
    queries = {
        "first page": "",
        "sorted by EF": "sort=ef",
        "by view and flag": "view=A4C&flag=single_plane",
        "searched": "query=study 77",
        "last page": "offset=900&sort=name",
    }
    found = {}
    with server.client() as client:
        for name, query in queries.items():
            found[name] = spread([timed(client, "GET", f"/studies?{query}")[0] for _ in range(rounds)])
    return found


def measure_upload(server: Server, files: Sequence[Path]) -> dict[str, Any]:
    """From the drop of the files to the study on the list, to its first clip, and to its values."""
    with server.client() as client:
        parts = [("files", (path.name, path.read_bytes())) for path in files]
        begun = time.perf_counter()
        study = client.post("/studies", files=parts).json()["studies"][0]
        seen: dict[str, float] = {}
        while "ready_s" not in seen:
            rows = client.get("/studies?limit=1").json()["studies"]
            row = next((one for one in rows if one["study"] == study), None)
            spent = round(time.perf_counter() - begun, 2)
            if row is not None:
                seen.setdefault("listed_s", spent)
                if row["clips_done"] > 0:
                    seen.setdefault("first_clip_s", spent)
                if row["state"] == "failed":
                    raise PageLoadError(f"the study failed: {row['error']}")
                if row["state"] == "ready":
                    seen["ready_s"] = spent
            time.sleep(0.05)
        clip = client.get(f"/studies/{study}").json()["clips"][0]["clip"]
        first, answer = timed(client, "GET", f"/studies/{study}/clips/{clip}/cine?width=800")
        again, _ = timed(client, "GET", f"/studies/{study}/clips/{clip}/cine?width=800")
        cine = {"first_s": round(first, 2), "again_s": round(again, 3), "bytes": len(answer.content)}
    return {"study": study, "clip": clip, **seen, "cine": cine}


def measure_clicks(server: Server, place: str, count: int, size: int) -> dict[str, Any]:
    """How long a click takes on a frame that is encoded, and what encoding takes."""
    rng = random.Random(SEED)
    with server.client() as client:
        ask: dict[str, Any] = {"frame": 5, "structure": "lv_cavity", "from_automatic": True}
        first, _ = timed(client, "POST", place, json=ask)
        times = []
        for _ in range(count):
            point = {
                "x": rng.uniform(0.3, 0.7) * size,
                "y": rng.uniform(0.2, 0.75) * size,
                "positive": rng.random() < 0.5,
            }
            spent, answer = timed(client, "POST", place, json={**ask, "clicks": [point]})
            if answer.status_code != _ALLOWED[0]:
                raise PageLoadError(f"a click was refused: {answer.text}")
            times.append(spent)
        drawn = []
        for frame in range(5, 5 + MASKS):
            body = {"frame": frame, "structure": "lv_cavity", "rle": answer.json()["counts"]}
            spent, told = timed(client, "PUT", place.replace("segment", "masks"), json=body)
            if told.status_code != _ALLOWED[0]:
                raise PageLoadError(f"a mask was refused: {told.text}")
            drawn.append(spent)
    masks = {"first_s": round(drawn[0], 2), "further": spread(drawn[1:])}
    return {"first_on_a_clip_s": round(first, 2), **spread(times), "masks": masks}


def measure_busy_clicks(server: Server, place: str, files: Sequence[Path], size: int) -> dict[str, Any]:
    """How long clicks take on a frame that is encoded while other studies are analysed, from the first to the last."""
    rng = random.Random(SEED + 1)
    with server.client() as client:
        ask: dict[str, Any] = {"frame": 5, "structure": "lv_cavity", "from_automatic": True}
        timed(client, "POST", place, json=ask)
        parts = [("files", (path.name, path.read_bytes())) for path in files]
        begun = time.perf_counter()
        waiting = {client.post("/studies", files=parts).json()["studies"][0] for _ in range(BUSY_STUDIES)}
        times: list[float] = []
        while waiting:
            rows = client.get("/studies?limit=10").json()["studies"]
            if any(row["state"] == "failed" for row in rows):
                raise PageLoadError("a study failed while it was clicked in another")
            waiting -= {row["study"] for row in rows if row["state"] == "ready"}
            is_at_work = any(row["state"] == "analysing" for row in rows)
            for _ in range(5 if is_at_work else 0):
                point = {"x": rng.uniform(0.3, 0.7) * size, "y": rng.uniform(0.2, 0.75) * size}
                spent, answer = timed(client, "POST", place, json={**ask, "clicks": [point]})
                if answer.status_code != _ALLOWED[0]:
                    raise PageLoadError(f"a click was refused: {answer.text}")
                times.append(spent)
            time.sleep(0.02)
    return {**spread(times), "studies": BUSY_STUDIES, "analysed_s": round(time.perf_counter() - begun, 1)}


class _User:
    """What one user does until the time is over."""

    def __init__(self, server: Server, study: str, clip: str, number: int) -> None:
        self._server = server
        self._place = f"/studies/{study}"
        self._clip = f"{self._place}/clips/{clip}"
        self._number = number
        self.statuses: Counter[int] = Counter()
        self.times_s: list[float] = []

    def run(self, ends: float) -> None:
        """Work."""
        with self._server.client() as client:
            paths = (
                "/studies", "/studies?sort=ef&view=A4C", self._place, f"{self._clip}/contours",
                f"{self._clip}/thumbnail", f"{self._clip}/cine?width=800",
            )  # fmt: skip
            rounds = 0
            while time.monotonic() < ends:
                for path in paths:
                    self._note(*timed(client, "GET", path))
                rounds += 1
                if rounds % 10 == 0:
                    body = {"state": "approved"}
                    self._note(*timed(client, "PATCH", f"{self._place}/values/lvef", json=body))

    def _note(self, spent_s: float, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        self.times_s.append(spent_s)


def measure_users(server: Server, study: str, clip: str, users: int, seconds: float) -> dict[str, Any]:
    """Many users at once: answers, errors, memory at the start, in the middle and at the end."""
    warm = _User(server, study, clip, -1)
    warm.run(time.monotonic() + min(5.0, seconds))
    begun = time.monotonic()
    working = [_User(server, study, clip, number) for number in range(users)]
    threads = [threading.Thread(target=user.run, args=(begun + seconds,)) for user in working]
    for thread in threads:
        thread.start()
    memory = []
    for share in (0.1, 0.5, 0.95):
        time.sleep(max(0.0, begun + share * seconds - time.monotonic()))
        memory.append(round(server.memory_mb()))
    for thread in threads:
        thread.join()
    statuses = sum((user.statuses for user in working), Counter[int]())
    errors = sum(count for status, count in statuses.items() if status not in _ALLOWED)
    times = [one for user in working for one in user.times_s]
    return {
        "users": users,
        "seconds": seconds,
        "answers": sum(statuses.values()),
        "errors": errors,
        "answers_per_s": round(sum(statuses.values()) / seconds, 1),
        **spread(times),
        "memory_mb": dict(zip(("after_a_tenth", "half_way", "at_the_end"), memory, strict=True)),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory() as place:
        state = Path(place) / "state"
        fill_list(state, options.bundle, options.studies)
        files = write_clips(Path(place) / "study", options.frames, options.size)
        server = Server(state, options.bundle)
        try:
            found: dict[str, Any] = {"studies": options.studies, "list": measure_list(server, options.rounds)}
            upload = measure_upload(server, files)
            study, clip = upload.pop("study"), upload.pop("clip")
            found["upload"] = upload
            place = f"/studies/{study}/clips/{clip}/segment"
            found["clicks"] = measure_clicks(server, place, options.clicks, options.size)
            found["clicks_while_analysing"] = measure_busy_clicks(server, place, files, options.size)
            found["users"] = measure_users(server, study, clip, options.users, options.seconds)
        finally:
            server.stop()
    return found


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=200, help="requests of each kind of list")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each uploaded clip")
    parser.add_argument("--size", type=int, default=SIZE, help="of its frames in pixels")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clicks", type=int, default=100)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--out", type=Path, help="file for the figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    chosen = parse()
    tell_figures(measure(chosen), chosen.out)
