"""The guard looks at scores alone: floors, falls below the best, and patience."""

from echoapex.train.monitor import DriftGuardConfig, find_drift


def ranks(*values: float) -> list[dict[str, float]]:
    return [{"effective_rank": value} for value in values]


def test_nothing_is_watched_by_default() -> None:
    assert find_drift(ranks(50, 1, 0), DriftGuardConfig()) is None


def test_a_floor_needs_as_many_bad_validations_as_patience_says() -> None:
    guard = DriftGuardConfig(floors={"effective_rank": 10}, patience=2)
    assert find_drift(ranks(9), guard) is None
    assert find_drift(ranks(9, 11, 9), guard) is None
    problem = find_drift(ranks(30, 9, 8), guard)
    assert problem is not None and "effective_rank was 9, 8" in problem and "floor of 10" in problem


def test_a_fall_is_measured_from_the_best_so_far() -> None:
    guard = DriftGuardConfig(largest_drops={"knn_view_accuracy": 0.1}, patience=1)
    rising = [{"knn_view_accuracy": value} for value in (0.2, 0.5, 0.45)]
    assert find_drift(rising, guard) is None
    problem = find_drift([*rising, {"knn_view_accuracy": 0.39}], guard)
    assert problem is not None and "more than 0.1 below its best, 0.5" in problem


def test_what_was_not_measured_cannot_fall() -> None:
    guard = DriftGuardConfig(floors={"effective_rank": 10}, patience=2)
    assert find_drift([*ranks(9), {}], guard) is None
