"""A small reference set with known geometry."""

from __future__ import annotations

import pytest
from reference_studies import make_study

from echoapex.evaluate.reference import ReferenceSet


@pytest.fixture()
def reference() -> ReferenceSet:
    studies = tuple(make_study(number) for number in range(4))
    return ReferenceSet("test", "", studies, "made up", "made up")
