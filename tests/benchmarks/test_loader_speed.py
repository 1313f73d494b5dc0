"""The loader's rate is told for the thread and for processes."""

from loader_speed import measure


def test_every_number_of_workers_has_a_rate() -> None:
    found = measure(side=64, batches=4, workers=(0, 1), batch_size=4)
    assert set(found["frames_per_s_by_workers"]) == {"0", "1"}
    assert all(rate > 0 for rate in found["frames_per_s_by_workers"].values())
    assert found["alone_frames_per_cpu_s"] > 0
