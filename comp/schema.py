"""Every key of a config, with its type, range, default and meaning (docs/configuration.md is generated from it).

Types and ranges are checked here. A name (model, policy, optimiser) is checked by the package that owns it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from comp.records.source import DataSource
from comp.schema_data import Data, Folds
from comp.schema_types import Count, Fraction, NotNegative, PathText, Positive, Section, as_tuple
from comp.yaml12 import render_yaml


class Augment(Section):
    """Augmentation of the training images."""

    policy: str = "paper"
    """Name of the policy: `none`, `flips`, `d4`, `rotation`, `any_angle`, `stain`, `paper`, `heavy`, `karakus` or
    `gupta`."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """`cpu`: one image at a time, in the loader. `gpu`: whole batches on the device that trains (a CPU too). `auto`:
    `gpu` on CUDA, else `cpu`. A run keeps its choice."""
    oversample: str = "none"
    """Fill small classes up to the size of the largest: `smote` adds blends of neighbours, the name of a policy adds
    copies that this policy augments."""
    mixup: NotNegative = 0.0
    """Alpha of mixup's Beta distribution; 0: off."""
    cutmix: NotNegative = 0.0
    """Alpha of CutMix's Beta distribution; 0: off."""
    mix_off_epoch: Annotated[int, Field(ge=0)] = 0
    """Epoch from which mixup and CutMix are off; 0: never."""


class Model(Section):
    """The network. A config that sets `model.name` drops the `model.kwargs` of its parent."""

    name: str = "sharif_deep_efficientnet"
    """A model of the papers (`python -m comp zoo` lists them) or any timm model."""
    pretrained: bool = False
    """Start from the weights that timm downloads for this model. Check first whether the competition allows it."""
    weights: PathText | None = None
    """Start from this file instead, `.safetensors` or `.pth`: see [Pretrained weights](pretrained.md)."""
    dropout: Fraction | None = None
    """Dropout before the classifier; `null`: the model's own default."""
    drop_path: Fraction | None = None
    """Rate of stochastic depth; `null`: the model's own default."""
    init: Literal["own", "he", "glorot"] = "own"
    """Initial weights of convolutions and dense layers; `own`: the model's own initialisation."""
    kwargs: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it
    """More arguments of the model, passed to `timm.create_model`. An unknown one is an error."""


class Loss(Section):
    """The training loss."""

    name: Literal["cross_entropy", "focal", "smooth_l1", "mse", "mae"] = "cross_entropy"
    """Loss function. For tags and grades `cross_entropy` and `focal` are those of yes-or-no questions; numbers take
    `smooth_l1`, `mse` or `mae`."""
    label_smoothing: Fraction = 0.0
    """Share of the target that is spread over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: every class has the same total weight in the loss."""
    focal_gamma: NotNegative = 2.0
    """Exponent of the focal loss; 0 is cross-entropy."""


class Optim(Section):
    """The optimiser."""

    name: str = "adamw"
    """Any timm optimiser."""
    lr: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NotNegative = 1e-4
    """Weight decay."""
    decay_all: bool = False
    """`true`: biases and normalisation weights decay too."""
    momentum: Fraction = 0.9
    """Momentum, for optimisers that have one."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Factor of the learning rate from each layer to the one before it; `null`: the same rate for all layers."""
    clip: Positive | None = None
    """Limit for gradient clipping; `null`: no clipping."""
    clip_mode: Literal["norm", "value", "agc"] = "norm"
    """The clipped value: the norm of all gradients, each element, or each unit relative to its weights (`agc`)."""


class Schedule(Section):
    """The learning rate over time. It changes with every step, not only with every epoch."""

    name: Literal["cosine", "constant", "step", "exponential", "plateau"] = "cosine"
    """Shape of the schedule after the warm-up."""
    warmup_epochs: NotNegative = 0.0
    """Epochs of linear warm-up from zero; fractions are allowed."""
    min_lr: NotNegative = 1e-6
    """Lowest learning rate."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of each drop (`step`, `plateau`) or of each epoch (`exponential`)."""
    step_epochs: Count = 10
    """`step`: epochs between two drops."""
    patience: Count = 3
    """`plateau`: the learning rate drops after more than this many epochs without a lower validation loss."""


class Train(Section):
    """The training of each fold."""

    epochs: Count = 50
    """Epochs of training."""
    pretrain_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs of reconstruction before the classification, for models that can reconstruct."""
    freeze_epochs: Annotated[int, Field(ge=0)] = 0
    """First epochs, in which only the classifier is trained and the backbone keeps its initial weights."""
    batch: Count = 32
    """Batch size: images in a batch. Under torchrun it is the batch of all processes together."""
    accumulate: Count = 1
    """Batches that make one update together."""
    fit_memory: bool = False
    """On a GPU: halve `batch` and double `accumulate` until a training step fits into its memory. It is tried when the
    run begins, and the run keeps the result."""
    deterministic: bool = False
    """On a GPU: only algorithms that compute the same bits in every run, which are slower. A CPU always does."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of everything random. A list such as `0,1,2` trains one run per seed."""
    metric: str = "accuracy"
    """Score of the run: `accuracy`, `balanced_accuracy`, `macro_precision`, `macro_recall`, `macro_f1`,
    `macro_specificity`, `weighted_precision`, `weighted_recall`, `weighted_f1` or `log_loss`."""
    keep: Literal["last", "best"] = "last"
    """Epoch whose weights are kept. `best` is chosen on the images that score it, so its score is optimistic."""
    snapshots: Annotated[int, Field(ge=0)] = 0
    """Number of last epochs whose weights are stored as well, for `python -m comp soup`."""
    patience: Count | None = None
    """Stop after this many epochs without a better one; `null`: never."""
    monitor: Literal["score", "loss"] = "score"
    """Validation value by which `patience` and `keep: best` compare epochs."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the moving average of the weights. It rises to this value as 1 - (1 + n)^(-2/3): 0.99 after 1,000
    updates. `null`: no average."""
    balanced: bool = False
    """Draw every class equally often."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the training. `auto`: on a GPU bf16, or fp16 where it has no bf16; on a CPU fp32 or bf16,
    whichever is faster in a few timed steps."""
    cuda_graph: Literal["off", "auto", "on"] = "off"
    """Replay each step from a CUDA graph, so that a fast GPU does not wait for the CPU. `auto`: where possible (one
    process, no accumulation, no frozen start, a fused optimiser); `on`: an error elsewhere. No GPU has tried it."""
    init: str | None = None
    """Name of a run to start from: fold k starts from its fold k."""
    save_every: NotNegative = 60.0
    """Seconds between two saves during an epoch."""


