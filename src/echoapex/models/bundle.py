"""A bundle: weights that are always stored together with their card.

A bundle is a directory with ``weights.safetensors`` and ``card.json``. The card says what the weights are, what they
were trained on and under which licence they may be used. It carries the digest of the weights and one of itself, so
that a damaged file is refused. The digests protect against damage, not against forgery.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, JsonValue, ValidationError, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from echoapex.config import Config, ConfigError, build_config
from echoapex.models.encoder import EncoderConfig, VisionTransformer
from echoapex.models.weights_file import WeightsError, load_weights, read_safetensors

WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "card.json"
NO_PATIENTS = "no patient data"
WITHOUT_OUTLINES = ("no hearts", "without outlines or measurements")
"""What a line of training data says that taught no outline of a patient."""
"""A line of training data that says so is about simulated images."""
_CARD_LIMIT_BYTES = 1 << 20


class BundleError(ValueError):
    """A bundle cannot be used; the message names the file, what is wrong and the remedy."""


class Preprocessing(Config):
    """How prepared frames (``data.preprocess``) become the encoder's input.

    ``size`` is (height, width) in pixels. ``rule`` ``per_frame`` brings every frame to zero mean and unit variance
    (``data.batch.standardise``); ``fixed`` computes ``(grey / 255 - mean) / std``.
    """

    size: tuple[int, int]
    rule: Literal["per_frame", "fixed"] = "per_frame"
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    note: str = ""


class Origin(Config):
    """Training data and conditions of use of weights; weights that start from others inherit their conditions."""

    training_data: tuple[str, ...]
    licence: str = Field(min_length=1)
    non_commercial: bool = False

    @property
    def has_simulated_outlines(self) -> bool:
        """Whether every line says that it taught no outline of a patient; what is not documented may have."""
        said = (NO_PATIENTS, *WITHOUT_OUTLINES)
        return bool(self.training_data) and all(any(words in line for words in said) for line in self.training_data)

    def after(self, earlier: Iterable[Origin]) -> Origin:
        """The origin of weights that started from others: all data, all licences, non-commercial if any was."""
        each = (self, *earlier)
        data = (line for origin in each for line in origin.training_data)
        licences = (licence for origin in each for licence in origin.licence.split("; "))
        return Origin(
            training_data=tuple(dict.fromkeys(data)),
            licence="; ".join(dict.fromkeys(licences)),
            non_commercial=any(origin.non_commercial for origin in each),
        )


class Card(Config):
    """The content of ``card.json``: everything known about a bundle's weights.

    ``base_encoder_sha256`` is the digest of the encoder weights that a task or adapter bundle was trained on,
    ``adapter_sha256`` that of the adapter which a task bundle needs. ``files`` and ``card_sha256`` are filled in by
    :func:`save_bundle`.
    """

    card_version: Literal["1"] = "1"
    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    kind: Literal["encoder", "task", "adapter"]
    task: str | None = None
    architecture: dict[str, JsonValue]
    label_order: tuple[str, ...] = ()
    preprocessing: Preprocessing
    calibration: dict[str, JsonValue] = Field(default_factory=dict)
    training_data: tuple[str, ...]
    licence: str = Field(min_length=1)
    non_commercial: bool = False
    seed: int | None = None
    cost: str = ""
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    base_encoder_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    adapter_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    notes: tuple[str, ...] = ()
    files: dict[str, str] = Field(default_factory=dict)
    card_sha256: str = ""

    @model_validator(mode="after")
    def _kind_is_complete(self) -> Card:
        if self.kind == "task" and not (self.task and self.base_encoder_sha256):
            raise ValueError("the card of a task bundle names its task and base_encoder_sha256")
        if self.kind == "encoder" and (self.task or self.base_encoder_sha256):
            raise ValueError("the card of an encoder bundle has no task and no base encoder")
        if self.kind == "adapter" and not self.base_encoder_sha256:
            raise ValueError("the card of an adapter bundle names base_encoder_sha256")
        if self.kind != "task" and self.adapter_sha256:
            raise ValueError("only a task bundle needs an adapter")
        return self

    @property
    def origin(self) -> Origin:
        """Training data and conditions of use of the weights."""
        return Origin(training_data=self.training_data, licence=self.licence, non_commercial=self.non_commercial)

    def of_origin(self, origin: Origin) -> Card:
        """The same card with another origin."""
        return self.model_copy(update=dict(origin))

    def sealed(self, files: Mapping[str, str]) -> Card:
        """The same card with the digests of its files and of itself."""
        card = self.model_copy(update={"files": dict(files), "card_sha256": ""})
        return card.model_copy(update={"card_sha256": card.compute_digest()})

    def compute_digest(self) -> str:
        """sha256 over the whole card except this digest itself."""
        # without an adapter the key is left out, so that cards from before there were adapters keep their digest
        unset = {"adapter_sha256"} if self.adapter_sha256 is None else set()
        content = self.model_dump(mode="json", exclude={"card_sha256", *unset})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle in memory."""

    directory: Path
    card: Card
    state: dict[str, Tensor]

    @property
    def digest(self) -> str:
        """sha256 of the weights file: the identity by which task bundles name their encoder."""
        return self.card.files[WEIGHTS_FILE]

    def require_encoder(self, encoder: Bundle) -> None:
        """Check that this task bundle was trained on ``encoder``.

        Raises:
            BundleError: ``encoder`` is not an encoder bundle, or not the one that the card names.
        """
        require_base_encoder(self.directory, self.card, encoder.directory, encoder.card)

    def require_adapter(self, adapter: Bundle | None) -> None:
        """Check that this task bundle was trained with ``adapter``, or without one.

        Raises:
            BundleError: the card names another adapter, or none.
        """
        found = adapter.digest if adapter is not None else None
        if self.card.adapter_sha256 != found:
            raise BundleError(
                f"{self.directory}: was trained with {_short(self.card.adapter_sha256)}, but {_short(found)} lies "
                "beside it; import the set again"
            )


