"""Every model of the papers, at its paper's size, and how the count printed there compares with ours.

    for entry in ENTRIES: counted = count(entry); print(entry.name, counted.trainable, matches(entry, counted))

Karakus and Gupta read their counts off Keras, where the running statistics of a BatchNorm are parameters too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from comp.zoo.registry import takes_img_size

CLASSES = 8


@dataclass(frozen=True)
class PaperModel:
    name: str
    kwargs: Mapping[str, Any]
    paper: str
    size: int
    reported: str = ""  # as printed
    counted: Literal["trainable", "keras"] = "trainable"  # what that is a count of


@dataclass(frozen=True)
class ModelSize:
    trainable: int
    frozen: int
    statistics: int  # running means and variances
    macs: int  # multiply-adds of convolutions and dense layers, one image

    @property
    def total(self) -> int:
        """What Keras calls total parameters."""
        return self.trainable + self.frozen + self.statistics

    @property
    def weights_mib(self) -> float:
        return self.total * 4 / 2**20


def sharif(name: str, reported: str, **kwargs) -> PaperModel:
    return PaperModel(name, kwargs, "sharif", 224, reported)


def karakus(name: str, reported: str, size: int = 128) -> PaperModel:
    return PaperModel(name, {}, "karakus", size, reported, "keras")


def gupta(name: str, reported: str = "", **kwargs) -> PaperModel:
    return PaperModel(name, kwargs, "gupta", 64, reported, "keras")


def gupta_experiments() -> Iterator[PaperModel]:
    """The 13 of table 2, which prints no counts; that of the fifth stands in table 3."""
    table = [
        (3, False, 0),
        (3, True, 0),
        (4, False, 0),
        (4, True, 0),
        (4, True, 0),
        (3, False, 128),
        (3, False, 256),
        (3, True, 128),
        (3, True, 256),
        (4, False, 128),
        (4, False, 256),
        (4, True, 128),
        (4, True, 256),
    ]
    for number, (layers, final_pool, dense) in enumerate(table, 1):
        yield gupta(
            "gupta_cnn",
            "8.78M" if number == 5 else "",
            layers=layers,
            final_pool=final_pool,
            bn=number == 5,
            dense=dense,
        )


PAPER_MODELS = (
    sharif("sharif_simple_cnn", "26.08M"),
    sharif("resnet18", "11.18M"),
    sharif("sharif_efficientnet_lite", "0.55M"),
    sharif("sharif_deep_efficientnet", "1,840,228"),
    sharif("sharif_deep_efficientnet", "", se=False),
    sharif("sharif_deep_efficientnet_text", "1,840,228"),
    karakus("karakus_baseline_cnn", "4.29M", 64),
    karakus("karakus_baseline_cnn", "4.29M"),  # with augmentation it is a row of its own in the paper, not a model
    karakus("karakus_unet_encoder", "2.19M"),
    karakus("karakus_inception_cnn", "0.04M"),
    karakus("karakus_skip_cnn", "0.31M"),
    karakus("karakus_inception_skip_cnn", "0.05M"),
    PaperModel("pinto_cnn", {}, "pinto", 28, "422,344"),
    PaperModel("pinto_mlnn", {"hidden_layers": 1}, "pinto", 28),
    *gupta_experiments(),
    gupta("gupta_vgg8_convs", "1.21M"),
    gupta("gupta_vgg8"),
    gupta("gupta_vgg12"),
    gupta("gupta_vgg15"),
    gupta("gupta_vgg18"),
    gupta("gupta_inception", "15.59M"),
    gupta("gupta_resnet34", "21.31M"),
    gupta("gupta_autoclassifier", "2.25M"),
    gupta("gupta_se_cnn", "0.46M"),
    gupta("gupta_sa_cnn", "0.42M"),
    gupta("gupta_cbam_cnn", "0.47M"),
    gupta("gupta_se_vgg15", "7.27M"),
    gupta("gupta_sa_vgg15", "7.10M"),
    gupta("gupta_cbam_vgg15", "7.27M"),
)


def build_on_meta(entry: PaperModel) -> nn.Module:
    """Shapes without numbers: the largest of Gupta's experiments would be 1 GiB."""
    kwargs = {"img_size": entry.size, **entry.kwargs} if takes_img_size(entry.name) else entry.kwargs
    with torch.device("meta"):
        return timm.create_model(entry.name, num_classes=CLASSES, **kwargs)


@torch.no_grad()
def count_model_size(entry: PaperModel) -> ModelSize:
    model = build_on_meta(entry).eval()
    with FlopCounterMode(display=False) as flops:
        model(torch.zeros(1, 3, entry.size, entry.size, device="meta"))
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    statistics = sum(buffer.numel() for name, buffer in model.named_buffers() if ".running_" in name)
    return ModelSize(sizes[True], sizes[False], statistics, flops.get_total_flops() // 2)


def compare_counts(entry: PaperModel, counted: ModelSize) -> str:
    """`exact`, `rounds to it`, `no: what it is`, or `not reported`."""
    ours = counted.total if entry.counted == "keras" else counted.trainable
    if not entry.reported:
        return "not reported"
    if not entry.reported.endswith("M"):
        return "exact" if entry.reported == f"{ours:,}" else f"no: {ours:,}"
    digits = len(entry.reported.rstrip("M").partition(".")[2])
    rounded = f"{ours / 1e6:.{digits}f}M"
    return "rounds to it" if entry.reported == rounded else f"no: {rounded}"
