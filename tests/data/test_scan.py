"""Scanning a folder: the order and numbers of the classes, and an id for each image."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from comp.data.scan import scan
from comp.errors import UserError


@pytest.fixture
def tree(tmp_path: Path):
    """Empty files: scanning reads names only."""

    def make(*names: str, class_map: object = None) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        if class_map is not None:
            text = class_map if isinstance(class_map, str) else json.dumps(class_map)
            (tmp_path / "class_map.json").write_text(text)
        return tmp_path

    return make


def test_scan_without_class_map_sorts_and_numbers_classes(tree):
    dataset = scan(tree("train/b/1.png", "train/a/2.png", "train/c/3.png"))
    assert (dataset.classes, dataset.class_numbers) == (("a", "b", "c"), (0, 1, 2))
    assert [(image.id, image.label) for image in dataset.train] == [("2.png", "a"), ("1.png", "b"), ("3.png", "c")]


def test_scan_class_map_gives_order_and_numbers(tree):
    dataset = scan(tree("train/a/1.png", "train/b/2.png", "train/c/3.png", class_map={"a": 7, "b": 10, "c": 2}))
    assert (dataset.classes, dataset.class_numbers) == (("c", "a", "b"), (2, 7, 10))


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ({"a": 0}, "disagree about: b"),
        ({"a": 0, "b": 1, "c": 2}, "disagree about: c"),
        ({"a": 0, "B": 1}, "disagree about: B, b"),
        ({"a": 1, "b": 1}, "one number to two classes"),
        ({"a": 0, "b": "second"}, "map of class name to whole number"),
        (["a", "b"], "map of class name to whole number"),
        ({"a": 0, "b": 1.0}, "map of class name to whole number"),
        ({"a": 0, "b": True}, "map of class name to whole number"),
        ({"a": 0, "b": [1]}, "map of class name to whole number"),
        ({"a": 0, "b": 10**18}, "map of class name to whole number"),
        ({"a": 0, "b": -(10**18)}, "map of class name to whole number"),
        (f'{{"a": 0, "b": {"9" * 5000}}}', "not readable JSON"),
        ("null", "map of class name to whole number"),
        ("{", "not readable JSON"),
    ],
)
def test_scan_class_map_that_does_not_match_folders_raises(tree, class_map, message):
    with pytest.raises(UserError, match=rf"class_map\.json.*{message}"):
        scan(tree("train/a/1.png", "train/b/2.png", class_map=class_map))


def test_scan_class_map_that_is_a_broken_link_raises(tree, tmp_path):
    (tmp_path / "class_map.json").symlink_to("elsewhere.json")
    with pytest.raises(UserError, match=r"class_map\.json is missing"):
        scan(tree("train/a/1.png"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"train/a/caf\xe9.png", r"caf\\xe9\.png"),
        (b"train/\xff/1.png", r"train/\\xff"),
        (b"train/a/\xe9t\xe9/1.png", r"a/\\xe9t\\xe9/1\.png"),
        (b"test/\xe9.png", r"test/\\xe9\.png"),
        (b"test/two\nlines.png", r"two\\nlines"),
        (b"train/a/two\r.png", r"two\\r"),
        (b"train/b\x1b[31m/1.png", r"b\\x1b\[31m"),
        ("train/a/\u2028.png".encode(), r"\\u2028"),
    ],
)
def test_scan_name_that_is_no_line_of_text_raises_and_is_shown_escaped(tree, name, shown):
    root = tree("train/a/1.png", "test/1.png")
    path = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(os.fsdecode(path)).touch()
    with pytest.raises(UserError, match=f"the name of .*{shown}.* is not UTF-8, or has a line end") as error:
        scan(root)
    assert str(error.value).encode() and "\n" not in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    "name", ['quo"te', "com,ma", "a'b", " blank ", "NA", "\u202fnarrow", "\u65e5\u672c", "\U0001f9ec"]
)
def test_scan_unusual_names_survive_the_folds_file(tree, name):
    from comp.data.folds import make_folds, read_folds, write_folds

    root = tree(*(f"train/{label}/{name}{number}.png" for label in ("x", name) for number in range(3)))
    dataset = scan(root)
    groups = {image.id: image.id for image in dataset.train}
    write_folds(root / "folds.csv", make_folds(dataset, groups, 3, 0), dataset, 3, 0)
    assert set(read_folds(root / "folds.csv", dataset)["image"]) == set(groups)


def test_scan_leaves_out_what_is_no_file(tree, tmp_path):
    root = tree("train/a/1.png", "train/a/folder.png/2.png", "test/1.png")
    os.mkfifo(root / "train/a/pipe.png")
    os.mkfifo(root / "test/pipe.png")
    (root / "train/a/broken.png").symlink_to(root / "nowhere.png")
    (root / "train/a/device.png").symlink_to("/dev/zero")
    (root / "train/a/linked.png").symlink_to(root / "test/1.png")
    dataset = scan(root)
    assert sorted(image.id for image in dataset.train) == ["1.png", "2.png", "linked.png"]
    assert [image.id for image in dataset.test] == ["1.png"]


def test_scan_unique_names_are_the_ids(tree):
    dataset = scan(tree("train/a/deep/1.png", "train/b/2.png", "test/1.png"))
    assert dataset.id_kind == "name"
    assert [image.id for image in dataset.train] == ["1.png", "2.png"]
    assert [(image.id, image.label) for image in dataset.test] == [("1.png", None)]


def test_scan_repeated_name_makes_all_ids_paths(tree):
    dataset = scan(tree("train/a/1.png", "train/b/1.png", "train/b/2.png"))
    assert dataset.id_kind == "path"
    assert [image.id for image in dataset.train] == ["a/1.png", "b/1.png", "b/2.png"]


def test_scan_ignores_hidden_and_other_files(tree):
    dataset = scan(
        tree(
            "train/a/1.PNG",
            "train/a/.2.png",
            "train/a/notes.txt",
            "train/.cache/3.png",
            "train/a/.thumbnails/4.png",
            "train/stray.png",
            "train/b/5.jpeg",
            "test/.6.png",
            "test/7.tif",
        )
    )
    assert [image.id for image in dataset.train] == ["1.PNG", "5.jpeg"]
    assert [image.id for image in dataset.test] == ["7.tif"] and dataset.classes == ("a", "b")


def test_scan_lists_images_in_natural_order(tree):
    dataset = scan(tree(*(f"train/a/img_{number}.png" for number in (10, 9, 2, 1, 11))))
    assert [image.id for image in dataset.train] == [f"img_{number}.png" for number in (1, 2, 9, 10, 11)]


def test_scan_without_test_folder_has_no_test_images(tree):
    assert scan(tree("train/a/1.png")).test == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "has no train/ folder"),
        (("test/1.png",), "has no train/ folder"),
        (("train/1.png",), "contains no images"),
        (("train/a/notes.txt", "train/b/.1.png"), "contains no images"),
    ],
)
def test_scan_folder_without_training_images_raises(tree, names, message):
    with pytest.raises(UserError, match=message):
        scan(tree(*names))


def test_scan_missing_dataset_raises_with_advice(tmp_path):
    with pytest.raises(UserError, match=f"no dataset at {tmp_path / 'cells'}; put train/<class>/"):
        scan(tmp_path / "cells")


def test_image_list_sha256_ignores_the_order_of_files(tree):
    dataset = scan(tree("train/a/1.png", "train/b/2.png", "train/a/3.png"))
    assert replace(dataset, train=dataset.train[::-1]).image_list_sha256 == dataset.image_list_sha256


def test_image_list_sha256_depends_on_labels_and_not_on_folders(tree, tmp_path):
    before = scan(tree("train/a/1.png", "train/b/2.png")).image_list_sha256
    (tmp_path / "train/a/deep").mkdir()
    (tmp_path / "train/a/1.png").rename(tmp_path / "train/a/deep/1.png")
    assert scan(tmp_path).image_list_sha256 == before
    (tmp_path / "train/a/deep/1.png").rename(tmp_path / "train/b/1.png")
    assert scan(tmp_path).image_list_sha256 != before


def test_scan_arrays_and_dicom_files_are_images_unless_a_plainer_file_has_their_name(tmp_path):
    for name in ("a/1.npy", "a/2.DCM", "b/3.dicom", "b/4.png", "b/4.npy", "b/dicom/5.dcm", "b/jpeg/5.jpg"):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [image.id for image in scan(tmp_path).train] == ["1.npy", "2.DCM", "4.png", "5.jpg", "3.dicom"]
