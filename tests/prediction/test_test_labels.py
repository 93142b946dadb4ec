"""True labels of test images are joined by image, by name or number of the class; what is wrong in them is an error."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from comp.data.scan import Dataset
from comp.errors import UserError
from comp.prediction.test_labels import join_test_labels
from comp.tasks import single_label

TEST = pd.DataFrame({"cat": [0.9, 0.2, 0.5], "dog": [0.1, 0.8, 0.5]}, pd.Index(["x", "y", "z"], name="image"))


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return Dataset(tmp_path, single_label(("cat", "dog")), (7, 3), (), (), "name")


def write(dataset: Dataset, *rows: str) -> Path:
    file = dataset.root / "test_labels.csv"
    file.write_text("\n".join(["image,label", *rows, ""]))
    return file


def test_join_test_labels_without_the_file_is_none(dataset):
    assert join_test_labels(dataset, TEST) is None


@pytest.mark.parametrize("rows", [("z,dog", "x,cat", "other,cat"), ("z,3", "x,7", "other,7")])
def test_join_test_labels_joins_by_image_and_leaves_out_what_has_no_label(dataset, rows):
    write(dataset, *rows)
    table = join_test_labels(dataset, TEST)
    assert list(table.columns) == ["label", "cat", "dog"] and table["label"].to_dict() == {"x": "cat", "z": "dog"}
    assert table.loc["z", ["cat", "dog"]].tolist() == [0.5, 0.5] and "label" not in TEST


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("x,cat", "y,dog", "x,dog"), "has image x twice; remove one of the rows"),
        (("x,cat", "y,emu"), "must give images of test/ one of the classes of train/ each"),
        (("x,7", "y,4"), "must give images of test/ one of the classes of train/ each"),
        (("a,cat", "b,dog"), "must give images of test/ one of the classes of train/ each"),
        ((), "must give images of test/ one of the classes of train/ each"),
    ],
)
def test_join_test_labels_wrong_file_is_an_error(dataset, rows, message):
    file = write(dataset, *rows)
    with pytest.raises(UserError, match=message) as caught:
        join_test_labels(dataset, TEST)
    assert str(caught.value).startswith(str(file))
