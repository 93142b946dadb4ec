"""The tables of a comparison, from its measurements alone."""

from __future__ import annotations

import statistics
from typing import Any

from plan import EQUALISED, PEERS, PRECISION, SIZES, TRAINING, WORKERS

Results = dict[str, dict[str, Any]]


def render(found: dict[str, Any]) -> str:
    results, machine = found["results"], found["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [
        f"# {machine['device_name']}, {machine['cores']} cores, {found['date']}",
        "",
        f"`{found['command']}` at {found['commit'][:8]}. {versions}. Medians of {found['rounds']} rounds, "
        f"interleaved, one process each, on the images of {found['images']}.",
        "",
        *_training(results),
    ]
    return "\n".join([*parts, *_itself(results), *_growth(results)]) + "\n"


def _training(results: Results) -> list[str]:
    """images/s of everybody, and what the kit makes of it."""
    lines = [
        "## Training, images/s",
        "",
        f"| case | kit | {' | '.join(PEERS)} | over the best canonical peer | over the equalised timm |",
        "|---" * (len(PEERS) + 4) + "|",
    ]
    notes = []
    for case, (asked, least) in TRAINING.items():
        ours = _median(results, case, "kit", "train_ips")
        rates = {
            peer: max(
                (_median(results, case, f"{peer}, {workers} workers", "train_ips") or 0, workers) for workers in WORKERS
            )
            for peer in PEERS
        }
        best = max(rate for peer, (rate, _) in rates.items() if peer != EQUALISED)
        cells = [f"{rate:.1f} ({workers} w)" if rate else "failed" for rate, workers in rates.values()]
        if ours:
            lines.append(
                f"| {case}, batch {asked[2]} | {ours:.1f} | {' | '.join(cells)} | "
                f"{_ratio(ours, best, least['canonical'])} | "
                f"{_ratio(ours, rates[EQUALISED][0], least['equalised'])} |"
            )
            kit = _all(results, case, "kit")[0]
            notes.append(
                f"{case}: {kit['precision']}, {kit['workers']} workers, "
                f"{max(each['peak_gb'] for each in _all(results, case, 'kit')):.1f} GB at most"
            )
    about = (
        "Canonical peers are as their makers show them: 32 bits, their own augmentation. w: workers of the "
        "loader; both 0 and 2 were tried, and the better is shown. The equalised timm has the kit's allocator "
        "settings and channels-last."
    )
    return [*lines, "", f"{about} The kit: {'; '.join(notes)}.", ""]


def _itself(results: Results) -> list[str]:
    """The kit against itself: ratios of figures that one process measured by turns."""
    rows = []
    if pairs := _all(results, "end to end over the step, 128 px", "kit"):
        rows.append(
            (
                "end to end over the step on one fixed batch, 128 px",
                _ratio(statistics.median(each["train_ips"] / each["step_ips"] for each in pairs), 1, 0.95),
            )
        )
    chosen = {model: each[0] for model in PRECISION if (each := _all(results, "automatic precision", model))}
    if chosen:
        worst = min(each["ratio"] for each in chosen.values())
        detail = ", ".join(f"{model} {each['precision']} {each['ratio']:.2f}" for model, each in chosen.items())
        rows.append((f"automatic precision over fp32, worst of {len(chosen)} ({detail})", _ratio(worst, 1, 0.97)))
    if seen := _all(results, "inference", "kit"):
        views = statistics.median(8 * each["infer_views_ips"] / each["infer_ips"] for each in seen)
        rows.append(("8 views: images/s over one view, times 8", _ratio(views, 1, 0.95)))
        for runtime in seen[0]["runtimes"]:
            speed = statistics.median(each["runtimes"][runtime]["infer_ips"] for each in seen)
            wait = statistics.median(each["runtimes"][runtime]["latency_ms"] for each in seen)
            rows.append((f"inference by {runtime}", f"{speed:.0f} images/s, one image alone {wait:.1f} ms"))
        eager = "eager" if "eager" in seen[0]["runtimes"] else "torch"
        gain = statistics.median(each["runtimes"][eager]["latency_ms"] / each["latency_ms"] for each in seen)
        rows.append((f"batch-1 latency, best runtime over {eager}", _ratio(gain, 1, 2.5)))
    return (
        [
            "## The kit against itself",
            "",
            "| what | measured |",
            "|---|---|",
            *(f"| {what} | {value} |" for what, value in rows),
            "",
        ]
        if rows
        else []
    )


def _growth(results: Results) -> list[str]:
    rows = [(times, each[0]) for times in SIZES if (each := _all(results, "growth", f"{times}x"))]
    if not rows:
        return []
    return [
        "## Growth: the demo laid out over and over",
        "",
        "| size | images trained on | training, images/s | loader, images/s | GB at most |",
        "|---|---|---|---|---|",
        *(
            f"| {times}x | {each['images']} | {each['train_ips']:.0f} | {each['loader_ips']:.0f} | "
            f"{each['peak_gb']:.2f} |"
            for times, each in rows
        ),
    ]


def _all(results: Results, case: str, contender: str) -> list[dict[str, Any]]:
    return [each for key, each in results.items() if key.rpartition(" | ")[0] == f"{case} | {contender}"]


def _median(results: Results, case: str, contender: str, figure: str) -> float | None:
    values = [each[figure] for each in _all(results, case, contender)]
    return statistics.median(values) if values else None


def _ratio(ours: float, theirs: float, least: float) -> str:
    return f"{ours / theirs:.2f} (wanted {least})" if theirs else "-"
