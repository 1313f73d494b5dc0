"""``auto`` is bf16 where the machine multiplies it and fp32 where it does not; a slow bf16 is warned of."""

from __future__ import annotations

import re

import pytest
import torch

from echoapex.models import precision
from echoapex.models.precision import can_multiply_bf16, choose_precision, measure_bf16_speed


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def machine(monkeypatch: pytest.MonkeyPatch, able: bool | None, ratio: float | None = None) -> None:
    """A machine that says so of itself and, where it is asked, is so fast."""

    def measure(kind: str) -> float:
        assert ratio is not None, "nothing needs to be measured"
        return ratio

    monkeypatch.setattr(precision, "can_multiply_bf16", lambda kind: able)
    monkeypatch.setattr(precision, "measure_bf16_speed", measure)


@pytest.mark.parametrize(
    ("able", "ratio", "name", "words"),
    [
        (True, None, "bf16", "multiplies bf16"),
        (False, None, "fp32", "cannot multiply bf16"),
        (None, 2.0, "bf16", r"2\.0 times faster than fp32 .*\(measured\)"),
        (None, 0.04, "fp32", r"25\.0 times slower than fp32 .*\(measured\)"),
        (None, 1.04, "fp32", r"1\.0 times faster"),
    ],
)
def test_auto_is_what_the_machine_is_fast_at(
    monkeypatch: pytest.MonkeyPatch, able: bool | None, ratio: float | None, name: str, words: str
) -> None:
    machine(monkeypatch, able, ratio)
    chosen = choose_precision("auto")
    assert chosen.name == name

    assert re.search(words, chosen.reason)
    assert chosen.warning is None


def test_a_precision_that_is_asked_for_is_kept_and_a_slow_one_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, False, 0.05)
    slow = choose_precision("bf16")
    assert slow.name == "bf16"
    assert slow.warning is not None and "20.0 times slower than fp32" in slow.warning and "auto" in slow.warning
    machine(monkeypatch, None, 1.5)
    assert choose_precision("bf16").warning is None
    machine(monkeypatch, True)
    assert choose_precision("bf16").warning is None
    assert choose_precision("fp32").name == "fp32"


def capabilities(monkeypatch: pytest.MonkeyPatch, **able: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)


def test_the_processor_is_asked_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities(monkeypatch, amx_bf16=True)
    assert can_multiply_bf16("cpu") is True
    capabilities(monkeypatch, avx512_bf16=True)
    assert can_multiply_bf16("cpu") is True
    capabilities(monkeypatch, avx2=True, avx512_bf16=False)
    assert can_multiply_bf16("cpu") is not True, "wide vectors alone are no bf16"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    capabilities(monkeypatch, avx512_bf16=True)
    assert can_multiply_bf16("cpu") is None, "the kernels may not use what the processor has"


def test_a_graphics_card_is_asked_without_counting_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: asked.append(True) or False)
    assert can_multiply_bf16("cuda") is False
    assert choose_precision("auto", "cuda").name == "fp32"
    assert asked == [True, True]


def test_the_ratio_is_that_of_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    measure_bf16_speed.cache_clear()
    monkeypatch.setattr(precision, "_seconds", lambda left, right: 0.002 if left.dtype is torch.bfloat16 else 0.001)
    assert measure_bf16_speed("cpu") == 0.5
    measure_bf16_speed.cache_clear()


def test_a_device_without_bf16_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(left: torch.Tensor, right: torch.Tensor) -> float:
        raise TypeError("BFloat16 is not supported")

    measure_bf16_speed.cache_clear()
    monkeypatch.setattr(precision, "_seconds", refuse)
    machine_ratio = measure_bf16_speed("cpu")
    measure_bf16_speed.cache_clear()
    assert machine_ratio == 0


def test_this_machine_gives_an_answer_and_computes_in_it() -> None:
    chosen = choose_precision("auto")
    assert chosen.name in ("bf16", "fp32") and chosen.reason
    with chosen.autocast("cpu"):
        product = torch.ones(4, 4) @ torch.ones(4, 4)
    assert product.dtype is (torch.bfloat16 if chosen.name == "bf16" else torch.float32)
