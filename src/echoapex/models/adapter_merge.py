"""A set that was trained with an adapter as one without: what the adapter adds goes into the encoder's own weights."""

from __future__ import annotations

from pathlib import Path

from echoapex.models.adapters import build_adapter_from
from echoapex.models.bundle import WEIGHTS_FILE, BundleError, build_encoder_from, load_bundle, save_bundle
from echoapex.models.registry import ENCODER, SetPaths, find_set


def merge_adapter(paths: SetPaths, directory: Path) -> SetPaths:
    """Write a set whose encoder does by itself what the one of ``paths`` does with its adapter, in half precision.

    Such a set needs no adapter at run time and can be trained on; it shares its encoder with no other set.

    Args:
        paths: a set all of whose decoders were trained with one and the same adapter, of kind lora or bitfit.
        directory: of the new set; must not exist.

    Raises:
        BundleError: there is no adapter, there are several, it cannot be merged, a bundle is damaged, or ``directory``
            exists.
    """
    if directory.exists():
        raise BundleError(f"{directory}: is there already; choose another directory")
    decoders = {name: paths.find_task(name).load() for name in paths.bundles if name != ENCODER}
    digests = {decoder.card.adapter_sha256 for _, decoder, _ in decoders.values()}
    adapters = [adapter for _, _, adapter in decoders.values() if adapter is not None]
    if not adapters:
        raise BundleError(f"{paths.directory}: no decoder of the set has an adapter; there is nothing to merge")
    if len(digests) > 1:
        raise BundleError(f"{paths.directory}: its decoders have different adapters; merge sets with one adapter only")
    base, adapter = load_bundle(paths.encoder), adapters[0]
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
    digest = save_bundle(directory / ENCODER, encoder, card, half=True).files[WEIGHTS_FILE]
    for name, (_, decoder, _) in decoders.items():
        merged = decoder.card.model_copy(update={"base_encoder_sha256": digest, "adapter_sha256": None})
        save_bundle(directory / name, decoder.state, merged, half=True)
    return find_set(directory)
