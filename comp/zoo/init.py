"""Starting weights by name, for recipes that ask for others than a model's own."""

from __future__ import annotations

from torch import nn

INITIALISERS = {
    "he": nn.init.kaiming_normal_,
    "glorot": nn.init.xavier_uniform_,
}  # as PyTorch's and Keras's examples do
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def initialise(model: nn.Module, how: str) -> None:
    """Draw every convolution's and dense layer's weights anew and zero their biases; `own` leaves all as it is."""
    if how == "own":
        return
    for layer in model.modules():
        if isinstance(layer, LAYERS):
            INITIALISERS[how](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
