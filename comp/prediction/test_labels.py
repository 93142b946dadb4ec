"""The true labels of test images, where a dataset has them: a demo, or a benchmark with a public test set."""

from __future__ import annotations

import pandas as pd

from comp.data.scan import Dataset
from comp.errors import UserError
from comp.files import file_exists
from comp.tables import read_csv


def join_test_labels(dataset: Dataset, test: pd.DataFrame) -> pd.DataFrame | None:
    """Return the test predictions with the column `label` of test_labels.csv; None without that file.

    Images without a label are left out. The labels are only for scoring: nothing is chosen by them.
    """
    file = dataset.root / "test_labels.csv"
    if not file_exists(file):
        return None
    labels = read_csv(file, ["image", "label"]).set_index("image")["label"]
    if not set(labels) <= set(dataset.classes):  # class numbers instead of names
        labels = labels.replace(dict(zip(map(str, dataset.class_numbers), dataset.classes, strict=True)))
    if labels.index.has_duplicates:
        raise UserError(f"{file} has image {labels.index[labels.index.duplicated()][0]} twice; remove one of the rows")
    labelled = test.index.intersection(labels.index)
    if not len(labelled) or not set(labels) <= set(dataset.classes):
        raise UserError(f"{file} must give images of test/ one of the classes of train/ each; fix or remove it")
    table = test.loc[labelled].copy()
    table.insert(0, "label", labels.loc[labelled])
    return table
