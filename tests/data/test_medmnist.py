"""Import and export of MedMNIST files: pixels, labels and the official split stay, and other files are refused."""

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
    """Return the arrays of a small MedMNIST file; a change to None removes the key."""
    content = {}
    for subset, count in COUNTS.items():
        rng = np.random.default_rng(count)
        content[f"{subset}_labels"] = rng.permutation(np.arange(count) % classes).astype(np.uint8)[:, None]
        content[f"{subset}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
    return {key: value for key, value in (content | changes).items() if value is not None}


def read_tree(root: Path) -> dict[str, bytes | None]:
    """Return all files below `root`, hidden ones too."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture
def workdir(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_refused(result: tuple[int, str, str], expected: str) -> None:
    status, _, err = result
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err, err


# ---- import ----


@pytest.mark.parametrize("shape", [(9, 8, 3), (9, 8), (1, 1, 3), (28, 28, 3)])
@pytest.mark.parametrize("flat", [False, True])
def test_import_keeps_every_pixel_and_label(workdir, run_cli, shape, flat):
    content = arrays(shape=shape)
    if flat:
        content |= {f"{subset}_labels": content[f"{subset}_labels"][:, 0].astype(np.int64) for subset in COUNTS}
    np.savez(workdir / "cells.npz", **content)
    assert run_cli("comp", "data", "import", "cells.npz")[0] == 0
    dataset = scan("input/cells")
    assert dataset.classes == ("class_0", "class_1", "class_2") and dataset.id_kind == "name"
    assert len(dataset.train) == COUNTS["train"] + COUNTS["val"] and len(dataset.test) == COUNTS["test"]
    test_labels = read_csv(Path("input/cells/test_labels.csv"), ["image", "label"]).set_index("image")["label"]
    for image in [*dataset.train, *dataset.test]:
        subset, row = image.path.stem.split("_")
        pixels = content[f"{subset}_images"][int(row)]
        assert (read_image(image.path) == (pixels if pixels.ndim == 3 else pixels[..., None])).all()
        label = content[f"{subset}_labels"].reshape(-1)[int(row)]
        assert (image.label or test_labels[image.id]) == f"class_{label}"


def test_import_keeps_the_official_split(workdir, run_cli):
    np.savez(workdir / "cells.npz", **arrays())
    status, out, _ = run_cli("comp", "data", "import", "cells.npz")
    dataset = scan("input/cells")
    table = read_folds(Path("folds/cells.csv"), dataset)
    assert Counter(table["fold"]) == {-1: COUNTS["train"], 0: COUNTS["val"]}
    assert (table["image"].str.startswith("val_") == (table["fold"] == 0)).all()
    assert (table["group"] == table["image"]).all() and table["image"].is_unique
    record = read_json(Path("folds/cells.json"))
    assert record["official"] is True and not {"k", "seed"} & set(record)
    assert status == 0 and "17 training images of 3 classes, 7 test images" in out and "train.py data.root=" in out


def test_import_has_the_layout_of_a_competition(workdir, run_cli, tiny_dataset):
    np.savez(workdir / "cells.npz", **arrays())
    run_cli("comp", "data", "import", "cells.npz", "--root", "elsewhere/mine", "--folds", "splits/official.csv")
    mine, drawn = Path("elsewhere/mine"), tiny_dataset
    assert sorted(os.listdir(mine)) == sorted(os.listdir(drawn))
    for name in ("test_labels.csv", "sample_submission.csv"):
        assert list(pd.read_csv(mine / name)) == list(pd.read_csv(drawn / name))
        assert pd.read_csv(mine / name)["image"].tolist() == [image.id for image in scan(mine).test]
    assert set(pd.read_csv(mine / "sample_submission.csv")["label"]) == {0}
    assert read_json(mine / "class_map.json") == {"class_0": 0, "class_1": 1, "class_2": 2}
    assert len(read_folds(Path("splits/official.csv"), scan(mine))) == 17 and not Path("folds").exists()
    assert sorted(os.listdir(workdir)) == ["cells.npz", "elsewhere", "splits"]


@pytest.mark.parametrize(
    ("stem", "classes", "names", "expected"),
    [
        ("bloodmnist_64", 8, None, BLOOD_CELLS),
        ("bloodmnist_64", 3, None, ("class_0", "class_1", "class_2")),
        ("pathmnist", 12, None, tuple(f"class_{label:02d}" for label in range(12))),
        ("bloodmnist", 3, ["z", "NA", "weiße Zelle, links"], ("z", "NA", "weiße Zelle, links")),
    ],
)
def test_import_names_the_classes(workdir, run_cli, stem, classes, names, expected):
    np.savez(workdir / f"{stem}.npz", **arrays(classes=classes, class_names=names and np.array(names)))
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
    content = arrays(shape=(40, 40, 3))
    np.savez(path, **content)
    file_bytes = bytearray(path.read_bytes())
    # an image of the last subset, which is found after the others are written
    file_bytes[file_bytes.index(content["test_images"][6].tobytes())] ^= 255
    path.write_bytes(file_bytes)


INCOMPLETE_FILES = {
    "a text": text_file,
    "a single array": one_array,
    "cut short": cut_short,
    "flipped bits": with_flipped_bits,
    "an empty file": Path.touch,
    "a folder": Path.mkdir,
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("kind", INCOMPLETE_FILES)
def test_import_incomplete_file_raises_and_leaves_nothing(workdir, run_cli, kind):
    INCOMPLETE_FILES[kind](workdir / "cells.npz")
    before = read_tree(workdir)
    assert_refused(
        run_cli("comp", "data", "import", "cells.npz"),
        "there is no file cells.npz" if kind in ("nothing", "a folder") else "is not a complete npz file",
    )
    if kind == "flipped bits":
        Path("input").rmdir()  # which fails unless it is empty
    assert read_tree(workdir) == before


VALID_ARRAYS = arrays()
INVALID_ARRAYS = {
    "a key that lacks": ({"val_images": None}, "lacks val_images;"),
    "two keys that lack": ({"train_labels": None, "test_labels": None}, "lacks train_labels, test_labels;"),
    "fractions": ({"val_images": VALID_ARRAYS["val_images"] / np.float32(255)}, "val_images is float32, not uint8"),
    "no channels last": (
        {"test_images": VALID_ARRAYS["test_images"].transpose(0, 3, 1, 2)},
        "test_images has the shape",
    ),
    "one image": ({"train_images": VALID_ARRAYS["train_images"][0, ..., 0]}, "train_images has the shape (9, 8)"),
    "volumes": ({"train_images": np.zeros((12, 8, 8, 8), np.uint8)}, "train_images has the shape (12, 8, 8, 8)"),
    "images of another shape": (
        {"val_images": np.zeros((5, 8, 8, 3), np.uint8)},
        "val_images are (8, 8, 3) and those of",
    ),
    "too few labels": ({"train_labels": VALID_ARRAYS["train_labels"][1:]}, "(11, 1), and train_images has 12 images"),
    "several labels": ({"val_labels": np.eye(5, dtype=np.uint8)}, "val_labels has 5 labels per image"),
    "fractional labels": (
        {"train_labels": VALID_ARRAYS["train_labels"] * 1.0},
        "train_labels is float64, not whole numbers",
    ),
    "labels from 1": ({"train_labels": VALID_ARRAYS["train_labels"] + 1}, "0..K-1 without gaps, and are 1, 2, 3"),
    "a label left out": ({"train_labels": VALID_ARRAYS["train_labels"] * 2}, "and are 0, 2, 4"),
    "a negative label": ({"test_labels": VALID_ARRAYS["test_labels"].astype(int) - 1}, "test_labels has the label -1"),
    "a label not trained": ({"val_labels": VALID_ARRAYS["val_labels"] + 1}, "val_labels has the label 3"),
    "an empty subset": (
        {"val_images": VALID_ARRAYS["val_images"][:0], "val_labels": VALID_ARRAYS["val_labels"][:0]},
        "is empty",
    ),
    "pickled images": ({"train_images": VALID_ARRAYS["train_images"].astype(object)}, "pickled objects"),
    "pickled labels": (
        {"test_labels": VALID_ARRAYS["test_labels"].astype(object)},
        "test_labels contains pickled objects",
    ),
    "too few names": ({"class_names": np.array(["a", "b"])}, "class_names has 2 names for 3 classes"),
    "a name twice": ({"class_names": np.array(["a", "b", "a"])}, "class_names has a name twice"),
    "numbers for names": ({"class_names": np.arange(3)}, "not a list of names"),
    "pickled names": ({"class_names": np.array(["a", "b", "c"], object)}, "class_names contains pickled objects"),
    **{
        f"the name {name!r}": ({"class_names": np.array(["a", "b", name])}, "cannot be the name of a class folder")
        for name in ("", "..", "../../c", "/c", "c/d", ".c", "c\nd", "fold")
    },
}


@pytest.mark.parametrize("kind", INVALID_ARRAYS)
def test_import_invalid_array_raises_with_its_name_and_leaves_nothing(workdir, run_cli, kind):
    changes, expected = INVALID_ARRAYS[kind]
    np.savez(workdir / "cells.npz", **arrays(**changes))
    before = read_tree(workdir)
    assert_refused(run_cli("comp", "data", "import", "cells.npz"), expected)
    assert read_tree(workdir) == before


def test_import_twice_changes_nothing_and_restores_a_lost_split(workdir, run_cli):
    np.savez(workdir / "cells.npz", **arrays())
    run_cli("comp", "data", "import", "cells.npz")
    before = read_tree(workdir)
    for lost in ([], ["cells.json"], ["cells.csv", "cells.json"]):
        for name in lost:
            Path("folds", name).unlink()
        status, out, _ = run_cli("comp", "data", "import", "cells.npz")
        assert status == 0 and "input/cells already exists" in out and read_tree(workdir) == before


def test_import_does_not_overwrite_other_files(workdir, run_cli):
    np.savez(workdir / "cells.npz", **arrays())
    run_cli("comp", "data", "import", "cells.npz")
    swapped = {f"{subset}_labels": np.uint8([1, 0, 2])[VALID_ARRAYS[f"{subset}_labels"]] for subset in COUNTS}
    for other in (
        arrays(shape=(10, 8, 3)),
        arrays(classes=2),
        arrays(class_names=np.array(["a", "b", "c"])),
        arrays(**swapped, class_names=np.array(["class_1", "class_0", "class_2"])),
    ):
        np.savez(workdir / "other.npz", **other)
        before = read_tree(workdir)
        assert_refused(
            run_cli("comp", "data", "import", "other.npz", "--root", "input/cells", "--folds", "folds/new.csv"),
            "input/cells exists and differs from other.npz; remove it, or set --root DIR",
        )
        assert read_tree(workdir) == before
    np.savez(workdir / "other.npz", **arrays(classes=2))
    before = read_tree(workdir)
    assert_refused(
        run_cli("comp", "data", "import", "other.npz", "--folds", "folds/cells.csv"), "exists and has another split"
    )
    assert read_tree(workdir) == before  # not even the images, although input/other is free
    Path("input/empty").mkdir()
    assert_refused(
        run_cli("comp", "data", "import", "cells.npz", "--root", "input/empty"),
        "input/empty exists and differs from cells.npz",
    )


# SIGKILL, which no `finally` sees, while the training images, the test images or the split are written
KILL = """
import os, signal, sys
import comp.__main__, comp.data.medmnist_import, comp.records.base
images = int(sys.argv[1])
module, name = (comp.data.medmnist_import.cv2, "imencode") if images else (comp.records.base, "write_json")
write, calls_left = getattr(module, name), [images or 1]
def kill_at_last_call(*arguments):
    calls_left[0] -= 1
    if not calls_left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*arguments)
