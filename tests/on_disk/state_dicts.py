"""List the state dict keys of every registered model of the papers: they are names in weights.pt."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import groupby

import timm
import torch

MODELS = {  # with the arguments that add keys
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


def describe_models() -> Iterator[str]:
    """Yield a line per model and, below it, one per module: `module: parameter parameter ...`, in their order."""
    for name, kwargs in MODELS.items():
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # initialising does nothing there
            keys = timm.create_model(name, num_classes=8, **kwargs).state_dict()
        yield f"{name} {kwargs or ''}".rstrip()
        for module, module_keys in groupby(keys, key=lambda key: key.rpartition(".")[0]):
            yield f"  {module}: {' '.join(key.rpartition('.')[2] for key in module_keys)}"


if __name__ == "__main__":
    import comp.zoo  # noqa: F401  registers the models at bb2c827

    print(*describe_models(), sep="\n")
