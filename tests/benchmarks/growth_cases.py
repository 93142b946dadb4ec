"""The cases of growth_table.py, each at a number of images: what is prepared untimed, and the call that is measured.

Images of 32 px are drawn; of the files, few are distinct. Files are beside the working directory, for all cases; what
else is written is inside it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Call = Callable[[], Any]
DISTINCT = 64  # images of the files of a dataset
CLASSES = 8
REPOSITORY = Path(__file__).parents[2]
MODULES = (  # imported before anything is measured
    "comp.batches.gallery",
    "comp.batches.loader",
    "comp.data.check",
    "comp.data.folds",
    "comp.data.groups",
    "comp.ensemble.crossfit",
    "comp.ensemble.greedy",
    "comp.submit.status",
    "comp.study.leaderboard.ranking",
)


def draw_thumbnails(count: int) -> np.ndarray:
    """Return smooth random squares (count, 32, 32, 3) with some grain, no two alike."""
    rng = np.random.default_rng(0)
    squares = [
        cv2.resize(rng.integers(20, 236, (9, 9, 3), np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)
        for _ in range(count)
    ]
    return (np.stack(squares) + rng.normal(0, 4, (count, 32, 32, 3))).clip(0, 255).astype(np.uint8)


def draw_survey(count: int, classes: int = CLASSES) -> Any:
    """Return the statistics of `count` different training images."""
    from comp.data.image_stats import Survey
    from comp.data.scan import Image

    thumbnails = draw_thumbnails(count)
    rng = np.random.default_rng(1)
    names = [f"{number:06}.jpg" for number in range(count)]
    images = tuple(Image(name, Path(name), f"c{row % classes:03}") for row, name in enumerate(names))
    widths, heights = rng.integers(60, 64, (2, count))
    qualities = rng.integers(80, 96, count).astype(float)
    colours = thumbnails.mean((1, 2), dtype=np.float32)
    return Survey(images, widths, heights, qualities, colours, np.array(names), thumbnails, (), ("",) * count)


def write_dataset(count: int, classes: int = CLASSES) -> Any:
    """Write a dataset of `count` small files, if an earlier case did not, and return it."""
    from comp.data.scan import scan

    root = Path(f"../drawn-{count}-{classes}")
    if root.exists():
        return scan(root)
    contents = [cv2.imencode(".png", square)[1].tobytes() for square in draw_thumbnails(DISTINCT)]
    for label in range(classes):
        (root / "train" / f"c{label:03}").mkdir(parents=True)
    for row in range(count):
        (root / "train" / f"c{row % classes:03}" / f"{row:06}.png").write_bytes(contents[row % DISTINCT])
    return scan(root)


def draw_predictions(images: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities, the true class first in three of four images."""
    rng = np.random.default_rng(seed)
    targets = np.arange(images) % classes
    probabilities = rng.random((images, classes), np.float32)
    probabilities[np.arange(images), targets] += np.float32(0.9)
    return targets, probabilities / probabilities.sum(1, keepdims=True)


def scan_files(size: int) -> Call:
    from comp.data.scan import scan

    root = write_dataset(size).root
    return lambda: scan(root)


def cache_key(size: int) -> Call:
    from comp.data.cache import cache_key
    from comp.data.images import SquareSpec

    images = write_dataset(size).train
    return lambda: cache_key(images, SquareSpec(32, "squash", None))


def survey_files(size: int) -> Call:
    from comp.data.image_stats import survey

    images = write_dataset(size).train
    return lambda: survey(images)


def duplicates(size: int) -> Call:
    from comp.data.duplicates import find_duplicates

    survey = draw_survey(size)
    return lambda: find_duplicates(survey)


def confounds(classes: int) -> Callable[[int], Call]:
    def prepare(size: int) -> Call:
        from comp.data.confounds import find_confounds

        survey = draw_survey(size, classes)
        return lambda: find_confounds(survey)

    return prepare


def interval(metric: str) -> Callable[[int], Call]:
    def prepare(size: int) -> Call:
        from comp.stats import bootstrap_interval

        targets, probabilities = draw_predictions(size, 1000, 0)
        return lambda: bootstrap_interval(metric, targets, probabilities)

    return prepare


def paired(metric: str) -> Callable[[int], Call]:
    def prepare(size: int) -> Call:
        from comp.stats import compare_predictions

        targets, a = draw_predictions(size, 1000, 0)
        b = draw_predictions(size, 1000, 1)[1]
        return lambda: compare_predictions(metric, targets, a, b)

    return prepare


def epoch_order(size: int) -> Call:
    from comp.batches.loader import TrainingSet

    train_set = TrainingSet(
        None,  # type: ignore[arg-type]  # no image is read
        np.arange(size),
        np.arange(size) % CLASSES,
        32,
        32,
        None,  # type: ignore[arg-type]
        (0, 0),
        balanced=True,
    )
    return lambda: [train_set.plan_step(step) for step in range(train_set.steps_per_epoch)]


