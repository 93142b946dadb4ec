"""The drawn competition: reproducible, laid out like a real one, and not trivial."""

from __future__ import annotations

import errno
import hashlib
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from comp.data.demo import draw_competition
from comp.data.images import read_image, resize
from comp.data.scan import scan


def file_hashes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_draw_competition_same_seed_writes_the_same_bytes(tiny_dataset, tmp_path):
    draw_competition(tmp_path / "again", per_class=6, test=8)
    assert file_hashes(tmp_path / "again") == file_hashes(tiny_dataset)
    draw_competition(tmp_path / "other", per_class=6, test=8, seed=1)
    assert file_hashes(tmp_path / "other") != file_hashes(tiny_dataset)


def test_draw_competition_has_the_layout_of_a_competition(tiny_dataset):
    dataset = scan(tiny_dataset)
    assert Counter(image.label for image in dataset.train) == dict.fromkeys(dataset.classes, 6)
    assert {read_image(image.path).shape for image in dataset.train} == {(363, 360, 3)}
    sample, test_labels = (pd.read_csv(tiny_dataset / name) for name in ("sample_submission.csv", "test_labels.csv"))
    assert list(sample.columns) == ["image", "label"] and set(sample["image"]) == {i.id for i in dataset.test}
    assert set(test_labels["image"]) == set(sample["image"]) and set(test_labels["label"]) <= set(dataset.classes)
    assert (
        max(Counter(file_hashes(tiny_dataset / "train").values()).values()) == 2
    )  # one image occurs twice, on purpose


def test_draw_competition_file_names_do_not_predict_the_class(tiny_dataset):
    numbers = {image.id: int(image.id[5:-4]) for image in scan(tiny_dataset).train}
    first_half = [image.label for image in scan(tiny_dataset).train if numbers[image.id] <= 24]
    assert len(set(first_half)) >= 6


def test_draw_competition_interrupted_leaves_no_folder(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cv2, "imencode", fail)
        patch.setattr(cv2, "imwrite", fail)
        with pytest.raises(KeyboardInterrupt):
            draw_competition(tmp_path / "demo", per_class=2, test=2)
    assert list(tmp_path.iterdir()) == []
    draw_competition(tmp_path / "demo", per_class=2, test=2)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_draw_competition_full_disk_leaves_no_folder(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a temporary file")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/demo'"):
        draw_competition(tmp_path / "demo", per_class=2, test=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_draw_competition_linear_classifier_on_pixels_does_not_solve_it(tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    draw_competition(tmp_path / "demo", test=8)
    dataset = scan(tmp_path / "demo")
    pixels = np.array([resize(read_image(image.path), 32).ravel() for image in dataset.train], np.float32)
    labels = [image.label for image in dataset.train]
    scores = [
        cross_val_score(
            make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300)),
            pixels,
            labels,
            cv=StratifiedKFold(3, shuffle=True, random_state=0),
        ).mean()
        for c in (0.001, 0.1)
    ]
    assert 0.3 < max(scores) < 0.8
