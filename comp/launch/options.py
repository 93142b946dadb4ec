"""The options of a launcher, and the launcher that they name."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from comp.engine.device import choose_device
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


RunExperiment = Callable[..., RunMetrics]  # (config, fold=None, restart=False, observers=()) -> metrics.json


@dataclass(frozen=True)
class Trainer:
    """The training of a command's runs, in this process or by a launcher."""

    run_experiment: RunExperiment
    device: torch.device  # of this process
    options: LaunchOptions | None = None  # by which another process joins the same machines


@contextlib.contextmanager
def open_trainer(options: LaunchOptions | None, device_name: str) -> Iterator[Trainer]:
    """Yield what trains runs on this device, or where the options of a launcher say."""
    if options is None:
        device = choose_device(device_name)
        yield Trainer(partial(run_experiment, device=device), device)
        return
    device = torch.device("cpu")  # the machine of the command needs no GPU
    with require_extra(options.launcher):
        if options.launcher == "slurm":
            from comp.launch.slurm_launcher import run_on_slurm
        else:
            from comp.launch.ray_launcher import ray_launcher
    if options.launcher == "slurm":
        yield Trainer(partial(run_on_slurm, options=options), device, options)
    else:
        with ray_launcher(options) as launcher:
            run = partial(run_experiment, device=device, launcher=launcher)
            yield Trainer(run, device, replace(options, address=launcher.address))
