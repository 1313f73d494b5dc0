"""Merges adapters: a set with an adapter becomes one without, or the other way round; two adapters become one."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from echoapex.models.adapters import Adapter, AdapterConfig, build_adapter_from
from echoapex.models.bundle import WEIGHTS_FILE, Bundle, BundleError, build_encoder_from, load_bundle, save_bundle
from echoapex.models.registry import ADAPTER, ENCODER, SetPaths, find_set

_NOT_USED = frozenset({"mask_token"})
"""Weights that only pretraining uses."""


def merge_adapter(paths: SetPaths, directory: Path) -> SetPaths:
    """Write a set whose encoder has the adapter of ``paths`` merged into its weights, in half precision.

    Such a set needs no adapter at run time and can be trained further, but it shares its encoder with no other set.

    Args:
        paths: a set all of whose decoders were trained with one and the same adapter, of kind lora or bitfit.
        directory: of the new set; must not exist.

    Raises:
        BundleError: there is no adapter, there are several, it cannot be merged, a bundle is damaged, or ``directory``
            exists.
    """
    if directory.exists():
        raise BundleError(f"{directory}: is there already; choose another directory")
    base, adapter = _adapter_of(paths)
    encoder = build_encoder_from(base)
    try:
        build_adapter_from(adapter, encoder).merge_into(encoder)
    except ValueError as error:
        raise BundleError(f"{adapter.directory}: {error}") from error
    note = f"the encoder {base.card.name} with an adapter of kind {adapter.card.architecture['kind']} merged into it"
    card = adapter.card.model_copy(
        update={
            "kind": "encoder", "architecture": base.card.architecture, "base_encoder_sha256": None,
            "notes": (*adapter.card.notes, note),
        }
    )  # fmt: skip
    card = card.of_origin(adapter.card.origin.after([base.card.origin]))
    digest = save_bundle(directory / ENCODER, encoder, card, half=True).files[WEIGHTS_FILE]
    for name in (each for each in paths.bundles if each != ENCODER):
        _, decoder, _ = paths.find_task(name).load()
        merged = decoder.card.model_copy(update={"base_encoder_sha256": digest, "adapter_sha256": None})
        merged = merged.of_origin(decoder.card.origin.after([card.origin]))
        save_bundle(directory / name, decoder.state, merged, half=True)
    return find_set(directory)


def stack_adapters(first: SetPaths, second: SetPaths, directory: Path) -> SetPaths:
    """Write a set with the encoder of ``first`` and the decoders of ``second``, which was trained on ``first`` merged.

    One adapter, whose rank is the sum of both ranks, replaces the two. So the encoder stays the one that other sets may
    share.

    Args:
        first: a set with one adapter of kind lora.
        second: a set with one adapter of kind lora, whose encoder is that of :func:`merge_adapter` of ``first``.
        directory: of the new set; must not exist.

    Raises:
        BundleError: an adapter is missing or of another kind or scale, ``second`` was trained on another encoder, a
            bundle is damaged, or ``directory`` exists.
    """
    if directory.exists():
        raise BundleError(f"{directory}: is there already; choose another directory")
    (base, early), (between, late) = _adapter_of(first), _adapter_of(second)
    sections = [each.card.architecture for each in (early, late)]
    alike = [{**section, "rank": None} for section in sections]
    if sections[0].get("kind") != "lora" or alike[0] != alike[1]:
        raise BundleError(f"{late.directory}: only adapters of kind lora that differ in rank at most can be stacked")
    merged = build_encoder_from(base)
    build_adapter_from(early, merged).merge_into(merged)
    for name, value in merged.state_dict().items():
        if not torch.equal(value.half().float(), between.state[name]):
            raise BundleError(f"{second.directory}: was not trained on {first.directory} merged; give the set that was")
    ranks = [int(str(section["rank"])) for section in sections]
    state = {
        name: torch.cat([value, late.state[name]], dim=0 if name.endswith(".down") else 1)
        for name, value in early.state.items()
    }
    note = f"two adapters learnt one after the other (ranks {ranks[0]} and {ranks[1]}), as one"
    stacked = late.card.model_copy(
        update={
            "architecture": {**sections[1], "rank": sum(ranks)}, "base_encoder_sha256": base.digest,
            "notes": (*late.card.notes, note),
        }
    )  # fmt: skip
    stacked = stacked.of_origin(late.card.origin.after([early.card.origin, base.card.origin]))
    shutil.copytree(base.directory, directory / ENCODER)
    for name in second.bundles:
        if name == ENCODER:
            continue
        _, decoder, _ = second.find_task(name).load()
        digest = save_bundle(directory / f".{ADAPTER}", state, stacked).files[WEIGHTS_FILE]
        card = decoder.card.model_copy(update={"base_encoder_sha256": base.digest, "adapter_sha256": digest})
        card = card.of_origin(decoder.card.origin.after([stacked.origin]))
        save_bundle(directory / name, decoder.state, card, half=True)
        (directory / f".{ADAPTER}").rename(directory / name / ADAPTER)
    return find_set(directory)


def split_adapter(paths: SetPaths, base: Path, rank: int, directory: Path) -> SetPaths:
    """Write a set as a shared encoder, and an adapter for the difference between that and the set's own encoder.

    The adapter (lora) holds the best approximation of the given rank of the change of each linear layer of a block. It
    is exact if the change comes from merged adapters whose ranks sum to at most this rank. Changes elsewhere are
    refused.

    Source: Eckart and Young, "The approximation of one matrix by another of lower rank", 1936.

    Args:
        paths: a set whose decoders need no adapter.
        base: bundle of the encoder that the set's own one started from.
        rank: of the adapter.
        directory: of the new set; must not exist.

    Raises:
        BundleError: the encoders have different shapes, or differ beside the linear layers of blocks; a decoder has an
            adapter; a bundle is damaged, or ``directory`` exists.
    """
    if directory.exists():
        raise BundleError(f"{directory}: is there already; choose another directory")
    start, learned = load_bundle(base), load_bundle(paths.encoder)
    config = AdapterConfig(kind="lora", rank=rank, scale=1.0)
    adapter = Adapter(build_encoder_from(start), config)
    changed = {name.replace("/", ".") + ".weight" for name in adapter.additions}
    if start.state.keys() != learned.state.keys():
        raise BundleError(
            f"{paths.directory}: its encoder is not of the architecture of {base}; give the one it began as"
        )
    for name, value in start.state.items():
        moved = name not in changed and name not in _NOT_USED and not torch.equal(value, learned.state[name])
        if value.shape != learned.state[name].shape or moved:
            raise BundleError(f"{paths.directory}: {name} differs from {base}, which no adapter can tell; keep the set")
    state = {}
    for name in adapter.additions:
        difference = (
            learned.state[f"{name.replace('/', '.')}.weight"] - start.state[f"{name.replace('/', '.')}.weight"]
        ).float()
        left, sizes, right = torch.linalg.svd(difference, full_matrices=False)
        root = sizes[:rank].sqrt()
        state[f"additions.{name}.up"], state[f"additions.{name}.down"] = (
            left[:, :rank] * root,
            root[:, None] * right[:rank],
        )
    note = f"what the encoder learned beyond {start.card.name} {start.card.version}, as an adapter of rank {rank}"
    card = learned.card.model_copy(
        update={
            "kind": "adapter", "architecture": config.model_dump(mode="json"), "base_encoder_sha256": start.digest,
            "notes": (*learned.card.notes, note),
        }
    ).of_origin(learned.card.origin.after([start.card.origin]))  # fmt: skip
    shutil.copytree(start.directory, directory / ENCODER)
    for name in (each for each in paths.bundles if each != ENCODER):
        _, decoder, own = paths.find_task(name).load()
        if own is not None:
            raise BundleError(f"{decoder.directory}: has an adapter already; merge it first")
        digest = save_bundle(directory / f".{ADAPTER}", state, card, half=True).files[WEIGHTS_FILE]
        told = decoder.card.model_copy(update={"base_encoder_sha256": start.digest, "adapter_sha256": digest})
        save_bundle(
            directory / name, decoder.state, told.of_origin(decoder.card.origin.after([card.origin])), half=True
        )
        (directory / f".{ADAPTER}").rename(directory / name / ADAPTER)
    return find_set(directory)


def _adapter_of(paths: SetPaths) -> tuple[Bundle, Bundle]:
    """The encoder of a set, and the one adapter that all its decoders have.

    Raises:
        BundleError: there is no adapter, or there are several.
    """
    loaded = [paths.find_task(name).load() for name in paths.bundles if name != ENCODER]
    adapters = [adapter for _, _, adapter in loaded if adapter is not None]
    if not adapters:
        raise BundleError(f"{paths.directory}: no decoder of the set has an adapter; there is nothing to merge")
    if len({decoder.card.adapter_sha256 for _, decoder, _ in loaded}) > 1:
        raise BundleError(f"{paths.directory}: its decoders have different adapters; merge sets with one adapter only")
    return load_bundle(paths.encoder), adapters[0]
