"""The sections about mistakes, suspected labels and unusual images, with a model's features given by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from comp.engine.explain import shade
from comp.errors import UserError
from comp.prediction.explanations import Features
from comp.report.mistakes import find_mistakes
from comp.report.oof import OofPredictions
from comp.report.sections import embedding, label_issues, mistakes, outliers
from comp.report.source import Source, find_source
from comp.tables import read_table
from comp.tasks import TASKS
from tests.report.stored_runs import write_run


@pytest.fixture
def empty_workspace(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_oof(kind: str, labels: list[str], predictions: list[list[float]]) -> OofPredictions:
    task = TASKS[kind].from_labels(labels, name="weight")
    images = tuple(f"{number}.png" for number in range(len(labels)))
    targets = task.encode(labels)
    return OofPredictions(
        task, task.default_metric, images, tuple(labels), np.zeros(len(labels), int), targets, np.array(predictions)
    )


class HandExplainer:
    """Stands for the models of a run: features of five dimensions, the last image far from the others."""

    def __init__(self, source: Source):
        self.dataset, self.run, self.folds = source.dataset, source.runs[0], [0, 1, 2]
        self.split = np.arange(len(self.dataset.train)) % 3
        self.predictor = SimpleNamespace(read_split=lambda: self.split)

    def _features(self, images, folds) -> Features:
        features = np.random.default_rng(0).normal(1, 0.05, (len(images), 5)).astype(np.float32)
        features[-1] = [-5, 0, 0, 0, 0]
        return Features(tuple(image.id for image in images), folds, features, np.ones((len(images), 3), np.float32))

    def oof_features(self) -> Features:
        return self._features(self.dataset.train, self.split)

    def train_features(self, fold: int) -> Features:
        return self._features(self.dataset.train, np.full(len(self.split), fold))

    def test_features(self, fold: int) -> Features:
        return self._features(self.dataset.test, np.full(len(self.dataset.test), fold))

    def heat_maps(self, keys) -> np.ndarray:
        return np.ones((len(keys), 2, 2), np.float32)


@pytest.fixture
def source(empty_workspace) -> Source:
    """A run of three classes whose models are given by hand."""
    write_run("cells", "single")
    source = find_source(["cells"], device=None)
    source.__dict__["explainer"] = HandExplainer(source)  # in place of the cached property
    return source


def test_find_mistakes_of_classes_are_sorted_by_confidence():
    oof = make_oof("single", ["a", "b", "a"], [[0.4, 0.6], [0.9, 0.1], [0.8, 0.2]])
    first, second = find_mistakes(oof)
    assert (first.row, first.label, first.answer, first.confidence) == (1, "b", "a", 0.9)
    assert (second.row, second.answer) == (0, "b")


def test_find_mistakes_of_tags_are_one_per_tag():
    oof = make_oof("multilabel", ["rust", "rust scab"], [[0.1, 0.7], [0.9, 0.95]])
    assert [(item.row, item.label, item.answer) for item in find_mistakes(oof)] == [
        (0, "rust", "not rust"),
        (0, "not scab", "scab"),
    ]


def test_find_mistakes_of_numbers_are_the_largest_errors():
    oof = make_oof("regression", ["1", "2", "3"], [[1.5], [5.0], [3.0]])
    assert [item.row for item in find_mistakes(oof)] == [1, 0, 2]


def test_mistakes_are_shown_with_what_the_model_is_shown(source):
    section = mistakes.build(source)
    pictures = section.values["pictures"]
    confidences = [picture.mistake.confidence for picture in pictures]
    assert confidences == sorted(confidences, reverse=True) and len(pictures) == source.oof.is_wrong.sum()
    assert all(picture.heat_uri.startswith("data:image/jpeg") for picture in pictures)


def test_mistakes_without_captum_say_how_to_have_heat_maps(source, monkeypatch, capsys):
    def refuse(*_):
        raise UserError("No module named 'captum'; pip install -e '.[report]'")

    monkeypatch.setattr(source.explainer, "heat_maps", refuse)
    section = mistakes.build(source)
    assert "pip install" in section.values["reason"] and not section.values["has_heat"]
    assert "heat maps are left out" in capsys.readouterr().err


def test_shade_keeps_the_colours_where_the_map_is_high():
    square = np.full((2, 2, 3), 200, np.uint8)
    shaded = shade(square, np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert shaded[0, 0].tolist() == [200] * 3 and shaded[0, 1].tolist() == [50] * 3


def test_label_issues_list_copies_under_two_labels(source):
    section = label_issues.build(source)  # images of a label are one colour, so copies have one label alone
    assert section is None or not section.values["pairs"]
    path = source.dataset.train[0].path
    other = next(image for image in source.dataset.train if image.label != source.dataset.train[0].label)
    other.path.write_bytes(path.read_bytes())
    section = label_issues.build(find_source(["cells"], device=None))
    assert {pair.labels for pair in section.values["pairs"]}
    table = read_table_of(section)
    assert other.id in set(table["image"]) and set(table["new_label"]) == {""}


def test_label_issues_keep_what_a_person_has_filled_in(source):
    predictions = source.oof.predictions.copy()
    predictions[0] = np.eye(3)[(source.oof.targets[0] + 1) % 3]
    source = replace(source, oof=replace(source.oof, predictions=predictions))
    section = label_issues.build(source)
    assert [suspect.image for suspect in section.values["suspects"]][:1] == [source.oof.images[0]]
    source.directory.mkdir(parents=True)
    path = source.directory / label_issues.FILE
    image = read_table_of(section)["image"].iloc[0]
    path.write_text(f"image,label,suggested,confidence,new_label\n{image},,,,monocyte\n47.png,,,,ig\n")
    table = read_table_of(label_issues.build(source)).set_index("image")["new_label"]
    assert table[image] == "monocyte" and table["47.png"] == "ig"


def read_table_of(section):
    path = Path("relabel.csv")
    path.write_text(section.files[label_issues.FILE])
    return read_table(path)


def test_label_issues_of_numbers_have_no_meaning(empty_workspace):
    write_run("weights", "regression")
    assert label_issues.build(find_source(["weights"], device=None)) is None


def test_outliers_and_embedding_of_planted_features(source):
    section = outliers.build(source)
    assert section.values["train"][0].image == source.dataset.train[-1].id
    assert section.values["train"][0].distance > 5 and "n = 48 training images" in section.figures[0].caption
    names = {figure.name for figure in embedding.build(source).figures}
    assert names == {"embedding-class", "embedding-error", "embedding-fold"}  # one image size, no test images


def test_sections_that_run_a_model_are_left_out_without_one(empty_workspace):
    write_run("cells", "single")
    source = find_source(["cells"], device=None)
    assert outliers.build(source) is None and embedding.build(source) is None
    assert not mistakes.build(source).values["has_heat"]
