"""Tags: which are known, which are wrong, and whether every image has one."""

from __future__ import annotations

import numpy as np
import pytest

from comp.errors import UserError
from comp.records.task import TaskSpec
from comp.tasks import TASKS, make_task
from comp.tasks.multilabel import split_tags

TASK = make_task(TaskSpec("multilabel", ("a", "b", "c")))


@pytest.mark.parametrize(("labels", "at_least_one"), [(["a b", "c"], True), (["a b", ""], False), (["a", " "], False)])
def test_from_labels_knows_whether_every_image_has_a_tag(labels, at_least_one):
    assert TASKS["multilabel"].from_labels(labels).spec.at_least_one == at_least_one


def test_split_tags_have_no_spaces_around_them_and_are_never_empty():
    assert split_tags(" a , b c,, ", ",") == ["a", "b c"] and split_tags("", " ") == []


def test_encode_unknown_tag_is_named_with_the_nearest():
    task = TASKS["multilabel"].from_labels(["rust", "scab"])
    with pytest.raises(UserError, match=r"the tag 'rusts' is not known; did you mean rust\?"):
        task.encode(["scab", "scab rusts"])


def test_errors_are_the_share_of_tags_on_the_other_side_of_one_half():
    targets = np.array([[1, 0, 0], [1, 1, 0]])
    predictions = np.array([[0.5, 0.2, 0.49], [0.49, 1.0, 0.0]])
    assert TASK.errors(targets, predictions) == pytest.approx([0, 1 / 3])


def test_losses_of_certain_errors_are_finite_and_of_certain_truths_zero():
    targets = np.array([[1, 0, 0], [1, 0, 0]])
    certain, wrong = TASK.losses(targets, np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert certain == 0 and 5 < wrong < 50


def test_counts_are_the_images_of_each_tag():
    assert TASK.counts(TASK.encode(["a b", "a", ""])) == {"a": 2, "b": 1, "c": 0}


def test_decide_leaves_an_image_with_a_tag_as_it_is():
    task = make_task(TaskSpec("multilabel", ("a", "b"), at_least_one=True))
    assert task.decide(np.array([[0.7, 0.6], [0.5, 0.1], [0.2, 0.3]]), (0.5,)).tolist() == [
        [0.7, 0.6],
        [0.5, 0.1],
        [0.2, 0.5],
    ]
    assert task.decide(np.array([[0.2, 0.3]]), ()).tolist() == [[0.2, 0.3]]
