"""Memory is sampled during the real loop, and growth is told from a level."""

from pathlib import Path

import pytest
from pretrain_memory import describe, watch_memory


def test_growth_is_told_from_a_level() -> None:
    rising = describe([100.0 + step for step in range(8)], every=10)
    assert (rising["first_quarter_mb"], rising["last_quarter_mb"]) == (100.5, 106.5)
    assert rising["kb_per_step"] == rising["kb_per_step_after_first_quarter"] == pytest.approx(100)
    level = describe([80.0, 90.0, *[100.0] * 6], every=10)
    assert level["kb_per_step_after_first_quarter"] == pytest.approx(0, abs=1e-6)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which only Linux has")
def test_memory_is_sampled_while_training(tmp_path: Path) -> None:
    samples = watch_memory(4, 2, tmp_path)
    assert len(samples) == 2
    assert min(samples) > 100
    assert (tmp_path / "checkpoint.safetensors").exists()
