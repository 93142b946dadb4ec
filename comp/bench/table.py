"""The figures for people."""

from __future__ import annotations

from typing import Any


def render(found: dict[str, Any]) -> str:
    """A line for each thing that was measured."""
    lines = [
        f"{found['model']}, {found['size']} px, batch {found['batch']}, {found['device']} "
        f"({found['threads']} threads), {found['precision']}, {found['workers']} workers",
        "",
    ]
    for name, key in (
        ("loader alone", "loader_ips"),
        ("step on one batch", "step_ips"),
        ("training, end to end", "train_ips"),
    ):
        if found[key]:
            lines.append(_line(name, found[key], "images/s", _remark(found) if key == "train_ips" else ""))
    for runtime, each in (found["runtimes"] or {}).items():
        eight = f"times eight: {8 * each['infer_views_ips'] / each['infer_ips']:.2f} of one view"
        lines += [
            _line(f"inference, {runtime}", each["infer_ips"], "images/s"),
            _line("  in eight views", each["infer_views_ips"], "images/s", eight),
            _line("  one image alone", each["latency_ms"], "ms"),
        ]
    lines.append(_line("memory at most", found["peak_gb"], "GB"))
    for name, unit, can, does in (
        ("matrix product", "GFLOP/s", found["gemm_gflops"], found["train_gflops"]),
        ("memory copy", "GB/s", found["copy_gbs"], found["train_gbs"]),
    ):
        if can:
            lines.append(_line(name, can, unit, f"training makes {does:.3g}: {does / can:.0%}" if does else ""))
    return "\n".join(lines)


def _remark(found: dict[str, Any]) -> str:
    few = f"median of {found['train_steps']} steps"
    return few if found["loading_share"] is None else f"{few}; {found['loading_share']:.0%} lost to loading"


def _line(name: str, value: float, unit: str, remark: str = "") -> str:
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{name:<26}{number:>8} {unit:<9} {remark}".rstrip()
