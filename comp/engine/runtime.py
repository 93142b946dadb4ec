"""What computes logits from pictures: torch by default; ONNX Runtime and OpenVINO, imported only when asked for, run a
graph that comp/engine/export.py made. All in 32 bits, but for torch where a run was trained in fewer.

How fast each is: tests/benchmarks/runtimes.py, and the README for what that gave.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from comp.engine.predict import Network, NormalisedModel
from comp.errors import UserError
from comp.records.weights import ModelSpec


def make_torch_network(model: nn.Module, spec: ModelSpec, device: torch.device) -> Network:
    """Frozen where that was measured to pay: on a CPU in 32 bits."""
    network = NormalisedModel(model, spec.mean, spec.std, spec.precision).eval()
    return freeze_network(network, spec.size) if device.type == "cpu" and spec.precision == "fp32" else network


@torch.no_grad()
def freeze_network(network: nn.Module, size: int) -> Network:
    """The network traced into one graph, BatchNorm folded into its convolutions, in 0.3 s; or the network itself where
    that cannot be done or comes out different."""
    images = torch.randint(0, 256, (3, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have torch.compile: a minute at start, and nothing gained
        try:
            frozen = torch.jit.freeze(torch.jit.trace(network, images[:2], check_trace=False))
            apart = (frozen(images) - network(images)).abs().max()
        except Exception:  # whatever a model may do that a tracer cannot follow
            return network
    return frozen if apart <= 1e-4 * network(images).abs().max() else network


def load_onnx_network(graph: bytes) -> Network:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # since 1.29 it calls home otherwise, and must be told first
    with require_export_extra():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3  # errors, no warnings
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def load_openvino_network(graph: bytes, weights: bytes) -> Network:
    """One graph takes every batch size; one compiled for each would be 2 to 8 % faster, and a second or two later."""
    core = _openvino_core()
    compiled = core.compile_model(
        core.read_model(graph, weights),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",  # its own choice is bf16 where the processor has it: 1e-3 of the logits
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        },
    )
    request = compiled.create_infer_request()
    return lambda images: torch.from_numpy(
        request.infer([images.numpy()], share_inputs=True)[compiled.output(0)].copy()
    )


@lru_cache
def _openvino_core() -> Any:
    """One for the process, never let go of: each puts a signal stack in the place of the one before, and gives that
    back when it goes. Two that go in the order they came leave a stack that is no longer there, and the next signal,
    such as the end of a child, is the end of the process."""
    with require_export_extra():
        import openvino
    return openvino.Core()


RUNTIME_LOADERS: dict[str, Callable[..., Network]] = {"onnx": load_onnx_network, "openvino": load_openvino_network}


@contextlib.contextmanager
def require_export_extra() -> Iterator[None]:
    try:
        yield
    except ImportError as problem:
        raise UserError(f"{problem}; pip install -e '.[export]'") from None
