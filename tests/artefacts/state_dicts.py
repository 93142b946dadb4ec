"""The keys of every registered model's state dict, as `made` by timm on no device: names in every weights.pt."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from itertools import groupby

import timm
import torch

# the arguments that add keys
MODELS = {
    "gupta_autoclassifier": {},
    "gupta_cbam_cnn": {},
    "gupta_cbam_vgg15": {},
    "gupta_cnn": {"dense": 8},
    "gupta_inception": {},
    "gupta_resnet34": {},
    "gupta_sa_cnn": {},
    "gupta_sa_vgg15": {},
    "gupta_se_cnn": {},
    "gupta_se_vgg15": {},
    "gupta_vgg12": {},
    "gupta_vgg15": {},
    "gupta_vgg18": {},
    "gupta_vgg8": {},
    "gupta_vgg8_convs": {},
    "karakus_baseline_cnn": {},
    "karakus_inception_cnn": {},
    "karakus_inception_skip_cnn": {},
    "karakus_skip_cnn": {},
    "karakus_unet_encoder": {},
    "pinto_cnn": {},
    "pinto_mlnn": {"hidden_layers": 2},
    "sharif_deep_efficientnet": {},
    "sharif_deep_efficientnet_text": {},
    "sharif_efficientnet_lite": {},
    "sharif_simple_cnn": {},
}


def keys_of(name: str) -> Iterator[str]:
    """`module: parameter parameter ...` for each module of a model, in the order of its state dict."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = timm.create_model(name, num_classes=8, **MODELS[name]).state_dict()
    for module, keys in groupby(state, key=lambda key: key.rpartition(".")[0]):
        yield f"{module}: {' '.join(key.rpartition('.')[2] for key in keys)}"


def lines(names: Iterable[str] = MODELS) -> Iterator[str]:
    for name in names:
        yield f"{name} {MODELS[name] or ''}".rstrip()
        yield from (f"  {line}" for line in keys_of(name))


if __name__ == "__main__":
    import comp.zoo  # noqa: F401  registers the models

    print(*lines(), sep="\n")
