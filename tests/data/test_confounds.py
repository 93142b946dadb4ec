"""Confounds: properties that predict the class are reported, random ones are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from comp.data import confounds
from comp.data.image_stats import survey
from comp.data.scan import scan
from tests.data.image_files import QUALITY, check, make_pixels, save


def check_sizes(root: Path, side_of, classes: str = "abc", per_class: int = 30) -> dict:
    """Check a training set whose image sizes `side_of(class index, image index)` decides."""
    for label, name in enumerate(classes):
        for number in range(per_class):
            side = side_of(label, number)
            path = root / "train" / name / f"{name}{number}.jpg"
            save(path, make_pixels(label * 100 + number, side, side), *QUALITY)
    return check(root)[0]


def test_find_confounds_size_that_predicts_the_class_is_reported_with_scores(tmp_path):
    issue = check_sizes(tmp_path, lambda label, number: 40 + 4 * label)["confound_picture_size"]
    assert issue.severity == "warning" and "100% balanced accuracy where chance is 3" in issue.summary


def test_find_confounds_unusual_size_in_one_class_is_reported_with_its_files(tmp_path):
    issues = check_sizes(tmp_path, lambda label, number: 48 if label == 1 and number < 10 else 40)
    issue = issues["confound_unusual_size"]
    assert len(issue.files[0]) == 10 and issue.files[0][0] == "train/b/b0.jpg"
    assert "48x48: 10 images, b 10, none in the other 2 classes" in issue.remarks[0]


def test_find_confounds_random_sizes_are_no_issue(tmp_path):
    rng = np.random.default_rng(1)
    assert check_sizes(tmp_path, lambda label, number: int(rng.choice([40, 44, 48]))) == {}


def test_find_confounds_jpeg_quality_per_class_is_reported(tmp_path):
    for name, quality in (("a", 95), ("b", 70)):
        for number in range(20):
            save(
                tmp_path / "train" / name / f"{name}{number}.jpg",
                make_pixels(number + quality),
                cv2.IMWRITE_JPEG_QUALITY,
                quality,
            )
    stats = survey(scan(tmp_path).train)
    assert set(stats.jpeg_quality) == {95.0, 70.0}
    assert "JPEG quality alone" in check(tmp_path)[0]["confound_jpeg_quality"].summary


def test_find_confounds_many_images_and_classes_are_drawn_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(confounds, "MAX_IMAGES", 40)
    monkeypatch.setattr(confounds, "MAX_CLASSES", 2)
    issues = check_sizes(tmp_path, lambda label, number: 40 + 4 * label, per_class=30)
    assert issues["confound_picture_size"].summary.endswith("; on 40 images of 2 classes, drawn from all")
