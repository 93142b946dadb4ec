"""The best epoch, its weights, early stopping and resume.pt, on a model of two weights and invented predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn

from comp.checkpoints import load_checkpoint, save_checkpoint
from comp.engine.fit import Epoch, TrainState
from comp.errors import UserError
from comp.metrics import CLASS_REPORT, log_losses, score
from comp.runs import FoldDir
from comp.schema import Config, Train
from comp.tasks import single_label
from comp.training.progress import FoldProgress

CPU = torch.device("cpu")
TARGETS = np.array([0, 0, 1, 1, 2, 2])
TASK = single_label(("a", "b", "c"))


def make_progress(ema: bool = False, origin: str = "a run, fold 0", **train) -> FoldProgress:
    model = nn.Linear(1, 2, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    average = ModelEmaV3(model, decay=0.9) if ema else None
    state = TrainState(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), average)
    return FoldProgress(Config(name="x", train=Train(**train)), state, origin)


def predictions(correct: int, confidence: float) -> np.ndarray:
    """Return probabilities whose argmax is right for the first `correct` images, with this largest probability."""
    predicted = np.where(np.arange(6) < correct, TARGETS, (TARGETS + 1) % 3)
    rest = np.full((6, 3), (1 - confidence) / 2, np.float32)
    rest[np.arange(6), predicted] = confidence
    return rest


def end_epoch(progress: FoldProgress, probabilities: np.ndarray | None) -> None:
    """Train: set every weight to the epoch's number, in place as optimisers do. Then record the epoch."""
    state = progress.state
    epoch = len(state.history)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.fill_(epoch + 1)
        for parameter in state.ema.module.parameters() if state.ema else ():
            parameter.fill_(-(epoch + 1))
    state.step += 4
    scored = None if probabilities is None else (TARGETS, probabilities)
    row = progress.record_epoch(Epoch(epoch, state.step, 0.1, 9.0, 2.0, 40), probabilities, scored, TASK, CPU, 0.5)
    state.history.append(row.to_dict())


def best_epoch(progress: FoldProgress, *epochs: np.ndarray) -> int:
    for probabilities in epochs:
        end_epoch(progress, probabilities)
    assert progress.best is not None
    return progress.best.row.epoch


@pytest.mark.parametrize(("ema", "sign"), [(False, 1), (True, -1)])
def test_record_epoch_keep_best_holds_that_epochs_evaluated_weights_while_the_model_trains_on(ema, sign):
    progress = make_progress(ema, keep="best")
    assert best_epoch(progress, predictions(3, 0.6), predictions(5, 0.6), predictions(4, 0.9)) == 2
    assert progress.best.weights["weight"].flatten().tolist() == [sign * 2.0, sign * 2.0]
    assert np.array_equal(progress.best.probabilities, predictions(5, 0.6))
    assert np.array_equal(progress.last.probabilities, predictions(4, 0.9)) and progress.last.row.epoch == 3
    assert progress.kept is progress.best
    last = make_progress(keep="last")
    assert best_epoch(last, predictions(5, 0.6), predictions(4, 0.9)) == 1
    assert last.kept is last.last and last.best.weights is None  # a copy that nothing would use


@pytest.mark.parametrize("metric", CLASS_REPORT)
def test_record_epoch_best_is_the_epoch_with_the_better_score_in_every_metric(metric):
    progress = make_progress(metric=metric)
    better, worse = predictions(5, 0.6), predictions(3, 0.6)
    assert best_epoch(progress, worse, better, worse) == 2
    assert [row.val_score for row in progress.history] == [
        score(metric, TARGETS, epoch) for epoch in (worse, better, worse)
    ]
    assert [row.val_loss for row in progress.history] == pytest.approx(
        [log_losses(TARGETS, epoch).mean() for epoch in (worse, better, worse)]
    )
    assert [row.epoch for row in progress.history] == [1, 2, 3]


def test_record_epoch_monitor_chooses_between_score_and_loss():
    accurate, cautious = predictions(5, 0.999), predictions(4, 0.5)  # the first has the higher score and loss
    assert best_epoch(make_progress(monitor="score"), cautious, accurate, cautious) == 2
    assert best_epoch(make_progress(monitor="loss"), accurate, cautious, accurate) == 2


def test_record_epoch_of_equal_scores_the_lower_loss_is_best_and_of_equal_losses_the_first():
    assert best_epoch(make_progress(), predictions(4, 0.9), predictions(4, 0.6), predictions(4, 0.95)) == 2
    assert best_epoch(make_progress(), predictions(4, 0.6), predictions(4, 0.6)) == 1


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_should_stop_early_is_true_after_exactly_patience_epochs_without_a_better_one(metric):
    progress, stopped = make_progress(metric=metric, patience=2), []
    for correct in (3, 4, 3, 5, 4, 4):
        end_epoch(progress, predictions(correct, 0.6))
        stopped.append(progress.should_stop_early())
    assert stopped == [False, False, False, False, False, True]
    assert not make_progress(patience=2).should_stop_early()
    progress = make_progress(patience=None)
    best_epoch(progress, *[predictions(4, 0.6)] * 9)
    assert not progress.should_stop_early()


