"""Train the folds of a run as tasks of Ray, on a cluster or on this machine.

A task gets its files from `Home` and sends back what changes. Ray itself runs a task again that its node took along,
and the fold then continues from the last checkpoint that came home.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import platform
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, TaskCancelledError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import comp
from comp.cli import format_error
from comp.data.dataset import Dataset
from comp.environment import versions
from comp.errors import UserError
from comp.launch import away
from comp.launch.home import Home
from comp.launch.options import LaunchOptions
from comp.launch.project_files import list_project_files
from comp.observers.protocol import Observer
from comp.records.base import Fold
from comp.records.run import RunRecord
from comp.schema import Config
from comp.signals import ENDING_SIGNALS
from comp.training.fold_monitor import FoldMonitor
from comp.training.fold_process import FoldTask
from comp.training.parallel_console import ParallelConsole, count_interrupts
from comp.training.setup import Setup

MAX_LOSSES = 10  # nodes or processes that may be lost under a fold; more of them is rather a fault of the training
POLL_SECONDS = 0.3


@contextlib.contextmanager
def ray_launcher(options: LaunchOptions) -> Iterator[RayLauncher]:
    """Connect to the cluster at `options.address`, or start one on this machine, and end that with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
    logging.getLogger("ray").setLevel(logging.ERROR)
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    code = {"py_modules": [str(Path(comp.__file__).parent)]}  # every node gets the code of this command
    try:
        ray.init(
            options.address or "local",
            runtime_env=code,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, ValueError, RayError) as error:
        raise UserError(
            f"no Ray cluster at {options.address} accepts this machine ({str(error).splitlines()[0]}); run `ray start` "
            f"here (docs/clusters.md), or omit --address"
        ) from None
    for number, handler in handlers.items():  # Ray's would print a stack and leave the bar
        signal.signal(number, handler)
    try:
        yield RayLauncher(options)
    finally:
        ray.shutdown()


class RayLauncher:
    """Trains each fold as a task of Ray."""

    def __init__(self, options: LaunchOptions):
        self.options = options
        self.address: str = ray.get_runtime_context().gcs_address  # by which another process of this command joins
        self._check_resources()
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.home: Any = ray.remote(num_cpus=0)(Home).options(scheduling_strategy=here).remote(str(Path.cwd()))

    def _check_resources(self) -> None:
        """Refuse a fold that no node has the CPUs or the GPU for; an autoscaler may still start one."""
        needed = {"CPU": self.options.cpus, "GPU": self.options.gpus}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= count for name, count in needed.items()) for node in nodes):
            problem = (
                f"no node of the Ray cluster has {self.options.cpus} CPUs and {self.options.gpus:g} GPUs for a fold"
            )
            if not self.options.address:
                raise UserError(f"{problem}; lower --cpus or --gpus")
            print(f"warning: {problem} now; the folds wait for one", flush=True)

    def measure(self, config: Config, dataset: Dataset, folds: Sequence[Fold], draft: RunRecord) -> RunRecord:
        """Return the record of a new run, completed by what is measured on a node."""
        project, task = self._project(config, dataset, folds), self._task(config, folds[0])
        record = ray.get(self._remote(_measure).remote(self.home, project, task))
        if isinstance(record, str):
            raise UserError(record)
        measured = ("precision", "fitted_batch", "sync_batchnorm", "kernels", "augment_device")
        return replace(draft, **{name: getattr(record, name) for name in measured})

    def train(self, setup: Setup, folds: Sequence[Fold], observers: Sequence[Observer] = ()) -> dict[Fold, str]:
        """Train `folds`, as many at a time as the cluster has room for, and print the errors. Return those of the folds
        that failed; raise KeyboardInterrupt after Ctrl-C, or what an observer raised."""
        with contextlib.ExitStack() as stack:
            for fold in folds:
                stack.enter_context(setup.run.fold_dir(fold).lock())
            interrupts = stack.enter_context(count_interrupts())
            console = stack.enter_context(ParallelConsole(len(folds), "fold"))
            tasks = FoldTasks(self.home, setup, folds, observers, console)
            tasks.submit(self._remote(_train), self._project(setup.config, setup.dataset, folds), self._task)
            while tasks.running and len(interrupts) < 2:
                tasks.receive()
                tasks.stop_interrupted(is_interrupted=bool(interrupts))
            if interrupts:
                raise KeyboardInterrupt
        for monitor in tasks.monitors.values():
            if monitor.interruption:
                raise monitor.interruption
        return {fold: monitor.error for fold, monitor in tasks.monitors.items() if monitor.error}

    def _remote(self, function: Any) -> Any:
        return ray.remote(num_cpus=self.options.cpus, num_gpus=self.options.gpus, max_retries=MAX_LOSSES)(function)

    def _project(self, config: Config, dataset: Dataset, folds: Sequence[Fold]) -> away.Project:
        files = list_project_files(config, dataset, folds)
        return away.Project(f"{platform.node()}:{Path.cwd()}", Path(config.data.root), files, versions())

    def _task(self, config: Config, fold: Fold, image_key: str = "") -> FoldTask:
        gpus = self.options.gpus
        return FoldTask(
            config,
            fold,
            "cuda" if gpus else "cpu",
            image_key,
            threads=self.options.cpus,
            local_processes=1,
            device_processes=round(1 / gpus) if gpus else 1,
        )


class FoldTasks:
    """The tasks of folds that are trained at the same time, and what they report."""

    def __init__(
        self, home: Any, setup: Setup, folds: Sequence[Fold], observers: Sequence[Observer], console: ParallelConsole
    ):
        self.home, self.setup, self.console = home, setup, console
        epochs = setup.config.train.epochs
        self.monitors = {fold: FoldMonitor(fold, epochs, observers=observers) for fold in folds}
        self.running: dict[Any, Fold] = {}  # by the reference of the task
        self.begun: set[Fold] = set()
        self.stopping: set[Fold] = set()

    def submit(self, function: Any, project: away.Project, make_task: Callable[..., FoldTask]) -> None:
        """Start a task per fold."""
        ray.get(self.home.stop.remote([]))  # not the folds of this command's last run
        shared = ray.put(project)
        for fold in self.monitors:
            task = make_task(self.setup.config, fold, self.setup.image_key)
            self.running[function.remote(self.home, shared, task)] = fold

    def receive(self) -> None:
        """Wait a moment, then process what came home, and tasks that have ended."""
        ended, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=POLL_SECONDS)
        for fold, message in ray.get(self.home.take_messages.remote()):
            self.begun.add(fold)
            self.monitors[fold].handle(pickle.loads(message), self.console.print_line)
        for reference in ended:
            monitor = self.monitors[self.running.pop(reference)]
            try:
                ray.get(reference)
            except TaskCancelledError:
                monitor.error = None
            except RayError as error:  # it was lost for good
                monitor.error = format_error(error)
            monitor.end(self.console.print_line)
        for fold in self.running.values():
            self.monitors[fold].poll()
        fractions = {fold: self.monitors[fold].fraction_done for fold in self.running.values() if fold in self.begun}
        self.console.update_bar(fractions, len(self.monitors) - len(self.running))

    def stop_interrupted(self, is_interrupted: bool) -> None:
        """Make folds save and stop: those that an observer interrupts, or all. One without a node is cancelled."""
        stop = {fold for fold in self.running.values() if is_interrupted or self.monitors[fold].interruption}
        if stop <= self.stopping:
            return
        if is_interrupted:
            self.console.print_stopping()
            for fold in stop:
                self.monitors[fold].interrupt()
        for reference, fold in self.running.items():
            if fold in stop - self.stopping - self.begun:
                ray.cancel(reference)
        self.stopping |= stop
        ray.get(self.home.stop.remote(self.stopping))


def _call_home(home: Any, method: str, *arguments: Any) -> Any:
    return ray.get(getattr(home, method).remote(*arguments))


def _measure(home: Any, project: away.Project, task: FoldTask) -> RunRecord | str:
    return away.measure(project, task, partial(_call_home, home))


def _train(home: Any, project: away.Project, task: FoldTask) -> None:
    away.train(project, task, partial(_call_home, home))
