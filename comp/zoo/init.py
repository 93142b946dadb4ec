"""Initial weights by name (`model.init`), for configs that do not keep a model's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

# he: the initialisation of PyTorch's examples; glorot: that of Keras
INITIALISERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "he": nn.init.kaiming_normal_,
    "glorot": nn.init.xavier_uniform_,
}
LAYER_TYPES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def initialise(model: nn.Module, method: str) -> None:
    """Initialise the weights of every convolution and dense layer, and zero their biases; `own` changes nothing."""
    if method == "own":
        return
    for layer in model.modules():
        if isinstance(layer, LAYER_TYPES):
            INITIALISERS[method](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
