"""Runtimes that compute logits from images: torch by default, or ONNX Runtime or OpenVINO for a graph of export.py.

The two are imported only when they are used. All compute in 32 bits, except torch for a run that was trained in fewer,
on a device that has them, and openvino-bf16.
tests/benchmarks/runtimes.py measures them; docs/results.md has the numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from comp.engine.onnx_session import open_session
from comp.engine.precision import choose_inference_precision, cpu_computes_bf16
from comp.engine.predict import Network, NormalisedModel
from comp.errors import UserError, require_extra
from comp.records.weights import ModelSpec

# Largest difference of a logit by freezing, relative to the largest one. In bf16 the folded weights are rounded again:
# 4e-3 for DeepEfficientNet.
FROZEN_TOLERANCES = {"fp32": 1e-4, "bf16": 1e-2}


def make_torch_network(model: nn.Module, spec: ModelSpec, device: torch.device) -> Network:
    """Return a network that runs in torch, in a precision that the device has; frozen on a CPU, where that was measured
    to be faster."""
    precision = choose_inference_precision(spec.precision, device)
    network = NormalisedModel(model, spec.mean, spec.std, precision).eval()
    return freeze_network(network, spec.size, FROZEN_TOLERANCES[precision]) if device.type == "cpu" else network


@torch.no_grad()
def freeze_network(network: nn.Module, size: int, tolerance: float) -> Network:
    """Return the network traced into one graph (0.3 s), with BatchNorm folded into its convolutions.

    Return the network unchanged if it cannot be traced or its logits change by more than the tolerance.
    """
    images = torch.randint(0, 256, (3, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends torch.compile: a minute at the start, and no faster
        try:
            frozen = torch.jit.freeze(torch.jit.trace(network, images[:2], check_trace=False))
            difference = (frozen(images) - network(images)).abs().max()
        except Exception:  # anything that a model may do and a tracer cannot follow
            return network
    return frozen if difference <= tolerance * network(images).abs().max() else network


def load_onnx_network(graph: bytes) -> Network:
    """Return a network that runs an .onnx file in ONNX Runtime on the CPU."""
    session = open_session(graph, torch.get_num_threads())
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def load_openvino_network(graph: bytes, weights: bytes, precision: str = "f32") -> Network:
    """Return a network that runs an .xml and a .bin file in OpenVINO on the CPU, in f32 or bf16.

    One graph takes every batch size; one compiled for each would be 2 to 8 % faster, and take a second or two longer
    to start.
    """
    core = _openvino_core()
    compiled = core.compile_model(
        core.read_model(graph, weights),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,  # its default is bf16 if the processor has it
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        },
    )
    request = compiled.create_infer_request()
    return lambda images: torch.from_numpy(
        request.infer([images.numpy()], share_inputs=True)[compiled.output(0)].copy()
    )


def load_bf16_network(graph: bytes, weights: bytes) -> Network:
    """Return a network that runs an .xml and a .bin file in OpenVINO in bf16, where the CPU has instructions for it."""
    if not cpu_computes_bf16():
        raise UserError("this processor has no instructions for bf16; use openvino")
    return load_openvino_network(graph, weights, "bf16")


@lru_cache
def _openvino_core() -> Any:
    """Return the one OpenVINO core of this process, which is never freed.

    Each core installs a signal stack and restores the previous one when it is freed. Two that are freed in the order of
    their creation leave a stack that no longer exists, and the next signal, such as the exit of a child process, kills
    this one.
    """
    with require_extra("export"):
        import openvino
    return openvino.Core()


RUNTIME_LOADERS: dict[str, Callable[..., Network]] = {
    "onnx": load_onnx_network,
    "openvino": load_openvino_network,
    "openvino-bf16": load_bf16_network,
}