setattr(module, name, kill_at_last_call)
sys.argv = ["comp", "data", "import", "cells.npz"]
comp.__main__.main()
"""


@pytest.mark.parametrize("images", [5, 20, 0])
def test_import_after_a_killed_import_starts_clean(workdir, run_cli, images):
    np.savez(workdir / "cells.npz", **arrays())
    killed = subprocess.run([sys.executable, "-c", KILL, str(images)], env={**os.environ, "PYTHONPATH": str(REPO_ROOT)})
    assert killed.returncode == -9 and Path("input/cells").exists() == (images == 0)
    leftover = Path("input/.cells.part/train/class_0/old.png")
    if images:
        leftover.touch(exist_ok=False)
    assert run_cli("comp", "data", "import", "cells.npz")[0] == 0
    assert sorted(os.listdir("input")) == ["cells"] and len(scan("input/cells").train) == 17
    assert len(read_folds(Path("folds/cells.csv"), scan("input/cells"))) == 17


def test_import_full_disk_leaves_nothing(workdir, run_cli, monkeypatch):
    np.savez(workdir / "cells.npz", **arrays())

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        assert_refused(run_cli("comp", "data", "import", "cells.npz"), "No space left on device (input/cells)")
    assert os.listdir("input") == [] and not Path("folds").exists()


# ---- export ----


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
    for subset in COUNTS:
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
        subsets = [subset for subset in COUNTS for pixels in content[f"{subset}_images"] if pixels.tobytes() in copies]
        assert len(subsets) == 3 and len(set(subsets)) == 1


def test_export_same_seed_writes_the_same_bytes(letters, run_cli):
    for name, seed in (("one", "7"), ("two", "7"), ("other", "8")):
        assert run_cli(*EXPORT, "--seed", seed, "--out", f"made/{name}.npz")[0] == 0
    one, two, other = (Path(f"made/{name}.npz").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other and sorted(os.listdir("made")) == ["one.npz", "other.npz", "two.npz"]


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
    (letters.parent / "taken.npz").write_text("mine")
    path = letters / "train/c/c9.png"
    complete = path.read_bytes()

    def assert_fails(expected: str, *arguments: str) -> None:
        before = read_tree(letters.parent)
        assert_refused(run_cli(*EXPORT, *arguments), expected)
        assert read_tree(letters.parent) == before

    assert_fails("input/taken.npz already exists; remove it, or set --out FILE", "--out", "input/taken.npz")
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
