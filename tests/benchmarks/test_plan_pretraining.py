"""The plan counts what the textbook counts, and its simulation behaves as such runs do."""

import pytest
from plan_pretraining import Assumptions, Work, count_work, plan, simulate, table

NO_TROUBLE = Assumptions(utilisation=(0.4, 0.4), scaling_loss=0.0, gpu_failure_hours=1e12)
WORK = Work("pretrain_small", 21.5, 64.0, 100.0)


def test_operations_are_those_of_the_textbook() -> None:
    work = count_work("pretrain_small")
    width, depth, expected = 384, 12, 0.0
    for crops, side, passes in ((2, 224, 4), (8, 96, 3)):  # the teacher sees the large ones only
        tokens = (side // 16) ** 2 + 5
        per_token = 24 * width**2 + 4 * tokens * width  # per block: projections, feed-forward, attention
        expected += crops * passes * tokens * depth * per_token
    assert work.gflop_per_image * 1e9 > expected, "heads and patch embedding come on top"
    assert work.gflop_per_image * 1e9 < 1.6 * expected
    assert work.parameters_million == pytest.approx(21.5, abs=0.3)


def test_without_trouble_it_is_work_over_rate() -> None:
    row = simulate(WORK, "A100 SXM", 8, NO_TROUBLE)
    hours = 64e6 * 100e9 / (8 * 312e12 * 0.4) / 3600
    assert row["wall_hours"] == pytest.approx([hours] * 3)
    assert row["gpu_hours"] == pytest.approx(8 * hours)
    assert row["images_per_s"] == pytest.approx(64e6 / hours / 3600)


def test_failures_and_scaling_cost_time() -> None:
    often = Assumptions(utilisation=(0.4, 0.4), scaling_loss=0.0, gpu_failure_hours=5.0)
    lossy = Assumptions(utilisation=(0.4, 0.4), scaling_loss=0.1, gpu_failure_hours=1e12)
    calm = simulate(WORK, "L40S", 64, NO_TROUBLE)["wall_hours"]
    assert simulate(WORK, "L40S", 64, often)["wall_hours"][1] > calm[1]
    assert simulate(WORK, "L40S", 64, lossy)["wall_hours"][1] == pytest.approx(calm[1] / 0.9**3)


def test_every_row_has_its_cores_and_its_price() -> None:
    measured = {"frames": 10, "bytes_per_frame": 20_000.0, "images_per_s_and_core": 150.0}
    result = plan(1_000_000, (1.0, 2.0, 3.0), measured)
    assert result["store_gb"] == pytest.approx(20)
    assert len(result["rows"]) == 27
    for row in result["rows"]:
        assert row["loader_cores"] * 150 * 0.8 >= row["images_per_s"]
        assert row["money"] == pytest.approx([row["gpu_hours"] * price for price in (1, 2, 3)])
    assert table(result).count("\n") == 28
