"""Checks of what the GPU computes, in this process. Each returns its measurement as text, or raises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import numpy as np
import torch

from comp import config
from comp.batches.augment_batch import augment_batch
from comp.batches.augment_sampling import sample_transforms, uniform_rows
from comp.batches.loader import Batch
from comp.batches.policies import POLICIES
from comp.data.cache import load_cache, make_square_spec
from comp.data.scan import scan
from comp.doctor.accelerator import check_gpus
from comp.doctor.report import Report
from comp.engine.device import choose_device
from comp.engine.fit import Epoch, FitOptions
from comp.engine.precision import choose_precision
from comp.training import components as components_module
from comp.training.components import build_components, fit_fold, make_train_state
from comp.training.setup import Setup, open_benchmark_setup
from tests.gpu_check.workspace import OVERRIDES, Skipped

CUDA = torch.device("cuda")
KERNEL_TOLERANCE = 2e-3  # of the largest value: TF32 has 10 bits
MAX_GREY_LEVELS = 1.0  # between the same pixel on CPU and GPU, for all but one in a thousand
GRAPH_TOLERANCE = 0.02  # between the losses of an epoch; GPUs add in another order each time
STRICT_STEPS = range(3, 6)  # the first steps choose algorithms and allocate memory, which may wait


def driver() -> str:
    report = Report()
    check_gpus(report)
    assert not report.problems, report.problems[0][1]
    rows = dict(report.rows)
    return f"{rows['driver']}; {rows['gpu']}"


def architecture() -> str:
    major, minor = torch.cuda.get_device_capability()
    built = torch.cuda.get_arch_list()
    fits = [name for name in built if name.startswith("sm_") and name[3:-1] == str(major)]
    assert fits, f"sm_{major}{minor} has no kernels among {' '.join(built)}"
    return f"sm_{major}{minor} runs {' '.join(fits)}"


def kernel() -> str:
    device = choose_device("cuda")
    images = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    weights = torch.linspace(-1, 1, 8 * 3 * 3 * 3).reshape(8, 3, 3, 3)
    expected = torch.nn.functional.conv2d(images, weights)
    computed = torch.nn.functional.conv2d(images.to(device), weights.to(device)).cpu()
    difference = float((computed - expected).abs().max() / expected.abs().max())
    assert difference <= KERNEL_TOLERANCE, f"a convolution differs by {difference:.1e} of its largest value"
    return f"a convolution differs from the CPU by {difference:.1e} of its largest value"


def precision() -> str:
    chosen = choose_precision("auto", torch.nn.Identity(), CUDA, 64, 16)
    expected = "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    assert chosen == expected, f"{chosen} instead of {expected}"
    return chosen


def augmentation() -> str:
    dataset = scan("input/demo")
    cache = load_cache(dataset.name, dataset.train, make_square_spec(dataset.train, 64, "squash", None))
    squares = torch.from_numpy(np.stack([cache[row] for row in range(32)]))
    worst = 0.0
    for name, policy in POLICIES.items():
        for size in (64, 224):
            transforms = sample_transforms(policy, uniform_rows((0, 0), 0, range(len(squares))), size)
            expected = augment_batch(squares, transforms, size)
            computed = augment_batch(squares.to(CUDA), transforms, size).cpu()
            difference = float(np.quantile((computed - expected).abs().numpy(), 0.999))
            assert difference <= MAX_GREY_LEVELS, f"policy {name} at {size} px differs by {difference:.2f} grey levels"
            worst = max(worst, difference)
    return f"{len(POLICIES)} policies within {worst:.3f} grey levels"


def step_without_waiting(number_format: str) -> str:
    """Train steps of the demo while every wait for the device is an error."""
    _need(number_format)
    setup = _open_setup(f"train.precision={number_format}")
    components = build_components(setup, 0, use_initial_weights=False)

    def batches(steps: range) -> Iterator[Batch]:
        iterator = components.batches(steps)
        for step in steps:
            torch.cuda.set_sync_debug_mode("error" if step in STRICT_STEPS else "default")
            yield next(iterator)

    state = make_train_state(setup, components.model)
    rare_events = partial(FitOptions, yield_interval=math.inf)  # a `Step` event reads the loss, and so waits
    try:
        with patch.object(components_module, "FitOptions", rare_events):
            next(fit_fold(setup, 0, replace(components, batches=batches), state))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.step > STRICT_STEPS.stop, f"the training yielded after {state.step} steps"
    return f"{len(STRICT_STEPS)} steps without a wait, {torch.cuda.max_memory_allocated() / 2**30:.2f} GB at most"


def replayed_step(number_format: str) -> str:
    """Train three epochs of the demo with eager steps and with a CUDA graph, and compare their losses."""
    _need(number_format)
    losses, milliseconds = {}, {}
    for name in ("off", "on"):
        setup = _open_setup(f"train.precision={number_format}", f"train.cuda_graph={name}", "train.epochs=3")
        components = build_components(setup, 0, use_initial_weights=False)
        state, losses[name] = make_train_state(setup, components.model), []
        for event in fit_fold(setup, 0, components, state):
            if isinstance(event, Epoch):
                state.history.append({"val_loss": event.train_loss})
                losses[name].append(event.train_loss)
                milliseconds[name] = 1e3 * event.seconds / components.train_set.steps_per_epoch
    difference = float(np.abs(np.array(losses["on"]) / np.array(losses["off"]) - 1).max())
    assert difference <= GRAPH_TOLERANCE, f"losses {losses['on']} instead of {losses['off']}"
    return (
        f"losses within {difference:.1e}; {milliseconds['off']:.1f} ms a step, {milliseconds['on']:.1f} with the graph"
    )


def _need(number_format: str) -> None:
    if number_format == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Skipped("this GPU has no bf16")


def _open_setup(*overrides: str) -> Setup:
    [settings] = config.load("configs/demo.yaml", [*OVERRIDES, *overrides])
    return open_benchmark_setup(settings, choose_device("cuda"))


COMPUTATIONS: dict[str, Callable[[], str]] = {
    "driver": driver,
    "architecture": architecture,
    "kernel": kernel,
    "precision": precision,
    "augmentation": augmentation,
    "step bf16": lambda: step_without_waiting("bf16"),
    "step fp16": lambda: step_without_waiting("fp16"),
    "graph bf16": lambda: replayed_step("bf16"),
    "graph fp16": lambda: replayed_step("fp16"),
}
