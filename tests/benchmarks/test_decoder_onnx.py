"""The exported decoder is told beside the one it came from."""

from decoder_onnx import Cost, measure, percentiles


def test_figures_of_a_small_clip() -> None:
    found = measure("phantom", clicks=6, size=96, frames=14)
    assert found["largest_relative_difference"] < 1e-3
    assert found["least_share_of_equal_pixels"] > 0.999
    assert 1e5 < found["file_bytes"] < 2e7
    assert found["embedding_bytes_per_frame"] > 1e5
    assert found["prompt"]["onnx_runtime"]["cpu_ms"]["p50"] > 0
    assert found["server"]["click"]["wall_ms"]["p95"] >= found["server"]["click"]["wall_ms"]["p50"] > 0


def test_percentiles() -> None:
    costs = [Cost(float(number), 2.0) for number in range(101)]
    assert percentiles(costs) == {"wall_ms": {"p50": 50, "p95": 95}, "cpu_ms": {"p50": 2, "p95": 2}}
