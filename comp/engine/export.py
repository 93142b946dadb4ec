"""A trained network leaves torch: as a graph from bytes of pictures to logits, and the proof that it says the same."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from comp.engine.predict import Network, NormalisedModel
from comp.engine.runtime import RUNTIME_LOADERS, make_torch_network, require_export_extra
from comp.errors import UserError
from comp.records.weights import ModelSpec

# Of the largest logit. Measured: up to 2e-6 on networks of this kit and of timm; 7e-4 when computed in bf16.
TOLERANCE = 1e-4


def build_network(runtime: str, model: nn.Module, spec: ModelSpec) -> Network:
    """Of a model in memory, on the CPU, nothing written."""
    if runtime == "torch":
        return make_torch_network(model, spec, torch.device("cpu"))
    return RUNTIME_LOADERS[runtime](*export_graph(runtime, model, spec))


def export_graph(runtime: str, model: nn.Module, spec: ModelSpec) -> tuple[bytes, ...]:
    """What the files of that runtime hold: an .onnx, or an .xml and a .bin."""
    graph = _onnx(model, spec)
    return (graph,) if runtime == "onnx" else _openvino(graph)


def _onnx(model: nn.Module, spec: ModelSpec) -> bytes:
    """Any number of pictures `images`, RGB, to `logits`; the classes are in the file's own metadata.

    Made by torch's older exporter: 1.1 s for DeepEfficientNet, where the newer takes 18 s, two packages more, and puts
    the weights in a second file."""
    with require_export_extra():
        import onnx
    images = torch.zeros(2, spec.size, spec.size, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older one, and what tracing fixes: parity is measured after
        try:
            # eval() of the whole: the exporter gives every part the mode of the whole back
            torch.onnx.export(
                NormalisedModel(model, spec.mean, spec.std).eval(),
                (images,),
                buffer,
                dynamo=False,
                opset_version=17,
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes={"images": {0: "count"}, "logits": {0: "count"}},
            )
        except Exception as problem:  # an operator that ONNX lacks, or whatever tracing makes of the model
            raise UserError(
                f"model {spec.name} cannot become an ONNX graph: "
                f"{str(problem).strip().partition(chr(10))[0][:200]}; stay with --runtime torch"
            ) from None
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(graph, {"classes": json.dumps(list(spec.classes), ensure_ascii=False)})
    return graph.SerializeToString()


def _openvino(onnx_graph: bytes) -> tuple[bytes, bytes]:
    """The .xml and the .bin, weights in 32 bits."""
    with require_export_extra():
        import openvino
    with tempfile.TemporaryDirectory() as folder:
        source, xml = Path(folder, "model.onnx"), Path(folder, "model.xml")
        source.write_bytes(onnx_graph)
        openvino.save_model(openvino.Core().read_model(source), xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()


@dataclass(frozen=True)
class Parity:
    images: int
    difference: float  # the largest between two logits
    largest: float  # logit of torch, without its sign
    agreeing: int  # images given the same class

    @property
    def holds(self) -> bool:
        return self.agreeing == self.images and self.difference <= TOLERANCE * self.largest  # False for NaN

    def __str__(self) -> str:
        return (
            f"logits differ by at most {self.difference:.1e} (the largest is {self.largest:.3g}), "
            f"argmax agrees on {self.agreeing} of {self.images} images"
        )


@torch.no_grad()
def check_parity(eager: Network, other: Network, images: torch.Tensor) -> Parity:
    """One image alone, then the others in batches, for a graph may have fixed the number it was drawn with."""
    parts = [images[:1], *images[1:].split(32)]
    ours, theirs = (torch.cat([network(part) for part in parts]) for network in (eager, other))
    return Parity(
        len(images),
        (ours - theirs).abs().max().item(),
        ours.abs().max().item(),
        int((ours.argmax(1) == theirs.argmax(1)).sum()),
    )
