"""The table that `python -m comp bench` prints."""

from __future__ import annotations

from comp.records.bench import BenchResult
from comp.text import format_table


def render(result: BenchResult) -> str:
    """Return one line about the config and the machine, and a table with a row for each measurement."""
    title = (
        f"{result.model}, {result.size} px, batch {result.batch}, {result.device} ({result.threads} threads), "
        f"{result.precision}, {result.workers} workers"
    )
    rows = [*_training_rows(result), *_inference_rows(result)]
    rows.append(_row("peak memory", result.peak_gb, "GB"))
    for name, unit, limit, reached in (
        ("matrix product", "GFLOP/s", result.gemm_gflops, result.train_gflops),
        ("memory copy", "GB/s", result.copy_gbs, result.train_gbs),
    ):
        if limit:
            remark = f"training reaches {reached:.3g}: {reached / limit:.0%}" if reached else ""
            rows.append(_row(name, limit, unit, remark))
    return f"{title}\n\n{format_table(('measurement', 'value', 'unit', 'remark'), rows, left=(0, 2, 3))}"


def _training_rows(result: BenchResult) -> list[list[str]]:
    remark = f"median of {result.train_steps} steps"
    if result.loading_share is not None:
        remark += f"; {result.loading_share:.0%} lost to loading"
    return [
        _row(name, speed, "images/s", remark if name.startswith("training") else "")
        for name, speed in (
            ("loader alone", result.loader_ips),
            ("step on one batch", result.step_ips),
            ("training, end to end", result.train_ips),
        )
        if speed
    ]


def _inference_rows(result: BenchResult) -> list[list[str]]:
    rows = []
    for runtime, speed in (result.runtimes or {}).items():
        share = f"times eight: {8 * speed.infer_views_ips / speed.infer_ips:.2f} of one view"
        rows += [
            _row(f"inference, {runtime}", speed.infer_ips, "images/s"),
            _row("  in eight views", speed.infer_views_ips, "images/s", share),
            _row("  one image alone", speed.latency_ms, "ms"),
        ]
    return rows


def _row(name: str, value: float, unit: str, remark: str = "") -> list[str]:
    return [name, f"{value:,.0f}" if value >= 100 else f"{value:.3g}", unit, remark]