def test_should_stop_early_without_validation_images_is_false_and_nothing_is_best():
    progress = make_progress(patience=1)
    for _ in range(3):
        end_epoch(progress, None)
    assert not progress.should_stop_early() and progress.best is progress.last is progress.kept is None
    assert [row.val_score for row in progress.history] == [None] * 3


def test_progress_saved_and_loaded_keeps_the_best_and_the_last_epoch(tmp_path):
    progress = make_progress(ema=True, keep="best")
    best_epoch(progress, predictions(5, 0.6), predictions(4, 0.9))
    progress.save(FoldDir(tmp_path))
    loaded = make_progress(ema=True, keep="best")
    loaded.load(FoldDir(tmp_path), steps_per_epoch=4, val_images=6)
    assert loaded.best.row == progress.best.row and loaded.last.row == progress.last.row
    assert torch.equal(loaded.best.weights["weight"], progress.best.weights["weight"])
    assert torch.equal(loaded.best.probabilities, progress.best.probabilities)
    assert torch.equal(loaded.last.probabilities, progress.last.probabilities)
    assert best_epoch(loaded, predictions(4, 0.6)) == 1 and best_epoch(loaded, predictions(6, 0.6)) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": "a run, fold 1"}, "is of another training"),  # trained on this fold's validation images
        ({"history": []}, "contradicts itself"),
        ({"step": 7}, "contradicts itself"),
        ({"step": 13}, "contradicts itself"),
        ({"step": 9, "images": 0}, "contradicts itself"),
        ({"best": None}, "contradicts itself"),
        ({"last": "best"}, "contradicts itself"),
        ({"probabilities": torch.ones(5, 3)}, "contradicts itself"),
        ({"weights": None}, "contradicts itself"),
        ({"model": {"weight": torch.ones(3, 1)}}, "does not fit this model"),
        ({"ema": None}, "does not fit this model"),
    ],
)
def test_progress_load_of_another_or_an_inconsistent_training_is_one_error(change, message, tmp_path):
    progress = make_progress(ema=True, keep="best")
    best_epoch(progress, predictions(5, 0.6), predictions(4, 0.9))
    progress.save(FoldDir(tmp_path))
    path = FoldDir(tmp_path).resume_path
    content = load_checkpoint(path)
    for key, value in change.items():
        if key in ("best", "last", "origin"):
            content[key] = content["best"] if value == "best" else value
        else:
            content["best" if key in ("probabilities", "weights") else "fit"][key] = value
    save_checkpoint(path, {key: value for key, value in content.items() if key not in ("kit", "schema")})
    with pytest.raises(UserError, match=message):
        make_progress(ema=True, keep="best").load(FoldDir(tmp_path), steps_per_epoch=4, val_images=6)


def test_progress_load_of_an_earlier_version_has_no_origin_to_compare(tmp_path):
    progress = make_progress(origin=None)
    best_epoch(progress, predictions(5, 0.6))
    progress.save(FoldDir(tmp_path))
    make_progress().load(FoldDir(tmp_path), steps_per_epoch=4, val_images=6)


def test_is_save_due_after_save_every_seconds_since_the_last_save(tmp_path):
    progress = make_progress(save_every=60.0)
    assert not progress.is_save_due()
    progress.saved_at -= 61
    assert progress.is_save_due()
    progress.save(FoldDir(tmp_path))
    assert not progress.is_save_due()


@pytest.mark.parametrize("val_images", [0, 6])
def test_progress_saved_within_the_first_epoch_has_no_results_yet(tmp_path, val_images):
    progress = make_progress()
    progress.state.step, progress.state.images = 3, 24
    progress.save(FoldDir(tmp_path))
    restored = make_progress()
    restored.load(FoldDir(tmp_path), steps_per_epoch=4, val_images=val_images)
    assert (restored.best, restored.last, restored.history, restored.state.step) == (None, None, [], 3)


def test_progress_of_a_model_of_all_images_has_no_results(tmp_path):
    progress = make_progress()
    end_epoch(progress, None)
    progress.save(FoldDir(tmp_path))
    restored = make_progress()
    restored.load(FoldDir(tmp_path), steps_per_epoch=4, val_images=0)
    assert (restored.best, restored.last, len(restored.history)) == (None, None, 1)
    with pytest.raises(UserError, match="contradicts itself"):
        make_progress().load(FoldDir(tmp_path), steps_per_epoch=4, val_images=6)


def test_record_epoch_has_the_speed_in_images_per_second():
    progress = make_progress()
    end_epoch(progress, predictions(5, 0.6))
    [row] = progress.history
    assert (row.epoch, row.step, row.seconds, row.images_per_second, row.val_seconds) == (1, 4, 2.0, 20.0, 0.5)
    assert (row.lr, row.train_loss, row.val_score) == (0.1, 9.0, pytest.approx(5 / 6))


def test_predictions_that_are_no_numbers_end_the_fold():
    progress = make_progress()
    end_epoch(progress, predictions(4, 0.8))
    broken = predictions(4, 0.8)
    broken[2] = np.nan
    with pytest.raises(FloatingPointError, match="the validation predictions of epoch 2 have a probability"):
        end_epoch(progress, broken)
    assert progress.last is not None and progress.last.row.epoch == 1
