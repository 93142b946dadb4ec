"""What computes logits from a batch: torch by default; ONNX Runtime and OpenVINO, imported only when asked for, run an
exported graph. All in 32 bits, but for torch where a run was trained in fewer.

How many times as fast as eager torch, DeepEfficientNet at 224 px, one thread of an AMD EPYC, processor time:

                    1 image   8 images   32 images
    frozen torch       1.34       1.23        1.17
    onnx               1.71       1.63        1.36
    openvino           1.49       1.32        1.19
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from comp.errors import UserError

# A network gives logits (N, classes) of images (N, 3, H, W), channels last. Its feed makes those of bytes (N, H, W, 3):
# torch takes normalised floats; a graph that was exported takes the bytes, and normalises them itself.
Network = Callable[[torch.Tensor], torch.Tensor]
Feed = Callable[[torch.Tensor], torch.Tensor]


def torch_network(model: nn.Module, size: int, device: torch.device, precision: str) -> Network:
    """Frozen where that was measured to pay: on a CPU in 32 bits."""
    model.eval()
    return freeze(model, size) if device.type == "cpu" and precision == "fp32" else model


@torch.no_grad()
def freeze(model: nn.Module, size: int) -> Network:
    """The model traced into one graph, BatchNorm folded into its convolutions, in 0.3 s; or the model itself where that
    cannot be done or comes out different.

    Folding alone (torch.fx) gave 1.22, 1.15 and 1.15 where this gives 1.34, 1.23 and 1.17; optimize_for_inference made
    it slower than eager (0.92, 0.95, 0.84). On resnet18 it is 1.01 to 1.06, on mobilenetv4_conv_small at 128 px 1.68
    and 1.27, on vit_tiny 1.09."""
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0)).to(
        memory_format=torch.channels_last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have torch.compile: a minute at start, and nothing gained
        try:
            frozen = torch.jit.freeze(torch.jit.trace(model, images[:2], check_trace=False))
            apart = (frozen(images) - model(images)).abs().max()
        except Exception:  # whatever a model may do that a tracer cannot follow
            return model
    return frozen if apart <= 1e-4 * model(images).abs().max() else model


def bytes_feed(batch: torch.Tensor) -> torch.Tensor:
    """For a graph that was exported: only seen as (N, 3, H, W), so that views can turn the pictures."""
    return batch.permute(0, 3, 1, 2)


def onnx_network(graph: bytes) -> Network:
    with needs_extra("onnx"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3  # errors, no warnings
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: _rows_of_pixels(images)})[0])


def openvino_network(graph: bytes, weights: bytes) -> Network:
    """One graph takes every batch size; one compiled for each would be 2 to 8 % faster, and a second or two later."""
    with needs_extra("openvino"):
        import openvino
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph, weights), "CPU", {
        "INFERENCE_PRECISION_HINT": "f32",  # its own choice is bf16 where the processor has it: 1e-3 of the logits
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()})
    request = compiled.create_infer_request()
    return lambda images: torch.from_numpy(
        request.infer([_rows_of_pixels(images)], share_inputs=True)[compiled.output(0)].copy())


def openvino_graph(onnx_graph: bytes) -> tuple[bytes, bytes]:
    """The .xml and the .bin of OpenVINO, weights in 32 bits."""
    with needs_extra("openvino"):
        import openvino
    with tempfile.TemporaryDirectory() as folder:
        source, xml = Path(folder, "model.onnx"), Path(folder, "model.xml")
        source.write_bytes(onnx_graph)
        openvino.save_model(openvino.Core().read_model(source), xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()


@contextlib.contextmanager
def needs_extra(runtime: str) -> Iterator[None]:
    try:
        yield
    except ImportError as problem:
        raise UserError(f"{runtime} is not installed ({problem}); pip install 'comp[export]'") from None


def _rows_of_pixels(images: torch.Tensor):
    """(N, H, W, 3) without a copy, for `images` is laid out channels last."""
    return images.permute(0, 2, 3, 1).contiguous().numpy()
