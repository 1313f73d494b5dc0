"""Learning settings: what of the encoder learns when a task is trained on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from pydantic import model_validator
from torch import nn

from echoapex.config import Config, ConfigError
from echoapex.models.adapters import Adapter, AdapterConfig, AdapterKind, adapt, adapt_further, freeze
from echoapex.models.bundle import WEIGHTS_FILE, Bundle, BundleError, load_bundle, read_card, save_bundle
from echoapex.models.encoder import VisionTransformer
from echoapex.models.registry import ADAPTER, ENCODER
from echoapex.tasks.recipe import Lineage

SettingName = Literal["full", "frozen", "adapter", "lora", "bitfit"]
_ADAPTERS: dict[SettingName, AdapterKind] = {"adapter": "bottleneck", "lora": "lora", "bitfit": "bitfit"}


class LearningSetting(Config):
    """``full``: all of it. ``frozen``: nothing. ``adapter``, ``lora``, ``bitfit``: a few parameters beside it."""

    name: SettingName = "full"
    adapter: AdapterConfig = AdapterConfig()
    """Sizes of the adapter; its kind follows the setting."""
    start: Path | None = None
    """An adapter bundle of the same encoder to go on from, of the setting's kind; its sizes are its own."""

    @model_validator(mode="after")
    def _starts_from_its_kind(self) -> LearningSetting:
        if self.start is not None and self.name not in _ADAPTERS:
            raise ValueError(
                f"start names an adapter, and the setting {self.name} has none; give lora, adapter or bitfit"
            )
        return self

    @property
    def starts(self) -> list[Path]:
        """The adapter bundle to go on from, if there is one."""
        return [] if self.start is None else [self.start]

    def apply(self, encoder: VisionTransformer, base: Bundle | None) -> Adapter | None:
        """Set an encoder up; returns the adapter that learns in its place, if there is one.

        Args:
            encoder: to be set up.
            base: bundle of its weights, which an adapter to go on from must belong to; None for fresh weights.

        Raises:
            BundleError: the adapter to go on from is damaged, of another kind or of another encoder.
        """
        if self.name == "full":
            return None
        if self.name == "frozen":
            freeze(encoder)
            return None
        if self.start is not None:
            return self._go_on(encoder, base, self.start)
        return adapt(encoder, self.adapter.model_copy(update={"kind": _ADAPTERS[self.name]}))

    def _go_on(self, encoder: VisionTransformer, base: Bundle | None, start: Path) -> Adapter:
        found = load_bundle(start)
        if base is None:
            raise BundleError(f"{start}: belongs to an encoder with weights, and this one is fresh; name that encoder")
        found.require_encoder(base)
        adapter = adapt_further(encoder, found)
        if adapter.config.kind != _ADAPTERS[self.name]:
            raise BundleError(f"{start}: is of the kind {adapter.config.kind}; give its setting")
        return adapter


def parse_setting(text: str) -> dict[str, object]:
    """The overrides of a recipe's task section for a setting as it is typed.

    >>> parse_setting("lora,few-shot:10%")
    {'setting': {'name': 'lora'}, 'few_shot': {'percent': 10.0}}

    Raises:
        ConfigError: it is no setting.
    """
    found: dict[str, object] = {}
    for word in text.split(","):
        name, _, amount = word.strip().partition(":")
        if name == "few-shot":
            found["few_shot"] = _amount(word, amount)
        elif name in ("full", "frozen", *_ADAPTERS) and not amount:
            found["setting"] = {"name": name}
        else:
            raise ConfigError(
                f"--setting {text}: {word!r} is no setting; give full, frozen, adapter, lora, bitfit, few-shot:20 "
                "(clips) or few-shot:5%, or one of the first with few-shot, as in lora,few-shot:20"
            )
    return found


def _amount(word: str, amount: str) -> dict[str, object]:
    try:
        return {"percent": float(amount[:-1])} if amount.endswith("%") else {"clips": int(amount)}
    except ValueError as error:
        raise ConfigError(f"--setting {word}: give a number of clips (few-shot:20) or a share (few-shot:5%)") from error


class EncoderExport:
    """The encoder of a trained set, on which its decoders are written: changed and saved, or as it was and copied.

    Args:
        directory: the set.
        lineage: of the run.
        size: side of the input in pixels.
    """

    def __init__(self, directory: Path, lineage: Lineage, size: int) -> None:
        self._directory = directory
        self._lineage = lineage
        self._size = size
        self._adapter: Path | None = None
        self._digests: dict[str, str] = {}

    def write(self, encoder: VisionTransformer, adapter: Adapter | None, base: Path | None) -> None:
        """Write the encoder, half precision, and keep the adapter for the decoders.

        Args:
            encoder: as trained.
            adapter: that learned in its place.
            base: bundle of the encoder when it did not change; then the bundle is copied, with its digest.
        """
        place = self._directory / ENCODER
        if base is None:
            card = self._lineage.card("encoder", self._size, architecture=encoder.config.model_dump(mode="json"))
            save_bundle(place, encoder, card, half=True)
        elif base.resolve() != place.resolve():
            shutil.copytree(base, place, dirs_exist_ok=True)
        self._digests = {"base_encoder_sha256": read_card(place).files[WEIGHTS_FILE]}
        if adapter is None:
            return
        card = self._lineage.card(
            "adapter", self._size, architecture=adapter.config.model_dump(mode="json"), **self._digests
        )
        self._adapter = self._directory / f".{ADAPTER}"
        self._digests["adapter_sha256"] = save_bundle(self._adapter, adapter, card).files[WEIGHTS_FILE]

    def write_decoder(self, name: str, decoder: nn.Module, **details: object) -> None:
        """Write a decoder, half precision, with the adapter that it needs in its folder."""
        card = self._lineage.card("task", self._size, task=name, **details, **self._digests)
        save_bundle(self._directory / name, decoder, card, half=True)
        if self._adapter is not None:
            shutil.copytree(self._adapter, self._directory / name / ADAPTER)

    def finish(self) -> None:
        """Take away what was needed only while writing."""
        if self._adapter is not None:
            shutil.rmtree(self._adapter)


def count_trainable(task: nn.Module) -> int:
    """Number of parameters that learn."""
    return sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
