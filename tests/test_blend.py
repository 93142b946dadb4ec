"""The mean of several tables is joined by image, never by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from comp.ensemble.blend import mean
from comp.errors import UserError

CLASSES = ["a", "b", "c"]


def table(seed: int, images: int = 20) -> pd.DataFrame:
    values = np.random.default_rng(seed).dirichlet(np.ones(3), images)
    index = pd.Index([f"{number}.png" for number in range(images)], name="image")
    return pd.DataFrame(values, index, CLASSES).assign(label="a", fold=0)[["label", "fold", *CLASSES]]


@pytest.mark.parametrize("copies", [1, 2, 4])
def test_the_mean_of_a_table_with_itself_is_itself(copies):
    assert mean([table(0)] * copies, CLASSES).equals(table(0))


def test_the_mean_is_that_of_every_cell():
    blended = mean([table(0), table(1), table(2)], CLASSES)
    assert blended.loc["7.png", "b"] == pytest.approx(np.mean([table(seed).loc["7.png", "b"] for seed in range(3)]))
    assert np.allclose(blended[CLASSES].sum(axis=1), 1)


def test_neither_the_order_of_rows_nor_of_columns_nor_of_members_matters():
    shuffled = table(1).sample(frac=1, random_state=0)[["c", "label", "a", "fold", "b"]]
    straight = mean([table(0), table(1)], CLASSES)
    assert mean([table(0), shuffled], CLASSES).equals(straight)
    assert mean([shuffled, table(0)], CLASSES).loc[straight.index, straight.columns].equals(straight)


def test_members_are_left_as_they_are():
    first = table(0)
    mean([first, table(1)], CLASSES)
    assert first.equals(table(0))


@pytest.mark.parametrize("other", [table(1, images=19), table(1, images=21),
                                   table(1).rename(index={"3.png": "three.png"})])
def test_members_that_predict_other_images_are_refused(other):
    with pytest.raises(UserError, match="members predict different images"):
        mean([table(0), other], CLASSES)
