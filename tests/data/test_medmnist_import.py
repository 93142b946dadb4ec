"""Import of MedMNIST files: pixels, labels and the official split stay, and other files are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.data.folds import read_folds
from comp.data.images import read_image
from comp.data.medmnist_import import BLOOD_CELLS
from comp.data.scan import scan
from comp.files import read_json
from comp.tables import read_csv
from tests.conftest import REPO_ROOT
from tests.data.results import assert_refused, read_tree

COUNTS = {"train": 12, "val": 5, "test": 7}


def arrays(*, classes: int = 3, shape: tuple[int, ...] = (9, 8, 3), **changes) -> dict[str, np.ndarray]:
    """Return the arrays of a small MedMNIST file; a change to None removes the key."""
    content = {}
    for subset, count in COUNTS.items():
        rng = np.random.default_rng(count)
        content[f"{subset}_labels"] = rng.permutation(np.arange(count) % classes).astype(np.uint8)[:, None]
        content[f"{subset}_images"] = rng.integers(0, 256, (count, *shape), np.uint8)
    return {key: value for key, value in (content | changes).items() if value is not None}


@pytest.fixture
def workdir(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
    assert record["official"] is True
    assert list(record) == ["dataset", "official", "images", "image_id", "image_list_sha256"]
    assert status == 0 and "17 training images of 3 classes, 7 test images" in out and "train.py data.root=" in out


def test_import_has_the_layout_of_a_competition(workdir, run_cli, tiny_dataset):
    np.savez(workdir / "cells.npz", **arrays())
    run_cli("comp", "data", "import", "cells.npz", "--root", "elsewhere/mine", "--folds", "splits/official.csv")
    imported, drawn = Path("elsewhere/mine"), tiny_dataset
    assert sorted(os.listdir(imported)) == sorted(os.listdir(drawn))
    for name in ("test_labels.csv", "sample_submission.csv"):
        assert list(pd.read_csv(imported / name)) == list(pd.read_csv(drawn / name))
        assert pd.read_csv(imported / name)["image"].tolist() == [image.id for image in scan(imported).test]
    assert set(pd.read_csv(imported / "sample_submission.csv")["label"]) == {0}
    assert read_json(imported / "class_map.json") == {"class_0": 0, "class_1": 1, "class_2": 2}
    assert len(read_folds(Path("splits/official.csv"), scan(imported))) == 17 and not Path("folds").exists()
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
