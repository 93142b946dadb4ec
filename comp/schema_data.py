"""The config keys of a dataset: its files, labels and split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from comp.schema_types import MAX_WORKERS, Count, PathText, Section, Seed, check_root


class Data(Section):
    """The images and how each becomes a square."""

    root: Annotated[PathText, AfterValidator(check_root)] = "input/blood-cells"
    """Directory of the dataset. Its last part is the dataset's name."""
    labels: PathText | None = None
    """Source of the labels, below `root`: `null` for a folder per class; a CSV; a COCO JSON; or a pattern of file names
    such as `{label}.*.jpg`."""
    image: str | None = None
    """Column of the CSV that names the image, with or without its suffix; `null`: the first column."""
    label: str | list[str] | None = None
    """Column of the label; a list of columns of 0 and 1; `null`: the second column."""
    separator: str | None = None
    """Text between the tags of a label, such as a space; `null`: a label is one value."""
    group: str | None = None
    """Column whose equal values share a fold, such as a patient; duplicates share one anyway. For class folders
    `{name}`: images of one name share a fold."""
    train: str | list[str] | None = None
    """Folders of the training images below `root`; `null`: `train`. `.` is `root` itself."""
    test: str | list[str] | None = None
    """Folders of the test images below `root`; `null`: `test`. Labelled images are never test images."""
    ids: PathText | None = None
    """A CSV (or `test.csv:column`) or JSON from the sample's ids to images; `null`: ids are names of images."""
    row: str | list[str] | None = None
    """Columns whose values, joined by `_`, name the row of a submission that an image is of, such as a patient and a
    side. Scores are then by row, and the images of a row share a fold. `null`: each image is a row."""
    pool: Literal["mean", "max"] = "mean"
    """The predictions of a row with several images: the mean or the maximum of theirs."""
    allow_missing: bool = False
    """`true`: leave out rows of the table without an image file and images without a row, and write the baseline for
    ids of the sample without an image; each is counted in a line. `false`: they are errors."""
    task: Literal["single", "binary", "multilabel", "ordinal", "regression"] = "single"
    """Kind of target: one of several classes, yes or no, any number of tags, a grade, or a number."""
    positive: str | list[str] | None = None
    """`binary`: the labels that mean yes; `null`: the second of the two in alphabetical order."""
    size: Annotated[int, Field(ge=8)] = 224
    """Side of the square that the model receives, in pixels."""
    crop: Count | None = None
    """Side of a centre crop in source pixels, taken before anything else; `null`: no crop."""
    fit: Literal["squash", "crop", "pad"] = "squash"
    """The way to a square: `squash` stretches the image, `crop` keeps its centre, `pad` mirrors its border."""
    workers: Annotated[int, Field(ge=0, le=MAX_WORKERS)] | Literal["auto"] = "auto"
    """Worker processes of the loader. `auto` chooses for the device. The number changes no result."""


class Folds(Section):
    """The split that the whole team shares (see [Data](data.md))."""

    k: Annotated[int, Field(ge=2)] = 5
    """Number of folds."""
    seed: Seed = 42
    """Seed of the split."""
    file: PathText | None = None
    """The CSV that holds the split; `null`: `folds/<dataset>.csv`."""
    allow_split_groups: bool = False
    """`true`: accept a split that has copies of one image in several folds. Scores may then be too high, and say so."""
