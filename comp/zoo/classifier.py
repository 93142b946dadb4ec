"""The last layer of a model, its classifier, and everything before it, its backbone."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def classifier_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that timm's `get_classifier` names: one, two of a distilled model, none of a model without."""
    get_classifier = getattr(model, "get_classifier", None)
    classifier = get_classifier() if get_classifier else ()
    layers = classifier if isinstance(classifier, list | tuple) else [classifier]
    return [layer for layer in layers if isinstance(layer, nn.Module)]


def backbone_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module outside the classifier with its name, the model itself included."""
    classifier = {id(module) for layer in classifier_layers(model) for module in layer.modules()}
    for name, module in model.named_modules():
        if id(module) not in classifier:
            yield name, module


def backbone_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters outside the classifier by name."""
    return {
        f"{layer}.{name}" if layer else name: parameter
        for layer, module in backbone_layers(model)
        for name, parameter in module.named_parameters(recurse=False)
    }
