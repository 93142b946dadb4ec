"""What `python -m comp bench` finds out, as one flat object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from comp.bench.hardware_limits import copy_gbs, count_step_cost, gemm_gflops
from comp.bench.inference import batch_inference, build_predictors, single_image_inference
from comp.bench.meter import Meter
from comp.bench.training import loader_work, open_components, training_work
from comp.engine.device import peak_memory_gb
from comp.engine.views import TTA
from comp.schema import Config
from comp.training.components import TrainingComponents
from comp.training.setup import Setup, open_benchmark_setup

SECTIONS = ("train", "step", "loader", "infer", "limits")
MAX_EPOCHS = 1_000_000  # epochs: no measuring comes to the end of a training
ROUNDS = 3


def run_benchmark(config: Config, only: Sequence[str] = SECTIONS, device: str = "auto") -> dict[str, Any]:
    """Of the first fold. What was not asked for is None."""
    train = config.train.model_copy(update={"epochs": MAX_EPOCHS})
    setup = open_benchmark_setup(config.model_copy(update={"train": train}), device)
    fold = setup.run.record.folds[0]
    parts = open_components(setup, fold)
    trained = {
        name: Meter(work, seconds)
        for name, work, seconds in (
            ("train", training_work(setup, fold), 9),
            ("step", training_work(setup, fold, fixed=True), 9),
            ("loader", loader_work(setup, fold), 3),
        )
        if name in only
    }
    asked = _inference_meters(setup, parts, setup.split(fold)[1]) if "infer" in only else {}
    peak = _run_interleaved(
        {
            **trained,
            **{f"{runtime} {what}": meter for runtime, meters in asked.items() for what, meter in meters.items()},
        },
        setup.workers,
        setup.device,
    )
    speeds = {name: trained[name].rate if name in trained else None for name in ("loader", "step", "train")}
    loss = 1 - speeds["train"] / speeds["step"] if speeds["train"] and speeds["step"] else None
    return {
        "model": config.model.name,
        "size": config.data.size,
        "batch": config.train.batch,
        "images": len(parts.source.rows),
        "device": str(setup.device),
        "threads": torch.get_num_threads(),
        "precision": setup.precision,
        "workers": setup.workers,
        **{f"{name}_ips": speed for name, speed in speeds.items()},
        "train_steps": trained["train"].steps if "train" in trained else None,
        "loading_share": loss,
        "peak_gb": peak,
        **_inference(asked),
        **_limits(setup, parts, speeds["train"], asked="limits" in only),
    }


def _inference_meters(setup: Setup, parts: TrainingComponents, rows: np.ndarray) -> dict[str, dict[str, Meter]]:
    return {
        runtime: {
            "one view": Meter(batch_inference(setup, rows, setup.workers, predict_batch, TTA["none"]), 6),
            "eight views": Meter(batch_inference(setup, rows, setup.workers, predict_batch, TTA["d4"]), 6, least=3),
            "one image": Meter(single_image_inference(setup, rows[0], predict_batch), 3),
        }
        for runtime, predict_batch in build_predictors(setup).items()
    }


def _run_interleaved(meters: dict[str, Meter], workers: int, device: torch.device) -> float:
    """Measure them all; the peak memory of a training, if one is measured, else of all."""
    # workers would fill their queues while others have their turn, and flatter the one they work for
    rounds = 1 if workers else ROUNDS
    peak = None
    with tqdm(total=rounds * len(meters), unit="turn", disable=None, leave=False) as bar:
        for turn in range(rounds):
            for name, meter in meters.items():
                bar.set_description(name)
                meter.run(1 / rounds)
                bar.update()
                if name == "train" and peak is None:
                    peak = peak_memory_gb(device)
                if turn == rounds - 1:
                    meter.work.close()
    return peak if peak is not None else peak_memory_gb(device)


def _inference(meters: dict[str, dict[str, Meter]]) -> dict[str, Any]:
    """Every runtime's figures, and the best's: of throughput the fastest, of one image alone the quickest."""
    every = {
        runtime: {
            "infer_ips": each["one view"].rate,
            "infer_views_ips": each["eight views"].rate,
            "latency_ms": 1000 / each["one image"].rate,
        }
        for runtime, each in meters.items()
    }
    if not every:
        return dict.fromkeys(("runtime", "infer_ips", "infer_views_ips", "latency_ms", "runtimes"))
    best = max(every, key=lambda runtime: every[runtime]["infer_ips"])
    return {
        "runtime": best,
        **every[best],
        "latency_ms": min(each["latency_ms"] for each in every.values()),
        "runtimes": every,
    }


def _limits(setup: Setup, parts: TrainingComponents, train_ips: float | None, asked: bool) -> dict[str, Any]:
    """What the machine does at most, and what a training makes of it."""
    if not asked:
        return dict.fromkeys(("gemm_gflops", "copy_gbs", "train_gflops", "train_gbs"))
    cost = count_step_cost(parts.model, parts.prepare(parts.source[0][0]), setup.precision)
    return {
        "gemm_gflops": gemm_gflops(setup.device, setup.precision),
        "copy_gbs": copy_gbs(setup.device),
        "train_gflops": train_ips and cost.gflop * train_ips,
        "train_gbs": train_ips and cost.gigabytes * train_ips,
    }
