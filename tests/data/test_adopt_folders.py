from __future__ import annotations

import pytest

from comp.data.adopt.folders import class_folders


@pytest.mark.parametrize(
    ("folders", "excluded", "classes"),
    [
        (["train/bus", "train/car", "train/train", "train/valley"], [], {"train": ["bus", "car", "train", "valley"]}),
        (["train", "val"], [], {}),
        (["train", "test", "extra"], [], {}),
        (["cat", "dog", "test"], ["test"], {".": ["cat", "dog"]}),
        (["train/cat", "train/dog", "val/cat", "val/dog"], [], {"train": ["cat", "dog"], "val": ["cat", "dog"]}),
        (["train", "train/cat", "train/dog"], [], {}),
    ],
)
def test_class_folders_named_as_a_part_are_classes_beside_two_others(folders, excluded, classes):
    images = [f"{folder}/0.png" for folder in folders]
    assert class_folders(images, [f"{folder}/0.png" for folder in excluded]) == classes
