"""A peer behind a pipe is asked by the same code as ours, and one that stops is said to have stopped."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click_oracles import RightAfter, click_image
from conftest import LabelledStudy
from interactive_peers import Merged, Peer, PeerError, main, row_of
from peer_messages import read_message, write_message
from tiny_tasks import build_tasks, save_set

from echoapex.domain.prompts import Prompt
from echoapex.evaluate.click_scores import ClicksFile
from echoapex.evaluate.clicks import ClickProtocol, ask_about

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
THRESHOLD = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import numpy as np
from peer_messages import read_message, write_message
while (request := read_message(sys.stdin.buffer)) is not None:
    if "image" in request:
        image = request["image"]
        write_message(sys.stdout.buffer)
    else:
        x, y = request["points_xy"][0] if len(request["points_xy"]) else request["box"].reshape(2, 2).mean(axis=0)
        write_message(sys.stdout.buffer, logits=np.where(image == image[int(y), int(x)], 1, -1).astype(np.float32))
"""
"""A peer that finds everything as bright as the first point or the middle of the box."""


def test_messages_come_through() -> None:
    pipe = io.BytesIO()
    write_message(pipe, points_xy=np.eye(2), mask=np.zeros(0))
    write_message(pipe)
    pipe.seek(0)
    first = read_message(pipe)
    assert first is not None and np.array_equal(first["points_xy"], np.eye(2)) and first["mask"].size == 0
    assert read_message(pipe) == {}
    assert read_message(pipe) is None


def test_a_peer_is_put_through_the_protocol() -> None:
    peer = Peer([sys.executable, "-c", THRESHOLD])
    cases = list(ask_about(peer, click_image(), ClickProtocol(clicks=3)))
    peer.close()
    assert [case.from_nothing.dice[1] for case in cases] == [1, 1, 1]
    assert all(case.name is None for case in cases)


def test_a_peer_that_stops_is_said_to_have_stopped() -> None:
    peer = Peer([sys.executable, "-c", "raise SystemExit(1)"])
    with pytest.raises(PeerError, match="has stopped"):
        peer.encode(np.zeros((4, 4), np.uint8))


def test_merged_takes_over_only_what_was_clicked_on() -> None:
    image = click_image()
    bare = RightAfter(2)
    merged = Merged(bare)
    encoded = merged.encode(image.pixels)
    nothing = np.full(image.pixels.shape, -3, np.float32)
    prompt = Prompt(image.pixels.shape, positive_xy=((20.0, 20.0), (25.0, 40.0)))
    answer = merged.segment(encoded, prompt, nothing) > 0
    assert answer[40, 25] and answer[20, 20]
    assert not (bare.segment(encoded[0], prompt) > 0)[40, 25], "the model itself ignores the second click"


def test_the_table_has_a_row_for_each_model(
    labelled_study: LabelledStudy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = save_set(build_tasks(), tmp_path / "tiny")
    arguments = ["--dataset", "phantom", "--root", str(labelled_study.folder), "--images", "1", "--models", "ours"]
    monkeypatch.setattr(sys, "argv", ["bench", *arguments, "--bundle", str(bundle), "--out", str(tmp_path / "out")])
    assert main() == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[1] for row in rows[2:]] == ["merged", "decoder", "brush"]
    written = json.loads((tmp_path / "out" / "clicks-tiny-brush.json").read_text())
    scores = ClicksFile.model_validate(written)
    assert row_of(scores, 1.0).count("|") == rows[0].count("|")
