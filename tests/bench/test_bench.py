"""python -m comp bench measures training and prediction with the components of train.py, and writes no run."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from comp.bench import meter
from comp.bench.hardware_limits import count_step_cost
from comp.bench.meter import Meter
from comp.training import components
from tests.conftest import SMALL

KEYS = [
    "model",
    "size",
    "batch",
    "images",
    "device",
    "threads",
    "precision",
    "workers",
    "loader_ips",
    "step_ips",
    "train_ips",
    "train_steps",
    "loading_share",
    "peak_gb",
    "runtime",
    "infer_ips",
    "infer_views_ips",
    "latency_ms",
    "runtimes",
    "gemm_gflops",
    "copy_gbs",
    "train_gflops",
    "train_gbs",
]
RATES = ("loader_ips", "step_ips", "train_ips", "infer_ips", "infer_views_ips", "latency_ms")


@pytest.fixture
def short_measurements(monkeypatch):
    """Measure each section for half a second: the tests do not look at the numbers."""
    monkeypatch.setattr(meter, "MAX_SECONDS", 0.5)


@pytest.fixture
def split(workspace, run_cli, short_measurements):
    assert run_cli("comp", "folds", *SMALL)[0] == 0
    return workspace


def test_bench_json_has_every_number_and_leaves_no_run(split, run_cli):
    status, out, err = run_cli("comp", "bench", "--json", *SMALL)
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert list(result) == KEYS  # programs read them
    assert all(result[key] > 0 for key in (*RATES, "peak_gb", "gemm_gflops", "copy_gbs", "train_gflops", "train_gbs"))
    assert (result["model"], result["size"], result["batch"]) == ("test_efficientnet", 24, 8)
    assert (result["precision"], result["workers"]) == ("fp32", 0)
    assert result["train_ips"] < result["loader_ips"] and result["infer_views_ips"] < result["infer_ips"]
    assert result["loading_share"] == pytest.approx(1 - result["train_ips"] / result["step_ips"])
    assert result["runtimes"][result["runtime"]]["infer_ips"] == result["infer_ips"]
    assert os.listdir("runs") == [".cache"]


def test_bench_only_measures_the_named_sections_with_the_configs_settings(split, run_cli):
    status, out, _ = run_cli(
        "comp", "bench", "--only", "train", "--json", *SMALL, "train.precision=bf16", "data.workers=1"
    )
    result = json.loads(out)
    assert status == 0 and result["train_ips"] > 0 and result["train_steps"] > 0
    assert (result["precision"], result["workers"]) == ("bf16", 1)
    assert {result[key] for key in RATES if key != "train_ips"} == {None}


def test_bench_table_has_a_line_per_section(split, run_cli):
    status, out, _ = run_cli("comp", "bench", "--only", "train,loader,limits", *SMALL)
    assert status == 0 and out.startswith("test_efficientnet, 24 px, batch 8, cpu")
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["loader", "training,", "peak", "matrix", "memory"]


def test_bench_trains_with_the_components_of_train(split, run_cli, monkeypatch):
    seen, real = [], components.fit

    def spy(state, data, options, **arguments):
        seen.append((state, next(iter(data.batches(range(1)))), data, options, arguments))
        yield from real(state, data, options, **arguments)

    monkeypatch.setattr(components, "fit", spy)
    assert (
        run_cli("train.py", "--fold", "0", "--name", "x", *SMALL, "train.epochs=1", "loss.label_smoothing=0.1")[0] == 0
    )
    assert run_cli("comp", "bench", "--only", "train", *SMALL, "loss.label_smoothing=0.1")[0] == 0
    (trained, batch, data, options, arguments), (measured, other, other_data, other_options, others) = seen
    assert torch.equal(batch[0], other[0]) and torch.equal(batch[1], other[1])
    assert data.steps_per_epoch == other_data.steps_per_epoch and arguments["mix"] == others["mix"]
    assert replace(options, epochs=0) == replace(other_options, epochs=0)
    assert type(trained.optimizer) is type(measured.optimizer)
    assert [len(group["params"]) for group in trained.optimizer.param_groups] == [
        len(group["params"]) for group in measured.optimizer.param_groups
    ]
    assert all(parameter.requires_grad for parameter in measured.model.parameters())
    logits, labels = torch.randn(4, 8), torch.arange(4)
    assert torch.equal(arguments["loss"](logits, labels), others["loss"](logits, labels))
    images = batch[0]
    assert torch.equal(data.prepare(images), other_data.prepare(images))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "trian"], "error: --only: unknown section 'trian'; did you mean train?"),
        (["data.root=input/none"], "error: there is no dataset at input/none"),
        (["train.seed=0,1"], "error: the config describes 2 runs, and bench measures one"),
        (["model.name=resnet81"], "error: model.name: neither the kit nor timm has resnet81"),
        (["folds.file=folds/none.csv"], "error: folds/none.csv is missing; make it with"),
        (["optim.lr=1e30", "optim.clip=null"], "error: the training loss is"),
    ],
)
def test_bench_user_error_is_one_line_and_leaves_no_run(split, run_cli, arguments, message):
    status, out, err = run_cli("comp", "bench", *SMALL, *arguments)
    assert (status, out) == (2, "") and err.startswith(message) and err.count("\n") == 1
    assert not os.path.exists("runs") or os.listdir("runs") == [".cache"]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only work advances."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(meter, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def work_of(clock, *stretches: float):
    """Yield a step of 8 images per duration, then repeat the last one endlessly."""
    for seconds in itertools.chain(stretches, itertools.repeat(stretches[-1])):
        clock.seconds += seconds
        yield 1, 8


def test_meter_excludes_the_warmup_and_returns_the_median(clock):
    measured = Meter(work_of(clock, 30, 30, 30, 2, 8, 1), seconds=1)
    measured.run()
    assert measured.steps == 10 and measured.rate == 8 and max(measured.rates) == 8 and min(measured.rates) == 1


def test_meter_measures_min_steps_and_seconds_up_to_max_seconds(clock):
    quick, slow = Meter(work_of(clock, 0.1), seconds=9), Meter(work_of(clock, 10), seconds=9)
    quick.run()
    assert quick.steps == pytest.approx(90, abs=1)
    slow.run()
    assert slow.steps == 3  # MAX_SECONDS is 25
    shared = Meter(work_of(clock, 1), seconds=1)
    for _ in range(3):
        shared.run(1 / 3)
    assert shared.steps == 12  # ten, rounded up to whole steps in each turn


def test_count_step_cost_grouped_convolutions_count_as_grouped():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.Flatten(), nn.Linear(8 * 16, 5))
    for images in (2, 20):
        assert count_step_cost(model, torch.zeros(images, 8, 4, 4), "fp32").gflop * 1e9 == 3 * 2 * (
            8 * 9 * 16 + 8 * 16 * 5
        )


def test_count_step_cost_views_move_no_bytes():
    images = torch.zeros(200, 128)
    plain = count_step_cost(nn.Linear(128, 5), images, "fp32").gigabytes
    viewed = count_step_cost(
        nn.Sequential(nn.Unflatten(1, (8, 16)), nn.Flatten(), nn.Linear(128, 5)), images, "fp32"
    ).gigabytes
    copied = count_step_cost(nn.Sequential(nn.Tanh(), nn.Linear(128, 5)), images, "fp32").gigabytes
    assert viewed == plain
    assert copied - plain == pytest.approx(2 * images.nbytes / len(images) / 1e9)  # read once, and written once