def folds_after_check(size: int) -> Call:
    from comp.data.cache import stats_file
    from comp.data.groups import find_groups
    from comp.data.image_stats import survey

    dataset = write_dataset(size)
    time.sleep(3)  # until the files can be recognised by their times
    survey(dataset.train, kept=stats_file(dataset))
    return lambda: find_groups(dataset)


def folds(size: int) -> Call:
    from comp.data.folds import make_folds

    dataset = write_dataset(size)
    groups = {image.id: image.id for image in dataset.train}
    return lambda: make_folds(dataset, groups, 5, 0)


def gallery(size: int) -> Call:
    from comp.batches.gallery import draw_gallery
    from comp.data.images import SquareSpec

    dataset = write_dataset(size, classes=size // 50)
    return lambda: draw_gallery(dataset, "paper", "auto", SquareSpec(32, "squash", None), 32, 4, 0)


def submit_status(size: int) -> Call:
    from comp import config
    from comp.submit.ledger_lines import HEADER
    from comp.submit.status import status

    lines = [
        f"s{row // 2},2026-01-{1 + row * 27 // size:02}T{row % 24:02}:{row % 60:02}:00+00:00,"
        f"{('written', 'sent')[row % 2]},drawn-64-8,submissions/s{row // 2}.csv,{row // 2:064x},m,accuracy,"
        f"{0.9 + row / size / 20:.6f},0.8,0.99,{0.88 + row * 7 % 1000 / 20000 if row % 2 else ''},,"
        for row in range(size)
    ]
    Path("submissions").mkdir()
    Path("submissions/ledger.csv").write_text("\n".join([HEADER, *lines, ""]))
    root = write_dataset(64).root
    settings = config.load(
        REPOSITORY / "configs/demo.yaml", [f"data.root={root}", "submit.ledger=submissions/ledger.csv"]
    )[0]
    return lambda: status(settings).to_text()


def leaderboard(size: int) -> Call:
    from comp.prediction_file import write_predictions
    from comp.study.leaderboard.entries import read_entries
    from comp.study.leaderboard.ranking import group_entries
    from comp.study.leaderboard.table import render
    from tests.study import test_leaderboard as example

    first = example.write_run("r00000", example.oof(9))
    directory = first / "predictions/identity"
    (directory / "oof.csv").unlink()
    write_predictions(directory / "oof.npz", example.oof(9), example.CLASSES)
    for run in range(1, size // 50):
        shutil.copytree(first, first.with_name(f"r{run:05}"))
    return lambda: render(group_entries(read_entries()[0]))


def greedy(metric: str) -> Callable[[int], Call]:
    def prepare(size: int) -> Call:
        from comp.ensemble.greedy import fit_greedy_weights
        from comp.tasks import single_label

        targets = draw_predictions(size, CLASSES, 0)[0]
        predictions = np.stack([draw_predictions(size, CLASSES, seed)[1] for seed in range(20)])
        task = single_label(tuple(f"c{label}" for label in range(CLASSES)))
        return lambda: fit_greedy_weights(task, predictions, targets, metric)

    return prepare


def crossfit(size: int) -> Call:
    from comp.ensemble.crossfit import MemberFitOptions, fit_each_fold, predict_cross_fitted
    from comp.ensemble.pool import MemberPredictions, Pool
    from comp.tasks import single_label

    labels = tuple(f"c{label}" for label in range(CLASSES))
    targets = draw_predictions(size, CLASSES, 0)[0]
    members = tuple(
        MemberPredictions(f"m{seed:02}", ("identity",), draw_predictions(size, CLASSES, seed)[1][None])
        for seed in range(50)
    )
    images = tuple(f"{row:06}" for row in range(size))
    pool = Pool(
        single_label(labels),
        "accuracy",
        images,
        tuple(labels[target] for target in targets),
        np.arange(size) // CLASSES % 5,
        members,
    )
    return lambda: predict_cross_fitted("mean", fit_each_fold(pool, MemberFitOptions()), pool)


CASES: dict[str, Callable[[int], Call]] = {
    "scan": scan_files,
    "cache key": cache_key,
    "survey of the files": survey_files,
    "duplicates": duplicates,
    "copies in folds after check": folds_after_check,
    "confounds, 8 classes": confounds(8),
    "confounds, 200 classes": confounds(200),
    "split into folds": folds,
    "order of an epoch, balanced": epoch_order,
    "interval of accuracy, 1,000 classes": interval("accuracy"),
    "interval of macro F1, 1,000 classes": interval("macro_f1"),
    "interval of log loss, 1,000 classes": interval("log_loss"),
    "paired test of accuracy, 1,000 classes": paired("accuracy"),
    "paired test of macro F1, 1,000 classes": paired("macro_f1"),
    "paired test of log loss, 1,000 classes": paired("log_loss"),
    "greedy blend, 20 members, accuracy": greedy("accuracy"),
    "greedy blend, 20 members, log loss": greedy("log_loss"),
    "cross-fit of 50 members": crossfit,
    "data show, 50 images a class": gallery,
    "submit status, a line per 5 images": lambda size: submit_status(size // 5),
    "leaderboard, a run per 50 images": leaderboard,
}
