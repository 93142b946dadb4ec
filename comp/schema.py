"""A run's every choice, typed: the whole vocabulary of a config, with its defaults.

Types and ranges are checked here. A name (model, policy, optimiser) is checked by the room that owns it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from comp.yaml12 import render_yaml

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    root: str = "input/blood-cells"                     # its last part is the dataset's name
    size: Annotated[int, Field(ge=8)] = 224             # side of the square the model sees
    crop: Count | None = None                           # centre crop in source pixels, before anything else
    fit: Literal["squash", "crop", "pad"] = "squash"
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"


class Folds(Section):
    k: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0)] = 42
    file: str | None = None                             # default: folds/<dataset>.csv


class Augment(Section):
    policy: str = "paper"
    device: Literal["auto", "cpu", "gpu"] = "auto"      # gpu: whole batches at once, wherever the training runs
    oversample: str = "none"                            # fill small classes up: smote, or a policy for added copies
    mixup: NotNegative = 0.0                            # alpha of the Beta distribution; 0 is off
    cutmix: NotNegative = 0.0
    mix_off_epoch: Annotated[int, Field(ge=0)] = 0      # from this epoch on images stay whole; 0 is never


class Model(Section):
    name: str = "sharif_deep_efficientnet"
    pretrained: bool = False
    dropout: Fraction | None = None                     # None: the model's own default
    drop_path: Fraction | None = None
    init: Literal["own", "he", "glorot"] = "own"        # of convolutions and dense layers; own: as the model says
    kwargs: dict[str, Any] = {}                         # the only free map; timm refuses what it does not know


class Loss(Section):
    name: Literal["cross_entropy", "focal"] = "cross_entropy"
    label_smoothing: Fraction = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    focal_gamma: NotNegative = 2.0


class Optim(Section):
    name: str = "adamw"                                 # any timm optimiser
    lr: Positive = 1e-3
    weight_decay: NotNegative = 1e-4
    decay_all: bool = False                             # true: biases and norms decay too
    momentum: Fraction = 0.9
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    clip: Positive | None = None
    clip_mode: Literal["norm", "value", "agc"] = "norm"


class Schedule(Section):
    name: Literal["cosine", "constant", "step", "exponential", "plateau"] = "cosine"
    warmup_epochs: NotNegative = 0.0
    min_lr: NotNegative = 1e-6
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1    # the factor of each drop; exponential: of each epoch
    step_epochs: Count = 10                             # step: epochs between drops
    patience: Count = 3                                 # plateau: epochs without a lower validation loss


class Train(Section):
    epochs: Count = 50
    pretrain_epochs: Annotated[int, Field(ge=0)] = 0    # of reconstruction before, for models that can
    batch: Count = 32
    accumulate: Count = 1
    seed: Annotated[int, Field(ge=0)] = 42              # `0,1,2` makes sibling runs
    metric: str = "accuracy"
    keep: Literal["last", "best"] = "last"
    snapshots: Annotated[int, Field(ge=0)] = 0          # of how many last epochs weights are kept, for a soup
    patience: Count | None = None                       # stop after so many epochs without a better one
    monitor: Literal["score", "loss"] = "score"         # what makes an epoch better, for patience and keep: best
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None   # rises to it as 1-(1+n)^-2/3: .99 after 1,000 updates
    balanced: bool = False                              # draw every class equally often
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    init: str | None = None                             # start fold k from fold k of this run
    save_every: NotNegative = 60.0                      # seconds between saves


class Infer(Section):
    tta: Literal["none", "flips", "d4"] = "none"


class Submit(Section):
    ledger: str = "submissions/ledger.csv"              # every file written, sent and scored
    kaggle: str | None = None                           # the competition's name in its address there
    per_day: Count = 5                                  # files the competition takes in a day (UTC)
    public_share: Annotated[float, Field(gt=0, le=1)] = 1.0   # of the test images that the public score is of


class Log(Section):
    wandb: Literal["off", "offline", "online", "auto"] = "auto"
    project: str | None = None                          # default: the dataset's name


class Config(Section):
    name: str
    data: Data = Data()
    folds: Folds = Folds()
    augment: Augment = Augment()
    model: Model = Model()
    loss: Loss = Loss()
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    train: Train = Train()
    infer: Infer = Infer()
    submit: Submit = Submit()
    log: Log = Log()

    @property
    def dataset(self) -> str:
        return Path(self.data.root).name

    @property
    def folds_file(self) -> Path:
        return Path(self.folds.file or f"folds/{self.dataset}.csv")

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same run, flat: everything but how it is logged, saved, loaded, read out or sent."""
        flat = flatten(self.model_dump(exclude={"name", "log", "infer", "submit"}))
        return {key: value for key, value in flat.items() if key not in ("data.workers", "train.save_every")}

    def to_yaml(self) -> str:
        return render_yaml(self.model_dump())


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"optim": {"lr": 1}}` -> `{"optim.lr": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat
