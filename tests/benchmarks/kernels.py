"""Measure fused operations against torch's own: CPU time of one thread for a training step of 16 images.

First of whole models in fp32, then of each operation in fp32 and bf16, by turns in one process.

python -m tests.benchmarks.kernels
"""

from __future__ import annotations

import copy
import time

import torch
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import nn

from comp.engine.device import configure_allocator
from comp.engine.kernels.fuse import fuse
from comp.engine.precision import autocast
from comp.zoo.build import build_model

IMAGES, ROUNDS = 16, 7
MODELS = {"sharif_deep_efficientnet": 224, "efficientnet_b0": 224, "mobilenetv4_conv_small": 128, "resnet18": 224}
CASES: list[tuple[str, nn.Module, int, int]] = [  # operation, its module, channels and side of its feature map
    *(
        ("BatchNorm and SiLU", nn.Sequential(nn.BatchNorm2d(channels), nn.SiLU()), channels, side)
        for channels, side in ((96, 112), (240, 28), (1152, 7))
    ),
    ("BatchNorm and ReLU", nn.Sequential(nn.BatchNorm2d(64), nn.ReLU()), 64, 56),
    ("BatchNorm", nn.BatchNorm2d(24), 24, 56),
    *(("squeeze-and-excitation", SqueezeExcite(channels), channels, side) for channels, side in ((144, 56), (672, 14))),
    *(
        (
            f"depthwise {kernel}x{kernel}, stride {stride}",
            nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False),
            channels,
            side,
        )
        for kernel, stride, channels, side in (
            *((3, 1, 144, 56), (3, 1, 480, 14), (3, 2, 96, 112), (3, 2, 240, 28)),
            *((5, 1, 240, 28), (5, 1, 672, 14), (5, 2, 144, 56), (5, 2, 672, 14)),
        )
    ),
]


def step_ms(module: nn.Module, x: torch.Tensor, precision: str) -> float:
    """Return the milliseconds of one forward and backward pass."""
    x = x.detach().requires_grad_()
    start = time.thread_time()
    with autocast(torch.device("cpu"), precision):
        out = module(x)
    out.backward(out.detach())
    return 1000 * (time.thread_time() - start)


def compare(module: nn.Module, x: torch.Tensor, precision: str) -> tuple[float, float]:
    """Return the milliseconds of a step with torch's operations and with the fused ones: the shortest of its rounds."""
    variants = module.train(), fuse(copy.deepcopy(module)).train()
    times = [[step_ms(variant, x, precision) for variant in variants] for _ in range(ROUNDS)]
    plain, fused = (min(column) for column in zip(*times, strict=True))
    return plain, fused


def feature_map(channels: int, side: int) -> torch.Tensor:
    return torch.randn(IMAGES, channels, side, side).to(memory_format=torch.channels_last)


def main() -> None:
    torch.set_num_threads(1)
    configure_allocator()
    print("| model | size | torch, fused, ms | ratio |\n|---|---|---|---|")
    for name, size in MODELS.items():
        model = build_model(name, 8, size=size).to(memory_format=torch.channels_last)
        plain, fused = compare(model, feature_map(3, size), "fp32")
        print(f"| {name} | {size} px | {plain:.0f}, {fused:.0f} | {plain / fused:.2f} |", flush=True)
    print("\n| operation | feature map | fp32: torch, fused, ms | ratio | bf16: torch, fused, ms | ratio |")
    print("|---|---|---|---|---|---|")
    for name, module, channels, side in CASES:
        cells = []
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            plain, fused = compare(module, feature_map(channels, side).to(dtype), precision)
            cells += [f"{plain:.1f}, {fused:.1f}", f"{plain / fused:.2f}"]
        print(f"| {name} | {channels} x {side} x {side} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
