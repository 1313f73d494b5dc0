"""The models of EchoNet-Dynamic on prepared frames, with random weights; runs in an environment of its own.

    .venv-bench/bin/python benchmarks/echonet_peer.py FRAMES.npy [--threads N] [--precision fp32|bf16]
                                                      [--windows N] [--frames N]

FRAMES.npy holds uint8 RGB frames (frames, 112, 112, 3). The work follows Ouyang et al., "Video-based AI for
beat-to-beat assessment of cardiac function", Nature 2020: the ejection fraction by ``r2plus1d_18`` on windows of 32
frames, and the left ventricle by ``deeplabv3_resnet50`` on single frames. Every line on standard input does the work
once and answers with one line of JSON: CPU and wall seconds of either network. Imports nothing of EchoApex.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.models.video import r2plus1d_18

WINDOW_FRAMES = 32
WINDOWS_AT_ONCE = 1
FRAMES_AT_ONCE = 20
"""Batch sizes at which each network is fastest on a CPU; EchoNet-Dynamic itself uses 20 for both."""


def build_ejection_model() -> nn.Module:
    """R(2+1)D-18 with one output, as EchoNet-Dynamic predicts the ejection fraction."""
    model: nn.Module = r2plus1d_18(weights=None)
    model.fc = nn.Linear(512, 1)
    return model.eval()


def build_segmentation_model() -> nn.Module:
    """DeepLabV3-ResNet50 with one class, as EchoNet-Dynamic outlines the left ventricle."""
    model: nn.Module = deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=False)
    model.classifier[-1] = nn.Conv2d(256, 1, kernel_size=1)  # type: ignore[index, operator]
    return model.eval()


def normalised(frames: np.ndarray) -> Tensor:
    """Float frames (3, frames, height, width), zero mean and unit variance per channel over the clip."""
    video = torch.from_numpy(np.ascontiguousarray(frames.transpose(3, 0, 1, 2))).float()
    mean = video.mean(dim=(1, 2, 3), keepdim=True)
    return (video - mean) / video.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)


def estimate_ejection_fraction(model: nn.Module, video: Tensor, windows: int) -> None:
    """Run the first windows, one frame apart, and average."""
    estimates = []
    for first in range(0, windows, WINDOWS_AT_ONCE):
        starts = range(first, min(first + WINDOWS_AT_ONCE, windows))
        estimates.append(model(torch.stack([video[:, start : start + WINDOW_FRAMES] for start in starts])))
    torch.cat(estimates).mean().item()


def outline_ventricle(model: nn.Module, video: Tensor, frames: int) -> None:
    """Segment the first frames, twenty at a time."""
    images = video.transpose(0, 1)[:frames]
    for part in torch.split(images, FRAMES_AT_ONCE):
        (model(part)["out"] > 0).sum().item()


def timed(work: Callable[[], None]) -> dict[str, float]:
    """CPU seconds of all threads of this process, and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("frames_file", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--windows", type=int, help="time so many windows (default: all)")
    parser.add_argument("--frames", type=int, help="time so many frames (default: all)")
    choices = parser.parse_args()
    torch.set_num_threads(choices.threads)
    torch.manual_seed(0)
    video = normalised(np.load(choices.frames_file))
    windows = choices.windows or video.shape[1] - WINDOW_FRAMES + 1
    frames = choices.frames or video.shape[1]
    ejection, segmentation = build_ejection_model(), build_segmentation_model()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=choices.precision == "bf16")
    with torch.inference_mode(), autocast:
        # kernels are chosen and memory is taken on first use
        estimate_ejection_fraction(ejection, video, min(windows, WINDOWS_AT_ONCE))
        outline_ventricle(segmentation, video, min(frames, FRAMES_AT_ONCE))
        for _ in sys.stdin:
            answer = {
                "windows": windows,
                "frames": frames,
                "ejection": timed(lambda: estimate_ejection_fraction(ejection, video, windows)),
                "segmentation": timed(lambda: outline_ventricle(segmentation, video, frames)),
                "torch": torch.__version__,
            }
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
