"""Write small datasets of random images, and check them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from comp.data.check import check_dataset
from comp.data.scan import Image, scan
from comp.records.dataset import DataIssue, DatasetReport

QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 92]


def make_pixels(seed: int, height: int = 66, width: int = 60) -> np.ndarray:
    """Return a smooth random image without symmetry; every seed gives another."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path: Path, pixels: np.ndarray, *options: int) -> Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, list(options))
    return Image(path.name, path)


def write_dataset(root: Path, per_class: int = 4, classes: str = "ab", test: int = 4) -> Path:
    """Write a small dataset without issues: every image different, one size, one JPEG quality.

    Four images per class are too few for the search for confounds, which most tests do not need.
    """
    seeds = iter(range(1000))
    for label in classes:
        for number in range(per_class):
            save(root / "train" / label / f"{label}{number}.jpg", make_pixels(next(seeds)), *QUALITY)
    for number in range(test):
        save(root / "test" / f"t{number}.jpg", make_pixels(next(seeds)), *QUALITY)
    return root


def check(root: Path, k: int = 3) -> tuple[dict[str, DataIssue], DatasetReport]:
    """Check a dataset, and return its issues by kind and the report."""
    report = check_dataset(scan(root), k)
    return {issue.kind: issue for issue in report.issues}, report
