"""Every model of the papers at its paper's image size, with the parameter count that the paper printed.

    for model in PAPER_MODELS:
        size = count_model_size(model.name, model.kwargs, model.image_size)
        print(model.name, size.trainable, compare_counts(model, size))

Karakus and Gupta printed Keras's counts, where the running statistics of a BatchNorm are parameters too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from comp.papers.model_sizes import ModelSize


@dataclass(frozen=True)
class PaperModel:
    """A registered model with the arguments and image size of a paper."""

    name: str
    kwargs: Mapping[str, Any]
    paper: str
    image_size: int
    reported: str = ""  # as printed; empty if the paper has no count
    count_kind: Literal["trainable", "keras"] = "trainable"  # what the printed count includes


def sharif(name: str, reported: str, **kwargs: Any) -> PaperModel:
    """Return a model of Sharif's paper: 224 px, trainable parameters."""
    return PaperModel(name, kwargs, "sharif", 224, reported)


def karakus(name: str, reported: str, image_size: int = 128) -> PaperModel:
    """Return a model of Karakus's paper: at 128 px by default, parameters counted as in Keras."""
    return PaperModel(name, {}, "karakus", image_size, reported, "keras")


def gupta(name: str, reported: str = "", **kwargs: Any) -> PaperModel:
    """Return a model of Gupta's paper: at 64 px, parameters counted as in Keras."""
    return PaperModel(name, kwargs, "gupta", 64, reported, "keras")


# layers, final_pool and dense of the 13 experiments in Gupta's table 2; only the fifth has BatchNorm
GUPTA_EXPERIMENTS = (
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
)


def gupta_experiments() -> Iterator[PaperModel]:
    """Yield the models of Gupta's table 2. It prints no counts; that of the fifth is in table 3."""
    for experiment, (layers, final_pool, dense) in enumerate(GUPTA_EXPERIMENTS, 1):
        yield gupta(
            "gupta_cnn",
            "8.78M" if experiment == 5 else "",
            layers=layers,
            final_pool=final_pool,
            bn=experiment == 5,
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
    karakus("karakus_baseline_cnn", "4.29M"),  # the paper has another row for it, trained with augmentation
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


def compare_counts(model: PaperModel, size: ModelSize) -> str:
    """Compare the printed count with ours: `exact`, `rounds to it`, `no: <our count>`, or `not reported`."""
    count = size.total if model.count_kind == "keras" else size.trainable
    if not model.reported:
        return "not reported"
    if not model.reported.endswith("M"):
        return "exact" if model.reported == f"{count:,}" else f"no: {count:,}"
    digits = len(model.reported.rstrip("M").partition(".")[2])
    rounded = f"{count / 1e6:.{digits}f}M"
    return "rounds to it" if model.reported == rounded else f"no: {rounded}"