def _short(digest: str | None) -> str:
    return f"the adapter {digest[:12]}" if digest else "no adapter"


def require_base_encoder(directory: Path, card: Card, encoder: Path, encoder_card: Card) -> None:
    """Check from the cards alone that the task bundle in ``directory`` was trained on ``encoder``.

    Raises:
        BundleError: ``encoder`` is not an encoder bundle, or not the one that ``card`` names.
    """
    if encoder_card.kind != "encoder":
        raise BundleError(f"{encoder}: holds a decoder for {encoder_card.task!r}; give the encoder bundle instead")
    digest = encoder_card.files.get(WEIGHTS_FILE, "")
    if card.base_encoder_sha256 != digest:
        raise BundleError(
            f"{directory}: was trained on the encoder {str(card.base_encoder_sha256)[:12]}, but {encoder} is "
            f"{digest[:12]}; use the encoder of the same set, or fine-tune again"
        )


def compute_sha256(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_bundle(directory: Path, weights: nn.Module | Mapping[str, Tensor], card: Card, *, half: bool = False) -> Card:
    """Write a bundle; an earlier one is replaced only when the new one is complete.

    Args:
        directory: the bundle; its parents are made.
        weights: a module or its state dict.
        card: without digests.
        half: store floating-point weights as float16, at half the size.

    Returns:
        The card as written, with digests.

    Raises:
        BundleError: a weight is not finite, or too large for float16.
    """
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    stored = {name: _prepare(name, tensor, half, directory) for name, tensor in state.items()}
    directory.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    draft = workshop / directory.name
    try:
        draft.mkdir()  # with default permissions; the temporary directory is private
        save_file(stored, draft / WEIGHTS_FILE, metadata={"format": "pt"})
        # safetensors writes files that only their owner can read, but a bundle may be installed for all users
        (draft / WEIGHTS_FILE).chmod(draft.stat().st_mode & 0o666)
        sealed = card.sealed({WEIGHTS_FILE: compute_sha256(draft / WEIGHTS_FILE)})
        _write_card(draft, sealed)
        replace_directory(draft, directory)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return sealed


def update_card(directory: Path, **changes: Any) -> Card:
    """Change fields of a bundle's card, for example its metrics, and update its digest.

    Raises:
        BundleError: the bundle is damaged, or a change is not valid.
    """
    card = read_card(directory)
    try:
        changed = build_config(Card, {**card.model_dump(mode="json"), **changes}, str(directory / CARD_FILE))
    except ConfigError as error:
        raise BundleError(str(error)) from error
    sealed = changed.sealed(card.files)
    _write_card(directory, sealed)
    return sealed


def read_card(directory: Path) -> Card:
    """Read the card of a bundle and check its own digest; the weights are not read.

    Raises:
        BundleError: there is no card, or it is damaged.
    """
    path = directory / CARD_FILE
    try:
        if path.stat().st_size > _CARD_LIMIT_BYTES:
            raise BundleError(f"{path}: is larger than 1 MiB and so no card; check where the bundle came from")
        card = Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); a bundle is a directory with {CARD_FILE} and {WEIGHTS_FILE}"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(f"{path}: is no valid card ({where}: {first['msg']}); fetch the bundle again") from error
    if card.compute_digest() != card.card_sha256:
        raise BundleError(f"{path}: was damaged or edited since it was sealed; fetch the bundle again")
    return card


