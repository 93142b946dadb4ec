"""A run is predicted with every fold that has finished; one without any, or with other classes, is an error."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from comp.errors import UserError
from comp.prediction.load import finished_folds, load_run_dataset
from comp.records.source import DataSource


def make_run(tmp_path: Path, *done: int | str, folds=(0, 1, 2)) -> SimpleNamespace:
    """Return a run whose folds `done` have finished, and whose other folds have not begun."""
    for fold in done:
        (tmp_path / f"fold{fold}").mkdir(exist_ok=True)
        (tmp_path / f"fold{fold}" / "weights.pt").touch()

    def fold_dir(fold: int | str) -> SimpleNamespace:
        path = tmp_path / f"fold{fold}"
        record = SimpleNamespace(status="done") if fold in done else None
        return SimpleNamespace(
            path=path, weights_path=path / "weights.pt", is_done=fold in done, read_record=lambda: record
        )

    return SimpleNamespace(
        path=tmp_path,
        record=SimpleNamespace(folds=folds),
        fold_dir=fold_dir,
        folds_done=lambda: [fold for fold in folds if fold in done],
    )


def test_finished_folds_are_those_that_are_done_or_the_model_of_all_images(tmp_path):
    run = make_run(tmp_path, 0, 2, "full")
    assert finished_folds(run, full=False) == [0, 2] and finished_folds(run, full=True) == ["full"]


@pytest.mark.parametrize(("done", "full"), [((), False), (("full",), False), ((0, 1, 2), True)])
def test_finished_folds_without_any_tells_how_to_train_it(tmp_path, done, full):
    with pytest.raises(UserError) as caught:
        finished_folds(make_run(tmp_path, *done), full)
    missing, option = ("fold full", " --fold full") if full else ("fold", "")
    assert str(caught.value) == (
        f"{tmp_path} has no finished {missing}; train it with: python train.py -c {tmp_path}/config.yaml{option}"
    )


def test_finished_folds_unfinished_fold_may_have_a_record_without_weights(tmp_path):
    """Only of a fold that is done the weights are missed."""
    run = make_run(tmp_path, 0)
    of_zero, running = run.fold_dir(0), SimpleNamespace(status="running")
    unfinished = SimpleNamespace(
        path=tmp_path / "fold1", weights_path=tmp_path / "fold1" / "weights.pt", read_record=lambda: running
    )
    run.fold_dir = lambda fold: unfinished if fold == 1 else of_zero if fold == 0 else make_run(tmp_path).fold_dir(fold)
    assert finished_folds(run, full=False) == [0]


def test_load_run_dataset_with_other_classes_is_refused(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / f"{label}.png").touch()
    config = SimpleNamespace(source=DataSource(str(tmp_path)))
    run = SimpleNamespace(path="runs/x", classes=("cat", "dog"), config=config)
    assert load_run_dataset(run).classes == ("cat", "dog")
    run.classes = ("cat", "emu")
    with pytest.raises(UserError, match=r"runs/x was trained on the classes cat, emu, and .* has cat, dog; restore"):
        load_run_dataset(run)
