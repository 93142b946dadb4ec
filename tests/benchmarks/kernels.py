"""Measure fused operations against torch's own: CPU time of one thread for a training step of 16 images.

First of whole models, then of each operation, by turns in one process: in fp32, and in bf16 on a processor that has
instructions for it.

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
from comp.engine.precision import DTYPES, autocast, cpu_computes_bf16
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


def row(name: str, module: nn.Module, channels: int, side: int, precisions: list[str]) -> str:
    """Return a row of a table: a step of this module in each precision."""
    cells = []
    for precision in precisions:
        images = channels == 3  # a model casts them itself
        x = feature_map(channels, side).to(torch.float32 if images else DTYPES[precision])
        plain, fused = compare(module, x, precision)
        cells += [f"{plain:.1f}, {fused:.1f}", f"{plain / fused:.2f}"]
    return f"| {name} | {channels} x {side} x {side} | {' | '.join(cells)} |"


def main() -> None:
    torch.set_num_threads(1)
    configure_allocator()
    precisions = ["fp32", "bf16"] if cpu_computes_bf16() else ["fp32"]
    header = "".join(f" {precision}: torch, fused, ms | ratio |" for precision in precisions)
    print(f"| model or operation | input |{header}\n|---|---|{'---|---|' * len(precisions)}")
    for name, size in MODELS.items():
        model = build_model(name, 8, size=size).to(memory_format=torch.channels_last)
        print(row(name, model, 3, size, precisions), flush=True)
    for name, module, channels, side in CASES:
        print(row(name, module, channels, side, precisions), flush=True)


if __name__ == "__main__":
    main()
