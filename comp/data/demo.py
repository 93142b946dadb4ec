"""Write a competition of drawn blood cells, to try the kit without real data."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from comp.data.demo_cells import CELL_TYPES, draw_image
from comp.progress_bar import progress_bar

JPEG_QUALITY = 90
# Test images are drawn with seeds far above any training seed, so neither set depends on the size of the other.
FIRST_TEST_INDEX = 1_000_000

Plan = list[tuple[str, int]]  # the class and the seed index of each image


def draw_competition(root: Path, *, per_class: int = 60, test: int = 160, seed: int = 0) -> None:
    """Draw training and test images into a temporary folder, and rename it to `root` when it is complete."""
    if per_class < 2:
        raise ValueError("the intended duplicate needs at least two images per class")
    if root.exists():
        raise FileExistsError(f"{root} already exists")
    temporary = root.with_name(root.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process
    try:
        temporary.mkdir(parents=True)
        _draw_train(temporary, per_class, seed)
        _draw_test(temporary, test, seed)
        class_map = {label: index for index, label in enumerate(CELL_TYPES)}
        (temporary / "class_map.json").write_text(json.dumps(class_map, indent=2) + "\n")
        temporary.rename(root)
    except OSError as error:  # a full disk: the error names the folder that was requested
        raise OSError(error.errno, error.strerror, str(root)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _draw_train(root: Path, per_class: int, seed: int) -> None:
    """Draw the training images, with file names in random order, and one exact duplicate."""
    plan = _make_plan(per_class * len(CELL_TYPES))
    # The same seed twice gives two identical files, so that a search for duplicates finds one.
    plan[-1] = plan[-1 - len(CELL_TYPES)]
    numbers = np.random.default_rng(seed).permutation(len(plan)) + 1
    paths = [
        root / "train" / label / f"cell_{number:05d}.jpg" for number, (label, _) in zip(numbers, plan, strict=True)
    ]
    _draw_files(paths, plan, seed, "train")


def _draw_test(root: Path, count: int, seed: int) -> None:
    """Draw the test images in random order, the sample submission and the test labels."""
    plan = _make_plan(count, FIRST_TEST_INDEX)
    np.random.default_rng(seed).shuffle(plan)
    paths = [root / "test" / f"img_{index}.jpg" for index in range(count)]
    _draw_files(paths, plan, seed, "test")
    _write_labels(root / "sample_submission.csv", ((path.name, 0) for path in paths))
    _write_labels(root / "test_labels.csv", ((path.name, label) for path, (label, _) in zip(paths, plan, strict=True)))


def _make_plan(count: int, first_index: int = 0) -> Plan:
    """Plan `count` images; classes take turns, so that they are balanced."""
    labels = list(CELL_TYPES)
    return [(labels[index % len(labels)], first_index + index) for index in range(count)]


def _draw_files(paths: list[Path], plan: Plan, seed: int, title: str) -> None:
    for path, (label, index) in progress_bar(list(zip(paths, plan, strict=True)), desc=title, unit="img"):
        image = draw_image(CELL_TYPES[label], np.random.default_rng([seed, index]))
        path.parent.mkdir(parents=True, exist_ok=True)
        # cv2.imwrite does not report a full disk.
        jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        path.write_bytes(jpeg.tobytes())


def _write_labels(path: Path, rows: Iterable[tuple[str, str | int]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "label"), *rows])
