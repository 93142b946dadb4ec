"""The JSON object of `python -m comp bench --json`. None is what was not measured."""

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
    """The most that the machine reaches, and what training makes of it."""

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
    images: int  # in the training set
    device: str
    threads: int
    precision: str
    workers: int
    loader_ips: float | None  # images/s of the loader alone
    step_ips: float | None  # of training on one batch repeatedly
    train_ips: float | None  # of training end to end
    train_steps: int | None  # that were measured
    loading_share: float | None  # of training's time, lost to the loader
    peak_gb: float
    runtime: str | None  # the fastest in one view; the next two numbers are its
    infer_ips: float | None
    infer_views_ips: float | None
    latency_ms: float | None  # the shortest of any runtime
    runtimes: dict[str, InferenceResult] | None
    gemm_gflops: float | None
    copy_gbs: float | None
    train_gflops: float | None
    train_gbs: float | None
