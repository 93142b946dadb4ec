"""The training of one trial: an ordinary run, with its scores or the reason why it has none."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from comp.engine.device import is_out_of_memory
from comp.errors import UserError
from comp.launch.options import Trainer
from comp.observers.protocol import Observer, StopTraining
from comp.prediction.predictor import open_predictor
from comp.runs import RUNS, RunLockedError, read_run
from comp.schema import Config
from comp.study.space import ParameterValues
from comp.study.study_file import StudyConfig


@dataclass(frozen=True)
class TrialOutcome:
    """The end of a trial."""

    state: Literal["complete", "pruned", "failed"]
    scores: tuple[float, ...] = ()  # one per objective, of a complete trial; the first is out-of-fold
    note: str = ""  # the reason of a failure


def trial_name(number: int) -> str:
    """Return the name of a trial's run below that of the study."""
    return f"trial_{number:04d}"


def run_trial(
    study: StudyConfig, number: int, values: ParameterValues, trainer: Trainer, observers: Sequence[Observer] = ()
) -> TrialOutcome:
    """Train a trial on the study's folds, or continue it; a failure is an outcome, because it must not end the study.

    Raise KeyboardInterrupt when an observer or a signal pauses the training: the same call resumes it.
    """
    try:
        config = study.make_config(values, trial_name(number))
    except UserError as error:
        return TrialOutcome("failed", note=str(error))
    return train_trial(study, config, trainer, observers)


def train_trial(study: StudyConfig, config: Config, trainer: Trainer, observers: Sequence[Observer]) -> TrialOutcome:
    """Train a run of a study on its folds, and measure the study's objectives."""
    try:
        metrics = trainer.run_experiment(config, fold=str(study.folds), observers=observers)
        assert metrics.scores, "a trial trains folds that are validated"
        scores = [metrics.scores.oof.kept.score]
        if "ms_per_image" in study.objectives:
            scores.append(open_predictor(read_run(RUNS / config.name), device=trainer.device).latency_ms())
    except StopTraining:
        return TrialOutcome("pruned")
    except RunLockedError:
        raise
    except UserError as error:  # a diverged loss, an invalid model, memory that is full
        return TrialOutcome("failed", note=str(error))
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not is_out_of_memory(error):
            raise
        return TrialOutcome("failed", note=f"the memory of {trainer.device} is full")
    finally:
        _free_memory(trainer.device)
    return TrialOutcome("complete", tuple(scores))


def _free_memory(device: torch.device) -> None:
    """Free the memory of a trial that ended, above all of one that filled it, before the next trial."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
