"""Wrong labels, strange images and shifted test sets that were planted are found, and none where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from comp.diagnosis import projection
from comp.diagnosis.adversarial import separate
from comp.diagnosis.label_issues import find_class_issues, find_tag_issues
from comp.diagnosis.outliers import energy, neighbour_distances
from comp.diagnosis.projection import choose_sample, project

RNG_SEED = 0


def noisy_predictions(classes: int = 4, images: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return the true classes of images, and probabilities that mostly know them."""
    rng = np.random.default_rng(RNG_SEED)
    classes_of_images = rng.integers(classes, size=images)
    return classes_of_images, softmax(4 * np.eye(classes)[classes_of_images] + rng.normal(size=(images, classes)), 1)


def test_find_class_issues_planted_wrong_labels_are_found_with_their_class():
    classes, probabilities = noisy_predictions()
    labels, wrong = classes.copy(), np.arange(0, 400, 20)
    labels[wrong] = (classes[wrong] + 1) % 4
    issues = find_class_issues(labels, probabilities)
    suspected = dict(zip(issues.rows.tolist(), issues.columns.tolist(), strict=True))
    assert len(set(suspected) & set(wrong.tolist())) >= 18
    assert all(suspected[row] == classes[row] for row in wrong if row in suspected)
    assert set(issues.rows[:10].tolist()) <= set(wrong.tolist())  # the most suspicious first
    assert len(issues) < 30 and (np.diff(issues.margins) >= 0).all()


def test_find_class_issues_a_class_that_is_never_sure_needs_less_confidence():
    """Class 1 has 0.45 on its own images, so 0.48 on an image of class 0 is confident, and 0.55 of class 0 is not."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.52, 0.48], [0.55, 0.45], [0.55, 0.45]])
    issues = find_class_issues(np.array([0, 0, 0, 1, 1]), probabilities)
    assert issues.rows.tolist() == [2] and issues.columns.tolist() == [1]
    assert issues.margins == pytest.approx([0.52 - 0.48])


def test_find_class_issues_class_without_images_is_never_suggested():
    issues = find_class_issues(np.array([0, 0, 1]), np.array([[0.1, 0.1, 0.8], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1]]))
    assert 2 not in issues.columns


def test_find_tag_issues_planted_wrong_tags_are_found():
    rng = np.random.default_rng(RNG_SEED)
    tags = rng.integers(2, size=(300, 3))
    probabilities = np.clip(0.1 + 0.8 * tags + 0.1 * rng.normal(size=tags.shape), 0.01, 0.99)
    probabilities[[5, 50], [0, 2]] = np.where(tags[[5, 50], [0, 2]], 0.97, 0.03)
    labels = tags.copy()
    labels[[5, 50], [0, 2]] ^= 1
    issues = find_tag_issues(labels, probabilities)
    assert {(5, 0), (50, 2)} == set(zip(issues.rows[:2].tolist(), issues.columns[:2].tolist(), strict=True))
    assert (issues.confidence[:2] > 0.5).all()


def test_neighbour_distances_stranger_is_far_and_the_typical_image_at_one():
    rng = np.random.default_rng(RNG_SEED)
    reference = rng.normal(size=(200, 8)) * 0.1 + np.eye(8)[0]
    assert np.median(neighbour_distances(reference)) == pytest.approx(1)
    near, stranger = rng.normal(size=(1, 8)) * 0.1 + np.eye(8)[0], -np.eye(8)[:1]
    distances = neighbour_distances(reference, np.concatenate([near, stranger]))
    assert distances[0] < 3 < 5 < distances[1]
    assert neighbour_distances(7 * reference) == pytest.approx(neighbour_distances(reference))  # whatever the scale
    assert neighbour_distances(reference[:1]).tolist() == [1]


def test_energy_is_highest_where_no_class_is_supported():
    values = energy(np.array([[9.0, 0, 0], [1.0, 0, 0], [0.0, 0, 0]]))
    assert values[0] < values[1] < values[2] == pytest.approx(-np.log(3))


def test_project_groups_stay_apart_and_repeat(monkeypatch):
    rng = np.random.default_rng(RNG_SEED)
    features = np.concatenate([rng.normal(size=(30, 64)), rng.normal(size=(30, 64)) + 10]).astype(np.float32)
    points = project(features)
    centres = points[:30].mean(0), points[30:].mean(0)
    spread = np.linalg.norm(points[:30] - centres[0], axis=1).mean()
    assert points.shape == (60, 2) and np.linalg.norm(centres[0] - centres[1]) > 2 * spread
    assert np.array_equal(points, project(features))
    assert project(features[:3]).tolist() == [[0, 0]] * 3
    monkeypatch.setattr(projection, "MAX_IMAGES", 20)
    sample = choose_sample(60)
    assert (
        len(set(sample.tolist())) == 20 and (np.diff(sample) > 0).all() and choose_sample(20).tolist() == [*range(20)]
    )


def test_separate_same_distribution_has_an_interval_around_a_half_and_a_shift_has_not():
    rng = np.random.default_rng(RNG_SEED)
    first, second = rng.normal(size=(150, 20)), rng.normal(size=(100, 20))
    same = separate(first, second)
    assert same and same.interval[0] < 0.5 < same.interval[1]
    shifted = separate(first, second + np.eye(20)[0] * 3)
    assert shifted and shifted.auc > 0.95 and shifted.interval[0] > 0.9
    assert shifted.probabilities[150:].mean() > 0.7 > 0.3 > shifted.probabilities[:150].mean()
    assert separate(first[:9], second) is None
