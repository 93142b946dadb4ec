"""Measure each fused operation against torch's own: CPU time of one thread for a training step of 16 images.

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

IMAGES, ROUNDS = 16, 7
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


def main() -> None:
    torch.set_num_threads(1)
    configure_allocator()
    print("| operation | feature map | fp32: torch, fused, ms | ratio | bf16: torch, fused, ms | ratio |")
    print("|---|---|---|---|---|---|")
    for name, module, channels, side in CASES:
        modules = module.train(), fuse(copy.deepcopy(module)).train()
        cells = []
        for precision in ("fp32", "bf16"):
            x = torch.randn(IMAGES, channels, side, side).to(memory_format=torch.channels_last)
            x = x.bfloat16() if precision == "bf16" else x
            times = [[step_ms(variant, x, precision) for variant in modules] for _ in range(ROUNDS)]
            plain, fused = (min(column) for column in zip(*times, strict=True))
            cells += [f"{plain:.1f}, {fused:.1f}", f"{plain / fused:.2f}"]
        print(f"| {name} | {channels} x {side} x {side} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
