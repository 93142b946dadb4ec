"""The options of a launcher, and the launcher that they name."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from comp.errors import UserError, require_extra
from comp.records.metrics import RunMetrics
from comp.training.train import run_experiment


@dataclass(frozen=True)
class LaunchOptions:
    """The options of a command that are for a launcher."""

    launcher: str
    address: str | None
    cpus: int  # of each fold
    gpus: float
    hours: float
    slurm: dict[str, str]

    @classmethod
    def of_command(cls, args: argparse.Namespace) -> LaunchOptions | None:
        """Return the options of a command line, None for training here; options that have no effect are refused."""
        for name, launchers in LAUNCHERS.items():
            if getattr(args, name) is not None and args.launcher not in launchers:
                raise UserError(f"--{name} has no effect with --launcher {args.launcher}; remove it")
        if args.launcher == "local":
            return None
        for name, default in (("jobs", 1), ("device", "auto"), ("debug", False)):
            if getattr(args, name, default) != default:
                raise UserError(f"--{name} is for training in this process; omit it, or --launcher {args.launcher}")
        cpus = 1 if args.cpus is None else args.cpus
        gpus = 0.0 if args.gpus is None else args.gpus
        hours = 24.0 if args.hours is None else args.hours
        if cpus < 1 or hours <= 0 or not 0 <= gpus <= 1:
            raise UserError("--cpus must be 1 or more, --hours above 0, and --gpus 0 to 1: a fold trains on one GPU")
        pairs = [text.partition("=") for text in args.slurm or ()]
        if wrong := [text for text, pair in zip(args.slurm or (), pairs, strict=True) if not all(pair)]:
            raise UserError(f"--slurm takes KEY=VALUE, such as partition=gpu, and not {wrong[0]}")
        return cls(args.launcher, args.address, cpus, gpus, hours, {key: value for key, _, value in pairs})


LAUNCHERS = {  # of each option, the launchers that use it
    "address": ("ray",),
    "cpus": ("ray", "slurm"),
    "gpus": ("ray", "slurm"),
    "hours": ("slurm",),
    "slurm": ("slurm",),
}


RunElsewhere = Callable[..., RunMetrics]  # (config, fold=None, restart=False)


@contextlib.contextmanager
def open_launcher(options: LaunchOptions) -> Iterator[RunElsewhere]:
    """Yield the function that trains the folds of a config elsewhere, as `run_experiment` does it here."""
    with require_extra(options.launcher):
        if options.launcher == "slurm":
            from comp.launch.slurm_launcher import run_on_slurm
        else:
            from comp.launch.ray_launcher import ray_launcher
    if options.launcher == "slurm":
        yield partial(run_on_slurm, options=options)
    else:
        with ray_launcher(options) as launcher:
            yield partial(run_experiment, device=torch.device("cpu"), launcher=launcher)
