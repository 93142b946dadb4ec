"""The graph of a trained network as a file: bytes of pictures in, logits out, so that nothing else need be known."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import torch
from torch import nn

from comp.engine.predict import normalise
from comp.engine.runtime import needs_extra
from comp.errors import UserError


class _FromPixels(nn.Module):
    """uint8 (N, size, size, 3) to logits: a user of the file cannot normalise with the wrong figures."""

    def __init__(self, model: nn.Module, mean: list[float], std: list[float]):
        super().__init__()
        self.model, self.mean, self.std = model, mean, std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(normalise(images, self.mean, self.std, images.device))


def onnx_graph(model: nn.Module, recipe: dict[str, Any]) -> bytes:
    """Any number of pictures `images`, RGB, to `logits`; the classes are in the file's own metadata.

    Made by torch's older exporter: 1.1 s for DeepEfficientNet, where the newer takes 18 s, two packages more, and puts
    the weights in a second file."""
    with needs_extra("onnx"):
        import onnx
    images = torch.zeros(2, recipe["size"], recipe["size"], 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older one, and what tracing fixes: parity is measured after
        try:
            # eval() of the whole: the exporter gives every part the mode of the whole back
            torch.onnx.export(_FromPixels(model, recipe["mean"], recipe["std"]).eval(), (images,), buffer, dynamo=False,
                              opset_version=17, input_names=["images"], output_names=["logits"],
                              dynamic_axes={"images": {0: "count"}, "logits": {0: "count"}})
        except Exception as problem:  # an operator that ONNX lacks, or whatever tracing makes of the model
            raise UserError(f"model {recipe['name']} cannot become an ONNX graph: "
                            f"{str(problem).strip().partition(chr(10))[0][:200]}; stay with --runtime torch") from None
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(graph, {"classes": json.dumps(recipe["classes"], ensure_ascii=False)})
    return graph.SerializeToString()