def verify_bundle(directory: Path) -> Card:
    """Check every digest of a bundle.

    Raises:
        BundleError: a file is missing or damaged.
    """
    card = read_card(directory)
    if set(card.files) != {WEIGHTS_FILE}:
        raise BundleError(f"{directory / CARD_FILE}: must list exactly {WEIGHTS_FILE}; fetch the bundle again")
    path = directory / WEIGHTS_FILE
    try:
        digest = compute_sha256(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); fetch the bundle again") from error
    if digest != card.files[WEIGHTS_FILE]:
        raise BundleError(
            f"{path}: is damaged (sha256 {digest[:12]}, the card says {card.files[WEIGHTS_FILE][:12]}); "
            "fetch the bundle again"
        )
    return card


def load_bundle(directory: Path) -> Bundle:
    """Read and verify a bundle; float16 weights are converted to float32.

    Raises:
        BundleError: a file is missing or damaged.
    """
    card = verify_bundle(directory)
    try:
        stored = read_safetensors(directory / WEIGHTS_FILE)
    except WeightsError as error:
        raise BundleError(str(error)) from error
    state = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in stored.items()}
    return Bundle(directory, card, state)


def build_encoder_from(bundle: Bundle) -> VisionTransformer:
    """The encoder of an encoder bundle, in evaluation mode.

    Raises:
        BundleError: the bundle holds no encoder, or its card and its weights disagree.
    """
    if bundle.card.kind != "encoder":
        raise BundleError(f"{bundle.directory}: holds a decoder for {bundle.card.task!r}; give an encoder bundle")
    try:
        config = build_config(EncoderConfig, bundle.card.architecture, f"{bundle.directory / CARD_FILE}: architecture")
        encoder = VisionTransformer(config)
        load_weights(encoder, bundle.state, bundle.directory / WEIGHTS_FILE)
    except (ConfigError, WeightsError) as error:
        raise BundleError(str(error)) from error
    return encoder.eval()


def replace_directory(draft: Path, directory: Path) -> None:
    """Move a finished directory into place on the same file system; the older one is deleted only after success."""
    if not directory.exists():
        draft.rename(directory)
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{directory.name}-old-", dir=directory.parent))
    directory.rename(retired / directory.name)
    try:
        draft.rename(directory)
    except OSError:
        (retired / directory.name).rename(directory)
        raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)


def _prepare(name: str, tensor: Tensor, half: bool, directory: Path) -> Tensor:
    """A weight as it is stored: finite, contiguous, on the CPU, float16 if asked."""
    stored = tensor.detach().cpu()
    if stored.is_floating_point():
        stored = stored.half() if half else stored
        if not torch.isfinite(stored).all():
            remedy = "save without half" if half else "training diverged: go back to an earlier checkpoint"
            raise BundleError(f"{directory}: weight {name!r} is not finite as {stored.dtype}; {remedy}")
    return stored.clone(memory_format=torch.contiguous_format)


def _write_card(directory: Path, card: Card) -> None:
    """Write ``card.json`` in one step."""
    draft = directory / f".{CARD_FILE}"
    with draft.open("w", encoding="utf-8") as file:
        file.write(card.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(directory / CARD_FILE)
