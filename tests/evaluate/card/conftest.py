"""Cards are made of intervals that need not be precise here."""

import pytest


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoapex.evaluate.metrics_file.BOOTSTRAP_SAMPLES", 20)
