"""The measurements of `python -m comp bench`, run in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch

from comp.bench.hardware_limits import copy_gbs, count_step_cost, gemm_gflops
from comp.bench.inference import batch_inference, build_predictors, single_image_inference
from comp.bench.meter import Meter
from comp.bench.training import loader_work, open_components, training_work
from comp.engine.device import peak_memory_gb
from comp.engine.views import TTA
from comp.progress_bar import progress_bar
from comp.records.bench import BenchResult, HardwareLimits, InferenceResult
from comp.schema import Config
from comp.training.components import TrainingComponents
from comp.training.setup import Setup, open_benchmark_setup

SECTIONS = ("train", "step", "loader", "infer", "limits")
MAX_EPOCHS = 1_000_000  # no measurement reaches the end of a training
ROUNDS = 3


def run_benchmark(config: Config, sections: Sequence[str], device: torch.device) -> BenchResult:
    """Measure these sections with the first fold of `config`."""
    train = config.train.model_copy(update={"epochs": MAX_EPOCHS})
    setup = open_benchmark_setup(config.model_copy(update={"train": train}), device)
    fold = setup.run.record.folds[0]
    components = open_components(setup, fold)
    training = {
        name: Meter(work, seconds)
        for name, work, seconds in (
            ("train", training_work(setup, fold), 9),
            ("step", training_work(setup, fold, repeat_first_batch=True), 9),
            ("loader", loader_work(setup, fold), 3),
        )
        if name in sections
    }
    inference = _inference_meters(setup, setup.split(fold)[1]) if "infer" in sections else {}
    peak_gb = _run_interleaved(
        training | {f"{runtime} {name}": meter for runtime in inference for name, meter in inference[runtime].items()},
        setup.workers,
        setup.device,
    )
    train_ips = training["train"].rate if "train" in training else None
    limits = _hardware_limits(setup, components, train_ips) if "limits" in sections else HardwareLimits()
    runtimes = {runtime: _inference_result(meters) for runtime, meters in inference.items()}
    return _result(setup, len(components.train_set.rows), training, peak_gb, runtimes, limits)


def _result(
    setup: Setup,
    images: int,
    training: dict[str, Meter],
    peak_gb: float,
    runtimes: dict[str, InferenceResult],
    limits: HardwareLimits,
) -> BenchResult:
    train_ips, step_ips, loader_ips = (
        training[name].rate if name in training else None for name in ("train", "step", "loader")
    )
    fastest = max(runtimes, key=lambda runtime: runtimes[runtime].infer_ips, default=None)
    return BenchResult(
        model=setup.config.model.name,
        size=setup.config.data.size,
        batch=setup.config.train.batch,
        images=images,
        device=str(setup.device),
        threads=torch.get_num_threads(),
        precision=setup.precision,
        workers=setup.workers,
        loader_ips=loader_ips,
        step_ips=step_ips,
        train_ips=train_ips,
        train_steps=training["train"].steps if "train" in training else None,
        loading_share=1 - train_ips / step_ips if train_ips and step_ips else None,
        peak_gb=peak_gb,
        runtime=fastest,
        infer_ips=runtimes[fastest].infer_ips if fastest else None,
        infer_views_ips=runtimes[fastest].infer_views_ips if fastest else None,
        latency_ms=min((result.latency_ms for result in runtimes.values()), default=None),
        runtimes=runtimes or None,
        **asdict(limits),
    )


def _inference_meters(setup: Setup, rows: np.ndarray) -> dict[str, dict[str, Meter]]:
    """Return three meters per runtime: one view, eight views, and one image alone."""
    return {
        runtime: {
            "one view": Meter(batch_inference(setup, rows, setup.workers, predict_batch, TTA["none"]), seconds=6),
            "eight views": Meter(
                batch_inference(setup, rows, setup.workers, predict_batch, TTA["d4"]), seconds=6, min_steps=3
            ),
            "one image": Meter(single_image_inference(setup, rows[0], predict_batch), seconds=3),
        }
        for runtime, predict_batch in build_predictors(setup).items()
    }


def _inference_result(meters: dict[str, Meter]) -> InferenceResult:
    return InferenceResult(
        infer_ips=meters["one view"].rate,
        infer_views_ips=meters["eight views"].rate,
        latency_ms=1000 / meters["one image"].rate,
    )


def _run_interleaved(meters: dict[str, Meter], workers: int, device: torch.device) -> float:
    """Run all meters, and return the peak memory in GB: of the training if one is measured, else of all."""
    # With workers each meter runs once: in several turns, workers would fill their queues while other meters run, and
    # the next turn of their own meter would be too fast.
    rounds = 1 if workers else ROUNDS
    peak_gb = None
    with progress_bar(total=rounds * len(meters), unit="turn") as bar:
        for turn in range(rounds):
            for name, meter in meters.items():
                bar.set_description(name)
                meter.run(1 / rounds)
                bar.update()
                if name == "train" and peak_gb is None:
                    peak_gb = peak_memory_gb(device)
                if turn == rounds - 1:
                    meter.work.close()
    return peak_gb if peak_gb is not None else peak_memory_gb(device)


def _hardware_limits(setup: Setup, components: TrainingComponents, train_ips: float | None) -> HardwareLimits:
    """Measure the machine's limits and, if the speed of the training is known, the rates that it reaches."""
    cost = count_step_cost(components.model, components.prepare(components.train_set[0][0]), setup.precision)
    return HardwareLimits(
        gemm_gflops=gemm_gflops(setup.device, setup.precision),
        copy_gbs=copy_gbs(setup.device),
        train_gflops=train_ips and cost.gflop * train_ips,
        train_gbs=train_ips and cost.gigabytes * train_ips,
    )
