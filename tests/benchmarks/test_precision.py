"""Both precisions are timed by the same step, and what is chosen is told with its reason."""

from precision import measure


def test_both_precisions_are_timed_and_the_choice_is_told() -> None:
    found = measure(batch=1, rounds=1)
    assert set(found["step_s"]) == {"fp32", "bf16"}
    assert all(seconds > 0 for seconds in found["step_s"].values())
    assert found["auto"] in ("fp32", "bf16") and found["because"]
    assert found["speed_of_bf16_over_fp32"] > 0
