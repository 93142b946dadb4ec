"""The JSON object of `python -m comp bench --json`. What was not measured is None."""

from __future__ import annotations

from dataclasses import dataclass

from comp.records.base import Record


@dataclass(frozen=True)
class InferenceResult(Record):
    """The speed of one runtime."""

    infer_ips: float  # images/s in one view
    infer_views_ips: float  # images/s in eight views
    latency_ms: float  # one image alone


@dataclass(frozen=True)
class HardwareLimits(Record):
    """The limits of the machine, and the rates that training reaches."""

    gemm_gflops: float | None = None  # GFLOP/s of a matrix product
    copy_gbs: float | None = None  # GB/s of a memory copy, read and written together
    train_gflops: float | None = None
    train_gbs: float | None = None


@dataclass(frozen=True)
class BenchResult(Record):
    """The speed of training and prediction with one config on this machine."""

    model: str
    size: int  # side of the images in pixels
    batch: int
    images: int  # size of the training set
    device: str
    threads: int
    precision: str
    workers: int
    loader_ips: float | None  # images/s of the loader alone
    step_ips: float | None  # images/s of training on one batch repeatedly
    train_ips: float | None  # images/s of training end to end
    train_steps: int | None  # number of steps measured
    loading_share: float | None  # share of the training time spent waiting for the loader
    peak_gb: float
    runtime: str | None  # the fastest for one view; infer_ips and infer_views_ips are its rates
    infer_ips: float | None
    infer_views_ips: float | None
    latency_ms: float | None  # the shortest of any runtime
    runtimes: dict[str, InferenceResult] | None
    gemm_gflops: float | None
    copy_gbs: float | None
    train_gflops: float | None
    train_gbs: float | None
