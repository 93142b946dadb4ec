"""Pooling the images of a row: means, maxima, rows without an image, and tables of predictions by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from comp.records.task import TaskSpec
from comp.rows import ROW_COLUMN, Rows
from comp.tasks import make_task

PREDICTIONS = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], np.float32)
ROWS = Rows.of_images(["x", "y", "x", "z"])


def test_pool_takes_the_mean_of_each_rows_images_over_any_leading_axes():
    expected = [[0.75, 0.25], [0.2, 0.8], [0.3, 0.7]]
    assert ROWS.ids == ("x", "y", "z") and ROWS.first.tolist() == [0, 1, 3]
    assert ROWS.pool(PREDICTIONS, "mean") == pytest.approx(np.array(expected))
    folds_and_views = np.stack([[PREDICTIONS, 1 - PREDICTIONS]])
    pooled = ROWS.pool(folds_and_views, "mean")
    assert pooled.shape == (1, 2, 3, 2) and pooled[0, 1] == pytest.approx(1 - np.array(expected))


def test_pool_of_one_image_each_keeps_the_bits_and_the_type():
    rows = Rows.of_positions(["b", "a"], [[1], [0]])
    assert rows.are_images and np.array_equal(rows.pool(PREDICTIONS, "mean"), PREDICTIONS[[1, 0]])
    assert rows.pool(PREDICTIONS, "max").dtype == np.float32


def test_pool_mean_is_not_normalised_again():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), 300)
    task = make_task(TaskSpec("single", tuple("abcdefg")))
    for rows in (Rows.of_images([str(index // 3) for index in range(300)]), Rows.of_images(list(map(str, range(300))))):
        assert np.array_equal(task.pool(probabilities, rows), rows.pool(probabilities, "mean"))
    binary = make_task(TaskSpec("binary", ("0", "1"), pool="max"))
    assert binary.pool(np.stack([PREDICTIONS, PREDICTIONS]), ROWS)[1] == pytest.approx(binary.pool(PREDICTIONS, ROWS))


def test_pool_row_without_an_image_has_the_default():
    rows = Rows.of_positions(["x", "none", "y"], [[0, 1], [], [3]], default=np.array([0.5, 0.5]))
    assert rows.pool(PREDICTIONS, "mean") == pytest.approx(np.array([[0.55, 0.45], [0.5, 0.5], [0.3, 0.7]]))


@pytest.mark.parametrize(
    ("spec", "first"),
    [
        (TaskSpec("binary", ("0", "1"), pool="max"), [0.6, 0.4]),  # the highest probability of yes
        (TaskSpec("single", ("a", "b"), pool="max"), [0.9 / 1.3, 0.4 / 1.3]),
        (TaskSpec("multilabel", ("a", "b"), pool="max"), [0.9, 0.4]),
    ],
)
def test_pool_maximum_is_a_valid_prediction_of_the_task(spec, first):
    task = make_task(spec)
    pooled = task.pool(PREDICTIONS, ROWS)
    assert pooled[0] == pytest.approx(first) and not task.find_invalid(pooled)
    assert task.spec.unless_single == spec


def test_by_row_pools_a_table_with_row_ids_and_no_other():
    task = make_task(TaskSpec("single", ("a", "b")))
    index = pd.Index(["1.png", "2.png", "3.png", "4.png"], name="image")
    table = pd.DataFrame(PREDICTIONS, index, ["a", "b"])
    table.insert(0, "label", ["a", "b", "a", "b"])
    table.insert(1, "fold", [0, 0, 0, 1])
    assert task.by_row(table) is table
    table.insert(2, ROW_COLUMN, ["x", "y", "x", "z"])
    by_row = task.by_row(table)
    assert by_row.index.tolist() == ["x", "y", "z"] and by_row.columns.tolist() == ["label", "fold", "a", "b"]
    targets, predictions = task.to_arrays(table)
    assert targets.tolist() == [0, 1, 1] and predictions[0] == pytest.approx([0.75, 0.25])
    assert predictions.dtype == np.float32
