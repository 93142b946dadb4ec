"""The calls that stand for a program: train.py, infer.py, and the commands of `python -m comp`."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from comp.api.command_line import options_to_words, recorded_as
from comp.api.loaded_run import LoadedRun, load
from comp.cli import DEFAULT_CONFIG, parse_duration
from comp.errors import UserError


def train(
    config: str | Path = DEFAULT_CONFIG,
    fold: int | str | None = None,
    *,
    name: str | None = None,
    jobs: int = 1,
    device: str = "auto",
    restart: bool = False,
    **overrides: Any,
) -> LoadedRun:
    """Train the folds of a config that are not done yet, as train.py does, and return the run.

    `fold` is a number, "0,3", "0..4" or "full"; None is every fold. Config keys have dots, so they are passed as
    `**{"train.epochs": 3}`. An interrupted training continues when the same call is made again.

    >>> import comp
    >>> comp.train("configs/demo.yaml", fold=0, name="short", **{"train.epochs": 1})  # doctest: +ELLIPSIS
    runs/short: test_efficientnet, ... parameters, 24 px
    ...
    run short of demo: accuracy ... [...], folds 0
    """
    from comp import config as configs
    from comp.engine.device import choose_device
    from comp.training.train import run_experiment

    keys = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in overrides.items()]
    run_configs = configs.load(config, keys, name)
    if len(run_configs) > 1:
        raise UserError(
            f"train.seed={overrides['train.seed']} names {len(run_configs)} runs; pass one seed to each call"
        )
    options = options_to_words({"-c": config, "--fold": fold, "--name": name, "--jobs": None if jobs == 1 else jobs})
    with recorded_as(["train.py", *options, *(["--restart"] if restart else []), *keys]):
        run_experiment(
            run_configs[0],
            device=choose_device(device),
            fold=None if fold is None else str(fold),
            restart=restart,
            jobs=jobs,
        )
    return load(f"runs/{run_configs[0].name}")


def infer(
    runs: str | LoadedRun | Iterable[str | LoadedRun],
    *,
    blend: str = "mean",
    tta: str | None = None,
    budget: str | float | None = None,
    calibrate: bool = True,
    fold: str | None = None,
    name: str | None = None,
    device: str = "auto",
    runtime: str = "torch",
) -> LoadedRun:
    """Blend runs, write a submission as infer.py does, and return it.

    The options are those of infer.py: `tta` is none, flips, d4 or auto, with a `budget` such as "60s"; `fold="full"`
    uses the models of all images; `calibrate=False` is --no-temperature.

    >>> import comp
    >>> comp.infer(["demo"], tta="flips", name="flipped")  # doctest: +ELLIPSIS
    OOF accuracy ...
    submission flipped of demo: accuracy ... [...], folds 0, 1, 2
    """
    from comp.blending.infer import InferOptions
    from comp.blending.infer import infer as write_submission
    from comp.runs import find_runs

    if fold not in (None, "full"):
        raise UserError(
            f"fold={fold} is no choice of infer; use fold='full', or leave it out for the models of all folds"
        )
    names = [
        run if isinstance(run, str) else run.name for run in ([runs] if isinstance(runs, (str, LoadedRun)) else runs)
    ]
    seconds = None if budget is None else _parse_budget(str(budget))
    given = InferOptions(blend, tta, seconds, calibrate, fold == "full", name or "", device, runtime)
    options = {"--blend": blend, "--tta": tta, "--budget": budget, "--fold": fold, "--name": name, "--runtime": runtime}
    flags = [] if calibrate else ["--no-temperature"]
    with recorded_as(["infer.py", *names, *options_to_words(options), *flags]):
        return load(write_submission(find_runs(names), given))


def command(words: str) -> int | None:
    """Run a command of `python -m comp` in this process. Return its exit status where that is not 0.

    >>> import comp
    >>> comp.command("folds -c configs/demo.yaml")  # doctest: +ELLIPSIS
    folds/demo.csv already exists and is the same
    ...
    """
    from comp.__main__ import run_command

    try:
        arguments = shlex.split(words)
    except ValueError as error:
        raise UserError(f"cannot read {words!r} ({error}); write it as in a shell") from None
    with recorded_as(["comp", *arguments]):
        try:
            return run_command(arguments) or None
        except SystemExit as end:  # of --help
            return end.code if isinstance(end.code, int) and end.code else None


def _parse_budget(text: str) -> float:
    try:
        return parse_duration(text)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"budget: {error}") from None
