"""MedMNIST files in and out: no pixel and no label changes, the split stays, and what is no such file is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from comp.data.folds import read_folds
from comp.data.images import SquareSpec, read_image
from comp.data.medmnist_import import BLOOD_CELLS
from comp.data.scan import scan
from comp.files import read_json
from comp.tables import read_csv
from tests.conftest import REPO_ROOT

COUNTS = {"train": 12, "val": 5, "test": 7}


def arrays(*, classes: int = 3, shape: tuple[int, ...] = (9, 8, 3), **changes) -> dict[str, np.ndarray]:
    """The content of a small file like MedMNIST's; a change to None takes the key away."""
    made = {}
    for part, count in COUNTS.items():
        rng = np.random.default_rng(count)
        made[f"{part}_labels"] = rng.permutation(np.arange(count) % classes).astype(np.uint8)[:, None]
        made[f"{part}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
    return {key: value for key, value in (made | changes).items() if value is not None}


def tree(root: Path) -> dict[str, bytes | None]:
    """Everything below `root`, hidden files too."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(result: tuple[int, str, str], expected: str) -> None:
    status, _, err = result
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err, err


# ---- import ----


@pytest.mark.parametrize("shape", [(9, 8, 3), (9, 8), (1, 1, 3), (28, 28, 3)])
@pytest.mark.parametrize("flat", [False, True])
def test_every_pixel_and_every_label_survives(place, run_cli, shape, flat):
    content = arrays(shape=shape)
    if flat:
        content |= {f"{part}_labels": content[f"{part}_labels"][:, 0].astype(np.int64) for part in COUNTS}
    np.savez(place / "cells.npz", **content)
    assert run_cli("comp", "data", "import", "cells.npz")[0] == 0
    dataset = scan("input/cells")
    assert dataset.classes == ("class_0", "class_1", "class_2") and dataset.id_kind == "name"
    assert len(dataset.train) == COUNTS["train"] + COUNTS["val"] and len(dataset.test) == COUNTS["test"]
    truth = read_csv(Path("input/cells/test_labels.csv"), ["image", "label"]).set_index("image")["label"]
    for image in [*dataset.train, *dataset.test]:
        part, row = image.path.stem.split("_")
        pixels = content[f"{part}_images"][int(row)]
        assert (read_image(image.path) == (pixels if pixels.ndim == 3 else pixels[..., None])).all()
        label = content[f"{part}_labels"].reshape(-1)[int(row)]
        assert (image.label or truth[image.id]) == f"class_{label}"


def test_the_official_split_is_kept(place, run_cli):
    np.savez(place / "cells.npz", **arrays())
    status, out, _ = run_cli("comp", "data", "import", "cells.npz")
    dataset = scan("input/cells")
    table = read_folds(Path("folds/cells.csv"), dataset)
    assert Counter(table["fold"]) == {-1: COUNTS["train"], 0: COUNTS["val"]}
    assert (table["image"].str.startswith("val_") == (table["fold"] == 0)).all()
    assert (table["group"] == table["image"]).all() and table["image"].is_unique
    about = read_json(Path("folds/cells.json"))
    assert about["official"] is True and not {"k", "seed"} & set(about)
    assert status == 0 and "17 training images of 3 classes, 7 test images" in out and "train.py data.root=" in out


def test_it_looks_like_a_drawn_competition(place, run_cli, tiny_dataset):
    np.savez(place / "cells.npz", **arrays())
    run_cli("comp", "data", "import", "cells.npz", "--root", "elsewhere/mine", "--folds", "splits/official.csv")
    mine, drawn = Path("elsewhere/mine"), tiny_dataset
    assert sorted(os.listdir(mine)) == sorted(os.listdir(drawn))
    for name in ("test_labels.csv", "sample_submission.csv"):
        assert list(pd.read_csv(mine / name)) == list(pd.read_csv(drawn / name))
        assert pd.read_csv(mine / name)["image"].tolist() == [image.id for image in scan(mine).test]
    assert set(pd.read_csv(mine / "sample_submission.csv")["label"]) == {0}
    assert read_json(mine / "class_map.json") == {"class_0": 0, "class_1": 1, "class_2": 2}
    assert len(read_folds(Path("splits/official.csv"), scan(mine))) == 17 and not Path("folds").exists()
    assert sorted(os.listdir(place)) == ["cells.npz", "elsewhere", "splits"]


@pytest.mark.parametrize(
    ("stem", "classes", "names", "expected"),
    [
        ("bloodmnist_64", 8, None, BLOOD_CELLS),
        ("bloodmnist_64", 3, None, ("class_0", "class_1", "class_2")),
        ("pathmnist", 12, None, tuple(f"class_{label:02d}" for label in range(12))),
        ("bloodmnist", 3, ["z", "NA", "weiße Zelle, links"], ("z", "NA", "weiße Zelle, links")),
    ],
)
def test_classes_are_named(place, run_cli, stem, classes, names, expected):
    np.savez(place / f"{stem}.npz", **arrays(classes=classes, class_names=names and np.array(names)))
    assert run_cli("comp", "data", "import", f"{stem}.npz")[0] == 0
    assert scan(f"input/{stem}").classes == expected
    assert len(read_folds(Path(f"folds/{stem}.csv"), scan(f"input/{stem}"))) == 17


def text_file(path: Path) -> None:
    path.write_text("not found\n")


def one_array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.zeros((3, 8, 8, 3), np.uint8))


def cut_short(path: Path) -> None:
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:-400])


def with_flipped_bits(path: Path) -> None:
    made = arrays(shape=(40, 40, 3))
    np.savez(path, **made)
    content = bytearray(path.read_bytes())
    content[content.index(made["test_images"][6].tobytes())] ^= 255  # shows after the other parts are written
    path.write_bytes(content)


NO_FILES = {
    "a text": text_file,
    "a single array": one_array,
    "cut short": cut_short,
    "flipped bits": with_flipped_bits,
    "an empty file": Path.touch,
    "a folder": Path.mkdir,
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_whole_npz_is_refused_and_leaves_nothing(place, run_cli, kind):
    NO_FILES[kind](place / "cells.npz")
    before = tree(place)
    refused(
        run_cli("comp", "data", "import", "cells.npz"),
        "there is no file cells.npz" if kind in ("nothing", "a folder") else "is not a complete npz file",
    )
    if kind == "flipped bits":
        Path("input").rmdir()  # which fails unless it is empty
    assert tree(place) == before


GOOD = arrays()
WRONG = {
    "a key that lacks": ({"val_images": None}, "lacks val_images;"),
    "two keys that lack": ({"train_labels": None, "test_labels": None}, "lacks train_labels, test_labels;"),
    "fractions": ({"val_images": GOOD["val_images"] / np.float32(255)}, "val_images is float32, not uint8"),
    "no channels last": ({"test_images": GOOD["test_images"].transpose(0, 3, 1, 2)}, "test_images has the shape"),
    "one picture": ({"train_images": GOOD["train_images"][0, ..., 0]}, "train_images has the shape (9, 8)"),
    "volumes": ({"train_images": np.zeros((12, 8, 8, 8), np.uint8)}, "train_images has the shape (12, 8, 8, 8)"),
    "unlike pictures": ({"val_images": np.zeros((5, 8, 8, 3), np.uint8)}, "val_images are (8, 8, 3) and those of"),
    "too few labels": ({"train_labels": GOOD["train_labels"][1:]}, "(11, 1), and train_images has 12 images"),
    "several labels": ({"val_labels": np.eye(5, dtype=np.uint8)}, "val_labels has 5 labels per image"),
    "fractional labels": ({"train_labels": GOOD["train_labels"] * 1.0}, "train_labels is float64, not whole numbers"),
    "labels from 1": ({"train_labels": GOOD["train_labels"] + 1}, "0..K-1 without gaps, and are 1, 2, 3"),
    "a label left out": ({"train_labels": GOOD["train_labels"] * 2}, "and are 0, 2, 4"),
    "a negative label": ({"test_labels": GOOD["test_labels"].astype(int) - 1}, "test_labels has the label -1"),
    "a label not trained": ({"val_labels": GOOD["val_labels"] + 1}, "val_labels has the label 3"),
    "an empty part": ({"val_images": GOOD["val_images"][:0], "val_labels": GOOD["val_labels"][:0]}, "is empty"),
    "pickled images": ({"train_images": GOOD["train_images"].astype(object)}, "pickled objects"),
    "pickled labels": ({"test_labels": GOOD["test_labels"].astype(object)}, "test_labels contains pickled objects"),
    "too few names": ({"class_names": np.array(["a", "b"])}, "class_names has 2 names for 3 classes"),
    "a name twice": ({"class_names": np.array(["a", "b", "a"])}, "class_names has a name twice"),
    "numbers for names": ({"class_names": np.arange(3)}, "not a list of names"),
    "pickled names": ({"class_names": np.array(["a", "b", "c"], object)}, "class_names contains pickled objects"),
    **{
        f"the name {name!r}": ({"class_names": np.array(["a", "b", name])}, "cannot be the name of a class folder")
        for name in ("", "..", "../../c", "/c", "c/d", ".c", "c\nd", "fold")
    },
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_with_something_wrong_is_refused_by_name_and_leaves_nothing(place, run_cli, kind):
    changes, expected = WRONG[kind]
    np.savez(place / "cells.npz", **arrays(**changes))
    before = tree(place)
    refused(run_cli("comp", "data", "import", "cells.npz"), expected)
    assert tree(place) == before


def test_given_twice_it_changes_nothing_and_mends_a_lost_split(place, run_cli):
    np.savez(place / "cells.npz", **arrays())
    run_cli("comp", "data", "import", "cells.npz")
    before = tree(place)
    for lost in ([], ["cells.json"], ["cells.csv", "cells.json"]):
        for name in lost:
            Path("folds", name).unlink()
        status, out, _ = run_cli("comp", "data", "import", "cells.npz")
        assert status == 0 and "input/cells already exists" in out and tree(place) == before


def test_nothing_that_differs_is_written_over(place, run_cli):
    np.savez(place / "cells.npz", **arrays())
    run_cli("comp", "data", "import", "cells.npz")
    swapped = {f"{part}_labels": np.uint8([1, 0, 2])[GOOD[f"{part}_labels"]] for part in COUNTS}
    for other in (
        arrays(shape=(10, 8, 3)),
        arrays(classes=2),
        arrays(class_names=np.array(["a", "b", "c"])),
        arrays(**swapped, class_names=np.array(["class_1", "class_0", "class_2"])),
    ):
        np.savez(place / "other.npz", **other)
        before = tree(place)
        refused(
            run_cli("comp", "data", "import", "other.npz", "--root", "input/cells", "--folds", "folds/new.csv"),
            "input/cells exists and differs from other.npz; remove it, or set --root DIR",
        )
        assert tree(place) == before
    np.savez(place / "other.npz", **arrays(classes=2))
    before = tree(place)
    refused(
        run_cli("comp", "data", "import", "other.npz", "--folds", "folds/cells.csv"), "exists and has another split"
    )
    assert tree(place) == before  # not even the images, although input/other is free
    Path("input/empty").mkdir()
    refused(
        run_cli("comp", "data", "import", "cells.npz", "--root", "input/empty"),
        "input/empty exists and differs from cells.npz",
    )


# SIGKILL, which no `finally` sees, in the middle of the training part, of the test part, and of the split
KILL = """
import os, signal, sys
import comp.__main__, comp.records.base, comp.data.medmnist_import as npz
module, name = (npz.cv2, "imencode") if int(sys.argv[1]) else (comp.records.base, "write_json")
real, left = getattr(module, name), [int(sys.argv[1]) or 1]
def dying(*words):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*words)
setattr(module, name, dying)
sys.argv = ["comp", "data", "import", "cells.npz"]
comp.__main__.main()
"""


@pytest.mark.parametrize("images", [5, 20, 0])
def test_a_killed_import_starts_clean_when_given_again(place, run_cli, images):
    np.savez(place / "cells.npz", **arrays())
    killed = subprocess.run([sys.executable, "-c", KILL, str(images)], env={**os.environ, "PYTHONPATH": str(REPO_ROOT)})
    assert killed.returncode == -9 and Path("input/cells").exists() == (images == 0)
    leftover = Path("input/.cells.part/train/class_0/old.png")
    if images:
        leftover.touch(exist_ok=False)
    assert run_cli("comp", "data", "import", "cells.npz")[0] == 0
    assert sorted(os.listdir("input")) == ["cells"] and len(scan("input/cells").train) == 17
    assert len(read_folds(Path("folds/cells.csv"), scan("input/cells"))) == 17


def test_a_failed_import_leaves_nothing(place, run_cli, monkeypatch):
    np.savez(place / "cells.npz", **arrays())

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        refused(run_cli("comp", "data", "import", "cells.npz"), "No space left on device (input/cells)")
    assert os.listdir("input") == [] and not Path("folds").exists()


# ---- export ----


@pytest.fixture
def letters(workspace) -> Path:
    """Three classes of 20, 30 and 50 noisy pictures 40 px wide; in each class three copies, one of them turned."""
    rng = np.random.default_rng(0)
    for label, count in (("a", 20), ("b", 30), ("c", 50)):
        folder = workspace / "input/letters/train" / label
        folder.mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(folder / f"{label}{number}.png"), rng.integers(0, 256, (36, 40, 3), np.uint8))
        first = cv2.imread(str(folder / f"{label}0.png"))
        cv2.imwrite(str(folder / f"{label}3.png"), first)
        cv2.imwrite(str(folder / f"{label}4.png"), cv2.rotate(first, cv2.ROTATE_180))
    (workspace / "input/letters/test").mkdir()
    cv2.imwrite(str(workspace / "input/letters/test/secret.png"), first)
    return workspace / "input/letters"


EXPORT = ["comp", "data", "export-npz", "data.root=input/letters", "--size", "16", "--crop", "24"]


def test_the_parts_are_disjoint_stratified_and_hold_every_image_once(letters, run_cli):
    status, out, _ = run_cli(*EXPORT)
    made = np.load("input/letters_16.npz")
    assert status == 0 and "next: python -m comp data import input/letters_16.npz" in out
    assert "3 group(s) of duplicates kept together" in out
    square, there = SquareSpec(16, "squash", 24), {}
    for part in COUNTS:
        images, labels = made[f"{part}_images"], made[f"{part}_labels"]
        assert images.dtype == labels.dtype == np.uint8
        assert images.shape == (len(labels), 16, 16, 3) and labels.shape == (len(labels), 1)
        for pixels, label in zip(images, labels[:, 0], strict=True):
            there.setdefault((pixels.tobytes(), "abc"[label]), []).append(part)
        counts = np.bincount(labels[:, 0])
        share = {"train": 0.7, "val": 0.1, "test": 0.2}[part]
        assert (abs(counts - share * np.array([20, 30, 50])) <= 2).all(), counts
    wanted = Counter((square(read_image(image.path)).tobytes(), image.label) for image in scan(letters).train)
    assert Counter({key: len(parts) for key, parts in there.items()}) == wanted
    assert made["class_names"].tolist() == ["a", "b", "c"] and sum(wanted.values()) == 100


@pytest.mark.parametrize("seed", range(4))
def test_copies_stay_in_one_part(letters, run_cli, seed):
    run_cli(*EXPORT, "--seed", str(seed))
    made, square = np.load("input/letters_16.npz"), SquareSpec(16, "squash", 24)
    for label in "abc":
        copies = {
            square(read_image(letters / "train" / label / f"{label}{number}.png")).tobytes() for number in (0, 3, 4)
        }
        homes = [part for part in COUNTS for pixels in made[f"{part}_images"] if pixels.tobytes() in copies]
        assert len(homes) == 3 and len(set(homes)) == 1


def test_the_same_seed_makes_the_same_bytes(letters, run_cli):
    for name, seed in (("one", "7"), ("two", "7"), ("other", "8")):
        assert run_cli(*EXPORT, "--seed", seed, "--out", f"made/{name}.npz")[0] == 0
    one, two, other = (Path(f"made/{name}.npz").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other and sorted(os.listdir("made")) == ["one.npz", "other.npz", "two.npz"]


def test_parts_are_not_sorted_by_class(letters, run_cli):
    run_cli(*EXPORT)
    labels = np.load("input/letters_16.npz")["train_labels"][:, 0]
    assert (np.diff(labels) != 0).sum() > 20


def test_there_and_back(letters, run_cli):
    (letters / "class_map.json").write_text('{"c": 7, "a": 9, "b": 12}')
    run_cli(*EXPORT)
    made = np.load("input/letters_16.npz")
    assert run_cli("comp", "data", "import", "input/letters_16.npz")[0] == 0
    back = scan("input/letters_16")
    assert back.classes == scan(letters).classes == ("c", "a", "b")
    table = read_folds(Path("folds/letters_16.csv"), back)
    assert Counter(table["fold"]) == {-1: len(made["train_labels"]), 0: len(made["val_labels"])}
    square = SquareSpec(16, "squash", 24)
    source = Counter((square(read_image(i.path)).tobytes(), i.label) for i in scan(letters).train)
    truth = pd.read_csv("input/letters_16/test_labels.csv").set_index("image")["label"]
    returned = Counter((read_image(i.path).tobytes(), i.label or truth[i.id]) for i in (*back.train, *back.test))
    assert returned == source and len(back.test) == len(made["test_labels"])


def test_an_export_that_cannot_be_is_refused_and_leaves_nothing(letters, run_cli):
    (letters.parent / "taken.npz").write_text("mine")
    broken = letters / "train/c/c9.png"
    whole = broken.read_bytes()

    def fails(expected: str, *words: str) -> None:
        before = tree(letters.parent)
        refused(run_cli(*EXPORT, *words), expected)
        assert tree(letters.parent) == before

    fails("input/taken.npz already exists; remove it, or set --out FILE", "--out", "input/taken.npz")
    fails("needs 10 different images of each class; class basophil has", "data.root=input/tiny")
    fails("there is no dataset at input/nothing", "data.root=input/nothing")
    for wrong in (["--size", "0"], ["--crop", "0"], ["--seed", "-1"], ["--seed", str(2**32)]):
        fails("--size must be 8 or more", *wrong)
    broken.write_bytes(whole[:200])
    fails("c9.png; see: python -m comp data check")
    broken.write_bytes(whole)
    for number in range(8, 20):
        (letters / "train/a" / f"a{number}.png").unlink()
    (letters / "train/a" / "a90.png").write_bytes(whole)
    fails("a 70/10/20 split needs 10 different images of each class; class a has 7")


def test_pickles_are_never_written(letters, run_cli):
    run_cli(*EXPORT)
    with np.load(io.BytesIO(Path("input/letters_16.npz").read_bytes()), allow_pickle=False) as made:
        assert all(made[key].dtype.kind in "uU" for key in made.files) and len(made.files) == 7
