"""Export of MedMNIST files: subsets are stratified, and duplicates stay in one subset."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from comp.data.folds import read_folds
from comp.data.images import SquareSpec, read_image
from comp.data.medmnist_export import SUBSET_FOLDS
from comp.data.scan import scan
from tests.data.results import assert_refused, read_tree


@pytest.fixture
def letters(workspace) -> Path:
    """Three classes of 20, 30 and 50 random images 40 px wide; in each class three copies, one of them rotated."""
    rng = np.random.default_rng(0)
    for label, count in (("a", 20), ("b", 30), ("c", 50)):
        folder = workspace / "input/letters/train" / label
        folder.mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(folder / f"{label}{index}.png"), rng.integers(0, 256, (36, 40, 3), np.uint8))
        first = cv2.imread(str(folder / f"{label}0.png"))
        cv2.imwrite(str(folder / f"{label}3.png"), first)
        cv2.imwrite(str(folder / f"{label}4.png"), cv2.rotate(first, cv2.ROTATE_180))
    (workspace / "input/letters/test").mkdir()
    cv2.imwrite(str(workspace / "input/letters/test/secret.png"), first)
    return workspace / "input/letters"


EXPORT = ["comp", "data", "export-npz", "data.root=input/letters", "--size", "16", "--crop", "24"]


def test_export_subsets_are_stratified_and_have_every_image_once(letters, run_cli):
    status, out, _ = run_cli(*EXPORT)
    content = np.load("input/letters_16.npz")
    assert status == 0 and "next: python -m comp data import input/letters_16.npz" in out
    assert "3 group(s) of duplicates kept together" in out
    square, subsets_of = SquareSpec(16, "squash", 24), {}
    for subset in SUBSET_FOLDS:
        images, labels = content[f"{subset}_images"], content[f"{subset}_labels"]
        assert images.dtype == labels.dtype == np.uint8
        assert images.shape == (len(labels), 16, 16, 3) and labels.shape == (len(labels), 1)
        for pixels, label in zip(images, labels[:, 0], strict=True):
            subsets_of.setdefault((pixels.tobytes(), "abc"[label]), []).append(subset)
        counts = np.bincount(labels[:, 0])
        share = {"train": 0.7, "val": 0.1, "test": 0.2}[subset]
        assert (abs(counts - share * np.array([20, 30, 50])) <= 2).all(), counts
    expected = Counter((square(read_image(image.path)).tobytes(), image.label) for image in scan(letters).train)
    assert Counter({key: len(subsets) for key, subsets in subsets_of.items()}) == expected
    assert content["class_names"].tolist() == ["a", "b", "c"] and sum(expected.values()) == 100


@pytest.mark.parametrize("seed", range(4))
def test_export_keeps_duplicates_in_one_subset(letters, run_cli, seed):
    run_cli(*EXPORT, "--seed", str(seed))
    content, square = np.load("input/letters_16.npz"), SquareSpec(16, "squash", 24)
    for label in "abc":
        copies = {
            square(read_image(letters / "train" / label / f"{label}{index}.png")).tobytes() for index in (0, 3, 4)
        }
        subsets = [
            subset for subset in SUBSET_FOLDS for pixels in content[f"{subset}_images"] if pixels.tobytes() in copies
        ]
        assert len(subsets) == 3 and len(set(subsets)) == 1


def test_export_same_seed_writes_the_same_bytes(letters, run_cli):
    for name, seed in (("one", "7"), ("two", "7"), ("other", "8")):
        assert run_cli(*EXPORT, "--seed", seed, "--out", f"made/{name}.npz")[0] == 0
    one, two, other = (Path(f"made/{name}.npz").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other and sorted(os.listdir("made")) == ["one.npz", "other.npz", "two.npz"]


def test_export_again_after_a_kill_behind_the_rename_succeeds(letters, run_cli):
    assert run_cli(*EXPORT)[0] == 0
    before = Path("input/letters_16.npz").read_bytes()
    status, out, err = run_cli(*EXPORT)
    assert (status, err) == (0, "") and out.startswith("input/letters_16.npz already exists and is the same: 3 classes")
    assert Path("input/letters_16.npz").read_bytes() == before


def test_export_subsets_are_not_sorted_by_class(letters, run_cli):
    run_cli(*EXPORT)
    labels = np.load("input/letters_16.npz")["train_labels"][:, 0]
    assert (np.diff(labels) != 0).sum() > 20


def test_export_then_import_keeps_every_image(letters, run_cli):
    (letters / "class_map.json").write_text('{"c": 7, "a": 9, "b": 12}')
    run_cli(*EXPORT)
    content = np.load("input/letters_16.npz")
    assert run_cli("comp", "data", "import", "input/letters_16.npz")[0] == 0
    imported = scan("input/letters_16")
    assert imported.classes == scan(letters).classes == ("c", "a", "b")
    table = read_folds(Path("folds/letters_16.csv"), imported)
    assert Counter(table["fold"]) == {-1: len(content["train_labels"]), 0: len(content["val_labels"])}
    square = SquareSpec(16, "squash", 24)
    source = Counter((square(read_image(i.path)).tobytes(), i.label) for i in scan(letters).train)
    test_labels = pd.read_csv("input/letters_16/test_labels.csv").set_index("image")["label"]
    returned = Counter(
        (read_image(i.path).tobytes(), i.label or test_labels[i.id]) for i in (*imported.train, *imported.test)
    )
    assert returned == source and len(imported.test) == len(content["test_labels"])


def test_export_invalid_request_raises_and_leaves_nothing(letters, run_cli):
    path = letters / "train/c/c9.png"
    complete = path.read_bytes()

    def assert_fails(expected: str, *arguments: str) -> None:
        before = read_tree(letters.parent)
        assert_refused(run_cli(*EXPORT, *arguments), expected)
        assert read_tree(letters.parent) == before

    for name, content in (("taken", "mine"), ("folder", None)):
        obstacle = letters.parent / f"{name}.npz"
        obstacle.mkdir() if content is None else obstacle.write_text(content)
        expected = f"input/{name}.npz exists with other content; remove it, or set --out FILE"
        assert_fails(expected, "--out", f"input/{name}.npz")
    assert_fails("needs 10 different images of each class; class basophil has", "data.root=input/tiny")
    assert_fails("there is no dataset at input/nothing", "data.root=input/nothing")
    for wrong in (["--size", "0"], ["--crop", "0"], ["--seed", "-1"], ["--seed", str(2**32)]):
        assert_fails("--size must be 8 or more", *wrong)
    path.write_bytes(complete[:200])
    assert_fails("c9.png; see: python -m comp data check")
    path.write_bytes(complete)
    for index in range(8, 20):
        (letters / "train/a" / f"a{index}.png").unlink()
    (letters / "train/a" / "a90.png").write_bytes(complete)
    assert_fails("a 70/10/20 split needs 10 different images of each class; class a has 7")


def test_export_writes_no_pickles(letters, run_cli):
    run_cli(*EXPORT)
    with np.load(io.BytesIO(Path("input/letters_16.npz").read_bytes()), allow_pickle=False) as content:
        assert all(content[key].dtype.kind in "uU" for key in content.files) and len(content.files) == 7
