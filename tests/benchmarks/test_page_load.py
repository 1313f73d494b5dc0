"""The load test of the page measures a small load, and counts what is no answer as an error."""

from __future__ import annotations

import httpx
import pytest
from page_load import _User, measure, parse, spread


def test_a_small_load_is_measured() -> None:
    words = ["--studies", "30", "--rounds", "3", "--users", "2", "--seconds", "1.5", "--clicks", "3", "--frames", "14"]
    found = measure(parse([*words, "--size", "96", "--bundle", "phantom"]))
    assert set(found["list"]) == {"first page", "sorted by EF", "by view and flag", "searched", "last page"}
    assert 0 < found["upload"]["listed_s"] <= found["upload"]["first_clip_s"] <= found["upload"]["ready_s"]
    assert found["upload"]["cine"]["bytes"] > 10_000
    assert found["clicks"]["n"] == 3 and found["clicks"]["p95_ms"] > 0
    assert found["clicks_while_analysing"]["n"] > 0 and found["clicks_while_analysing"]["analysed_s"] > 0
    assert found["users"]["errors"] == 0 and found["users"]["answers"] > 10


def test_percentiles_are_in_ms() -> None:
    assert spread([0.001, 0.003, 0.002]) == {"n": 3, "p50_ms": 2.0, "p95_ms": pytest.approx(2.9)}


def test_a_refused_request_is_no_answer() -> None:
    user = _User(None, "s", "c", 0)  # type: ignore[arg-type]
    user._note(0.1, httpx.Response(503))
    assert user.statuses[503] == 1
