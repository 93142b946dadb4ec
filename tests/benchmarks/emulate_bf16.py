"""Train in bf16 on a processor without instructions for it, in 1.5 times the time of fp32 instead of 10.

Convolutions round their operands and results to bf16 and sum in fp32, as processors with AVX512_BF16 do. All else is
the kit's own, so this measures what bf16 costs in accuracy, not what it gains in speed.

  python tests/benchmarks/emulate_bf16.py --fold 0..4 data.size=96 train.epochs=15 train.precision=bf16
"""

from __future__ import annotations

import runpy
from pathlib import Path

import torch
from torch.autograd.function import once_differentiable

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
conv2d = torch.conv2d


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, *geometry):
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.bias_sizes = geometry, None if bias is None else list(bias.shape)
        with torch.autocast("cpu", enabled=False):
            return conv2d(x.float(), weight.float(), None if bias is None else bias.float(), *geometry).bfloat16()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        needs = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.bias_sizes is not None]
        grads = torch.ops.aten.convolution_backward(
            *(grad.float(), x.float(), weight.float(), ctx.bias_sizes, _pair(stride), _pair(padding), _pair(dilation)),
            *(False, [0, 0], groups, needs),
        )
        return *(None if gradient is None else gradient.bfloat16() for gradient in grads), None, None, None, None


def _pair(value) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def emulated(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Compute torch.conv2d, in emulated bf16 where torch would compute in bf16."""
    if not torch.is_autocast_enabled("cpu") and x.dtype != torch.bfloat16:
        return conv2d(x, weight, bias, stride, padding, dilation, groups)
    operands = (None if operand is None else operand.bfloat16() for operand in (x, weight, bias))
    return _Conv2d.apply(*operands, stride, padding, dilation, groups)


if __name__ == "__main__":
    torch.conv2d = torch.nn.functional.conv2d = emulated
    runpy.run_path(str(TRAIN), run_name="__main__")
