"""The true labels of test images, where a dataset tells them: a demo, or a benchmark with a public test part."""

from __future__ import annotations

import pandas as pd

from comp.data.scan import Dataset
from comp.errors import UserError
from comp.tables import read_csv


def join_test_labels(dataset: Dataset, test: pd.DataFrame) -> pd.DataFrame | None:
    """Test predictions with the `label` of each image that has one; None where none is known. Only ever scored:
    nothing is chosen by it."""
    file = dataset.root / "test_labels.csv"
    if not file.is_file():
        return None
    labels = read_csv(file, ["image", "label"]).set_index("image")["label"]
    names = dict(zip(map(str, dataset.class_numbers), dataset.classes, strict=True))
    known = labels.replace({} if set(labels) <= set(dataset.classes) else names)
    if known.index.has_duplicates:
        raise UserError(f"{file} has image {known.index[known.index.duplicated()][0]} twice")
    both = test.index.intersection(known.index)
    if not len(both) or not set(known) <= set(dataset.classes):
        raise UserError(f"{file} does not give a class of train/ for the images of test/")
    table = test.loc[both].copy()
    table.insert(0, "label", known.loc[both])
    return table
