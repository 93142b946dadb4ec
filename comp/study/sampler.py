"""The samplers and pruners that a study file names. The seed depends on the trial alone."""

from __future__ import annotations

import importlib.util
import itertools
import random

from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, QMCSampler, RandomSampler, TPESampler

from comp.data.folds import parse_fold_range
from comp.errors import UserError
from comp.study.pruning import FoldMedianPruner
from comp.study.space import as_dimension
from comp.study.study_file import StudyConfig

STARTUP_TRIALS = 8  # of random values, before a sampler learns from them


def check_sampler(study: StudyConfig) -> None:
    """Refuse a sampler that cannot draw from this space."""
    name = study.sampler.name
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        raise UserError("sampler: cmaes needs a package; pip install -e '.[cmaes]', or use tpe")
    if (study.sampler.multivariate or study.sampler.group) and name != "tpe":
        raise UserError(f"sampler: multivariate and group are options of tpe, not of {name}; remove them")
    if study.sampler.group and not study.sampler.multivariate:
        raise UserError("sampler: group needs multivariate: true")
    if name in ("qmc", "grid") and any(as_dimension(choices).when for choices in study.space.values()):
        raise UserError(f"sampler: {name} cannot draw keys under a condition (when); use tpe")
    if name == "grid":
        grid_points(study)


def make_sampler(study: StudyConfig, number: int) -> BaseSampler:
    """Return the sampler of one trial. One seed per process would repeat trial 0 after every restart."""
    seed = study.seed * 100_003 + number
    if study.sampler.name == "tpe":
        return TPESampler(
            seed=seed,
            n_startup_trials=STARTUP_TRIALS,
            constant_liar=True,
            multivariate=study.sampler.multivariate,
            group=study.sampler.group,
        )
    if study.sampler.name == "cmaes":
        return CmaEsSampler(
            seed=seed,
            n_startup_trials=STARTUP_TRIALS,
            independent_sampler=RandomSampler(seed),
            warn_independent_sampling=False,
        )
    if study.sampler.name == "qmc":  # one sequence; the storage counts how far it is
        return QMCSampler(
            seed=study.seed, scramble=True, independent_sampler=RandomSampler(seed), warn_independent_sampling=False
        )
    return RandomSampler(seed)


def make_pruner(study: StudyConfig, epochs: int, higher_is_better: bool) -> BasePruner:
    """Return the pruner; `epochs` is the number of a fold's."""
    if study.pruner == "none":
        return NopPruner()
    if study.pruner == "hyperband":
        folds = len(parse_fold_range(str(study.folds)))
        return HyperbandPruner(min_resource=1, max_resource=epochs * folds, reduction_factor=3)
    return FoldMedianPruner(epochs, higher_is_better)


def grid_points(study: StudyConfig) -> list[dict[str, object]]:
    """Return every combination of values in an order that the study's seed shuffles; empty for other samplers."""
    if study.sampler.name != "grid":
        return []
    values = {}
    for key, choices in study.space.items():
        steps = as_dimension(choices).steps()
        if steps is None:
            raise UserError(f"sampler: grid needs values of space.{key}; list them, or set step")
        values[key] = steps
    points = [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    random.Random(study.seed).shuffle(points)
    return points
