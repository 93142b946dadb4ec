"""Scanning a folder: the order and numbers of the classes, and an id for each image."""

from __future__ import annotations

import json
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
        ("{", "map of class name to whole number"),
    ],
)
def test_scan_class_map_that_does_not_match_folders_raises(tree, class_map, message):
    with pytest.raises(UserError, match=rf"class_map\.json.*{message}"):
        scan(tree("train/a/1.png", "train/b/2.png", class_map=class_map))


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
