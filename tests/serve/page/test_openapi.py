"""Schemathesis sends what the OpenAPI allows and what it does not: no answer is an error of the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from page_client import ORIGIN, PageClient, opened_page

GenerationMode = schemathesis.GenerationMode
_FEW = settings(
    max_examples=3,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
_ENDLESS = ("/api/v1/events",)
_FINAL = ("sign", "/api/v1/studies/{study}")
"""What would lock or delete the study that the others use; sent to studies that there are not."""


@pytest.fixture(scope="module")
def described(analysed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageClient]:
    """A page with a study, for all examples."""
    with opened_page(tmp_path_factory.mktemp("described") / "state", studies=str(analysed_study)) as page:
        page.study()
        yield page


def test_no_request_that_the_openapi_describes_ends_in_an_error_of_the_server(described: PageClient) -> None:
    study = described.study()
    clip = described.get(f"/studies/{study}")["clips"][0]["clip"]
    known = {"study": study, "clip": clip, "frame": 2, "value": "lvef", "kind": "json", "caliper": "c1", "run": "r0001"}
    schema = schemathesis.openapi.from_dict(described.get("/openapi.json"))
    operations = [one.ok() for one in schema.get_all_operations()]
    assert len(operations) >= 30
    seen: Counter[int] = Counter()

    def send(case: Any) -> None:
        request = case.as_transport_kwargs(base_url=ORIGIN)
        headers = {**dict(request.pop("headers", {})), "x-echoapex-csrf": described.csrf, "host": "127.0.0.1:8765"}
        if isinstance(request.get("data"), bytes | str):
            request["content"] = request.pop("data")
        answer = described.client.request(**request, headers=headers)
        seen[answer.status_code] += 1
        told = f"{case.method} {case.formatted_path}: {answer.status_code} {answer.text[:300]}"
        assert answer.status_code < 500, told
        if answer.status_code >= 400:
            assert set(answer.json()) == {"detail"}, told

    for operation in operations:
        if operation.path in _ENDLESS:
            continue
        names = {parameter.name for parameter in operation.path_parameters}
        is_final = operation.path.endswith(_FINAL[0]) or (operation.path, operation.method) == (_FINAL[1], "delete")
        fixed: list[Any] = [None] if is_final or not names else [None, {name: known[name] for name in names}]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for values in fixed:
                strategy = operation.as_strategy(mode, **({"path_parameters": values} if values else {}))
                try:
                    _FEW(given(strategy)(send))()
                except Unsatisfiable:  # an operation without any input can be sent in one way only
                    assert mode is GenerationMode.NEGATIVE
    assert seen[200] >= 20 and seen[422] >= 20, seen
