"""Measure the choice of `train.precision: auto` for a model: its speed over fp32.

Two trainings take turns in one process, on one batch each. If the choice is fp32 they would be the same program, so
the ratio is 1 and nothing is timed.

  python tests/benchmarks/precision.py model.name=resnet18 data.size=128
"""

from __future__ import annotations

import json
import sys

from comp import config
from comp.bench.meter import Meter
from comp.bench.training import training_work
from comp.cli import DEFAULT_CONFIG
from comp.engine.device import choose_device
from comp.training.setup import Setup, open_benchmark_setup

TURNS = 4


def open_setup(*overrides: str) -> Setup:
    [run_config] = config.load(DEFAULT_CONFIG, [*sys.argv[1:], "train.epochs=1000000", *overrides])
    return open_benchmark_setup(run_config, choose_device("auto"))


def main() -> None:
    setups = open_setup(), open_setup("train.precision=fp32")
    chosen = setups[0].precision
    ratio = 1.0
    if chosen != "fp32":
        meters = [Meter(training_work(setup, 0, repeat_first_batch=True), 12) for setup in setups]
        for _ in range(TURNS):
            for meter in meters:
                meter.run(1 / TURNS)
        ratio = meters[0].rate / meters[1].rate
    print(json.dumps({"model": setups[0].config.model.name, "precision": chosen, "ratio": ratio}))


if __name__ == "__main__":
    main()