class Teacher(Section):
    """Learning from finished runs on the same split ([Training](training.md#learn-from-a-teacher))."""

    runs: list[str] = []  # noqa: RUF012  pydantic copies it
    """Names of the teachers, such as `[a, b]`. Fold k learns from the mean of their fold-k models."""
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the teachers in the target of a training image; the rest is its label."""
    temperature: Positive = 1.0
    """Above 1 the teachers' probabilities are softer, below 1 sharper."""
    tta: Literal["none", "flips", "d4"] = "none"
    """Views that each teacher averages: 1, 4 (flips) or 8 (flips and quarter turns)."""
    test_images: bool = False
    """Train on the test images too: their target is the teachers' probabilities. Check first whether the rules allow
    it."""
    min_confidence: Fraction = 0.0
    """Only the test images whose highest probability is at least this."""


class SimClr(Section):
    """Pretraining without labels, by `python -m comp pretrain` ([Training](training.md#pretrain-without-labels))."""

    temperature: Positive = 0.2
    """Temperature of the loss: lower repels the most similar images more."""
    projection: Count = 128
    """Numbers per view that the loss compares."""
    test_images: bool = False
    """Use the test images too. Check first whether the rules allow it."""


class Infer(Section):
    """Prediction."""

    tta: Literal["none", "flips", "d4"] = "none"
    """Views that `infer.py` averages by default: 1, 4 (flips) or 8 (flips and quarter turns)."""


class Submit(Section):
    """The competition that the submissions are for."""

    ledger: PathText = "submissions/ledger.csv"
    """The CSV that records every submission written, sent and scored."""
    sample: PathText | None = None
    """The sample submission below `data.root`; `null`: `sample_submission.csv` or `.json`."""
    answer: Annotated[str, Field(pattern="^(label|probability|number|tags|best:[1-9][0-9]?)$")] | None = None
    """Content of a row of the submission: `label`, `probability` (of the second class), `number`, `tags` or `best:5`
    (the five best classes). `null`: what task and metric ask for."""
    kaggle: str | None = None
    """Name of the competition on Kaggle: the last part of its URL."""
    per_day: Count = 5
    """Submissions that the competition accepts per day (UTC)."""
    public_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the test images that the public score is computed on."""


class Log(Section):
    """Weights & Biases, and TensorBoard."""

    wandb: Literal["off", "offline", "online", "auto"] = "auto"
    """`auto`: online where a key is set, else off. Nothing ever prompts."""
    project: str | None = None
    """Name of the W&B project; `null`: the dataset's name."""
    tensorboard: bool = False
    """Write event files too, for `tensorboard --logdir runs`. Needs the extra `tensorboard`."""


class Config(Section):
    """All choices of one run."""

    name: str
    """Name of the run: the path of the config below `configs/` and the overrides, or `--name`."""
    data: Data = Data()
    folds: Folds = Folds()
    augment: Augment = Augment()
    model: Model = Model()
    loss: Loss = Loss()
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    train: Train = Train()
    teacher: Teacher = Teacher()
    simclr: SimClr = SimClr()
    infer: Infer = Infer()
    submit: Submit = Submit()
    log: Log = Log()

    @property
    def source(self) -> DataSource:
        """The keys that say where images, labels and the sample are, and what is asked of them."""
        data = self.data
        return DataSource(
            root=data.root,
            labels=data.labels,
            image=data.image,
            label=as_tuple(data.label),
            separator=data.separator,
            group=data.group,
            train=as_tuple(data.train),
            test=as_tuple(data.test),
            ids=data.ids,
            row=as_tuple(data.row),
            pool=data.pool,
            allow_missing=data.allow_missing,
            task=data.task,
            positive=as_tuple(data.positive),
            sample=self.submit.sample,
            answer=self.submit.answer,
            metric=self.train.metric,
        )

    @property
    def dataset(self) -> str:
        return Path(self.data.root).name

    @property
    def folds_file(self) -> Path:
        return Path(self.folds.file or f"folds/{self.dataset}.csv")

    def identity(self) -> dict[str, Any]:
        """Return the flat keys that identify a run: all but those of logging, saving, loading and submitting."""
        flat = flatten(self.model_dump(exclude={"name", "log", "infer", "submit"}))
        # data.allow_missing: the list of images is hashed
        left_out = {"data.workers", "data.allow_missing", "train.save_every", "train.cuda_graph"}
        return {key: value for key, value in flat.items() if key not in left_out}

    def to_yaml(self) -> str:
        return render_yaml(self.model_dump())


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested maps: `{"optim": {"lr": 1}}` -> `{"optim.lr": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat
