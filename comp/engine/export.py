"""Export a trained network to ONNX or OpenVINO, as a graph from uint8 images to logits, and check its parity."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from comp.engine.predict import Network, NormalisedModel
from comp.engine.runtime import RUNTIME_LOADERS, make_torch_network
from comp.errors import UserError, require_extra
from comp.records.weights import ModelSpec
from comp.temporary import temporary_directory

# Relative to the largest logit. Measured: up to 2e-6 on networks of this kit and of timm; 7e-4 when run in bf16.
TOLERANCES = {"onnx": 1e-4, "openvino": 1e-4, "openvino-bf16": 1e-2}


def build_network(runtime: str, model: nn.Module, spec: ModelSpec) -> Network:
    """Return a model in memory as a network of this runtime, on the CPU; no file is written."""
    if runtime == "torch":
        return make_torch_network(model, spec, torch.device("cpu"))
    return RUNTIME_LOADERS[runtime](*export_graph(runtime, model, spec))


def export_graph(runtime: str, model: nn.Module, spec: ModelSpec) -> tuple[bytes, ...]:
    """Return the contents of the runtime's files: an .onnx, or an .xml and a .bin."""
    network = NormalisedModel(model, spec.mean, spec.std)
    graph = to_onnx(network, spec.name, spec.size, "logits", {"classes": list(spec.classes)})
    return (graph,) if runtime == "onnx" else _openvino(graph)


def to_onnx(
    network: nn.Module, name: str, size: int, output: str, metadata: Mapping[str, object], count_axis: int = 0
) -> bytes:
    """Return an ONNX graph from any number of RGB `images` to `output`, which has them along `count_axis`.

    torch's older exporter makes it: 1.1 s for DeepEfficientNet. The newer takes 18 s and two more packages, and puts
    the weights in a second file.
    """
    with require_extra("export"):
        import onnx
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the older exporter and of tracing; parity is measured later
        try:
            # eval() of the outer module: the exporter copies its mode to every submodule
            torch.onnx.export(
                network.eval(),
                (images,),
                buffer,  # type: ignore[arg-type]  # the older exporter writes to any file object
                dynamo=False,
                opset_version=17,
                input_names=["images"],
                output_names=[output],
                dynamic_axes={"images": {0: "count"}, output: {count_axis: "count"}},
            )
        except Exception as error:  # an operator that ONNX lacks, or any failure of tracing
            raise UserError(
                f"model {name} cannot be exported to ONNX: "
                f"{str(error).strip().partition(chr(10))[0][:200]}; use --runtime torch"
            ) from None
    graph = onnx.load_from_string(buffer.getvalue())
    props = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    onnx.helper.set_model_props(graph, props)
    return graph.SerializeToString()


def _openvino(onnx_graph: bytes) -> tuple[bytes, bytes]:
    """Return the .xml and the .bin, with weights in 32 bits."""
    with require_extra("export"):
        import openvino
    with temporary_directory("export") as directory:
        onnx_path, xml_path = directory / "model.onnx", directory / "model.xml"
        onnx_path.write_bytes(onnx_graph)
        openvino.save_model(openvino.Core().read_model(onnx_path), xml_path, compress_to_fp16=False)
        return xml_path.read_bytes(), xml_path.with_suffix(".bin").read_bytes()


@dataclass(frozen=True)
class Parity:
    """The agreement of two networks on a sample of images."""

    images: int
    max_difference: float  # between two logits
    max_logit: float  # absolute value, of torch
    same_class_count: int  # images whose largest logit is the same class
    tolerance: float  # largest difference that passes, relative to the largest logit

    @property
    def passed(self) -> bool:
        """Return whether every class agrees and all logits are within the tolerance."""
        return (
            self.same_class_count == self.images and self.max_difference <= self.tolerance * self.max_logit
        )  # not for NaN

    def __str__(self) -> str:
        return (
            f"logits differ by at most {self.max_difference:.1e} (the largest is {self.max_logit:.3g}), "
            f"argmax agrees on {self.same_class_count} of {self.images} images"
        )


@torch.no_grad()
def check_parity(eager: Network, other: Network, images: torch.Tensor, tolerance: float) -> Parity:
    """Compare the logits of two networks, for batches of one and of more images.

    Both, because an exported graph may work only for the batch size that it was traced with.
    """
    batches = [images[:1], *images[1:].split(32)]
    expected, logits = (torch.cat([network(batch) for batch in batches]) for network in (eager, other))
    return Parity(
        len(images),
        (expected - logits).abs().max().item(),
        expected.abs().max().item(),
        int((expected.argmax(1) == logits.argmax(1)).sum()),
        tolerance,
    )
