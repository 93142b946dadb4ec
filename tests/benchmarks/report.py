"""Render the tables of a comparison from its measurements alone."""

from __future__ import annotations

import statistics
from typing import Any

from plan import END_TO_END, EQUALISED, PEERS, PRECISION, SIZES, TRAINING, WORKERS

Results = dict[str, dict[str, Any]]


def render(comparison: dict[str, Any]) -> str:
    results, machine = comparison["results"], comparison["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [
        f"# {machine['device_name']}, {machine['cores']} cores, {comparison['date']}",
        "",
        f"`{comparison['command']}` at {comparison['commit'][:8]}. {versions}. "
        f"Medians of {comparison['rounds']} rounds, interleaved, one process each, "
        f"on the images of {comparison['images']}.",
        "",
        *_training(results),
    ]
    return "\n".join([*parts, *_itself(results), *_growth(results)]) + "\n"


def _training(results: Results) -> list[str]:
    """Return the table of images/s of the kit and its peers, with the kit's ratios."""
    lines = [
        "## Training, images/s",
        "",
        f"| case | kit | {' | '.join(PEERS)} | over timm | over the best canonical peer | over timm, equalised |",
        "|---" * (len(PEERS) + 5) + "|",
    ]
    notes = []
    for case, (arguments, minimum) in TRAINING.items():
        ours = _median(results, case, "kit", "train_ips")
        workers = {peer: _workers(results, case, peer) for peer in PEERS}
        rates = {peer: _median(results, case, f"{peer}, {workers[peer]} workers", "train_ips") or 0 for peer in PEERS}
        best = max(PEERS.keys() - {EQUALISED}, key=lambda peer: rates[peer])
        cells = [f"{rates[peer]:.1f} ({workers[peer]} w)" if rates[peer] else "failed" for peer in PEERS]
        if ours:
            lines.append(
                f"| {case}, batch {arguments[2]} | {ours:.1f} | {' | '.join(cells)} | "
                f"{_with_target(_gain(results, case, 'timm', workers['timm']), minimum['canonical'])} | "
                f"{_gain(results, case, best, workers[best]):.2f} | "
                f"{_with_target(_gain(results, case, EQUALISED, workers[EQUALISED]), minimum['equalised'])} |"
            )
            kit = _all(results, case, "kit")[0]
            notes.append(
                f"{case}: {kit['precision']}, {kit['workers']} workers, "
                f"{max(result['peak_gb'] for result in _all(results, case, 'kit')):.1f} GB peak memory"
            )
    remark = (
        "Canonical peers are as their makers show them: 32 bits, their own augmentation. w: workers of the "
        "loader; both 0 and 2 were tried in the first round, and the faster ran in the others. The equalised timm has "
        "the kit's allocator settings and channels-last. Speeds are medians, and ratios the medians of each round's."
    )
    return [*lines, "", f"{remark} The kit: {'; '.join(notes)}.", ""]


def _itself(results: Results) -> list[str]:
    """Return the table of ratios that one process measured by turns."""
    rows = []
    for size in END_TO_END:
        if pairs := _all(results, f"end to end over the step, {size} px", "kit"):
            rows.append(
                (
                    f"end to end over the step on one fixed batch, {size} px",
                    _with_target(statistics.median(result["train_ips"] / result["step_ips"] for result in pairs), 0.95),
                )
            )
    chosen = {model: trials[0] for model in PRECISION if (trials := _all(results, "automatic precision", model))}
    if chosen:
        worst = min(result["ratio"] for result in chosen.values())
        detail = ", ".join(f"{model} {result['precision']} {result['ratio']:.2f}" for model, result in chosen.items())
        rows.append((f"automatic precision over fp32, worst of {len(chosen)} ({detail})", _with_target(worst, 0.97)))
    if inference := _all(results, "inference", "kit"):
        views = statistics.median(8 * result["infer_views_ips"] / result["infer_ips"] for result in inference)
        rows.append(("8 views: images/s over one view, times 8", _with_target(views, 0.95)))
        for runtime in inference[0]["runtimes"]:
            speed = statistics.median(result["runtimes"][runtime]["infer_ips"] for result in inference)
            latency = statistics.median(result["runtimes"][runtime]["latency_ms"] for result in inference)
            rows.append((f"inference by {runtime}", f"{speed:.0f} images/s, one image alone {latency:.1f} ms"))
        eager = "eager" if "eager" in inference[0]["runtimes"] else "torch"
        gain = statistics.median(result["runtimes"][eager]["latency_ms"] / result["latency_ms"] for result in inference)
        rows.append((f"batch-1 latency, best runtime over {eager}", _with_target(gain, 3)))
        views_gain = statistics.median(
            result["infer_views_ips"] / result["runtimes"][eager]["infer_views_ips"] for result in inference
        )
        rows.append((f"images/s in eight views, best runtime over {eager}", _with_target(views_gain, 3)))
    return (
        [
            "## The kit against itself",
            "",
            "| ratio | measured |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
        ]
        if rows
        else []
    )


def _growth(results: Results) -> list[str]:
    rows = [(times, trials[0]) for times in SIZES if (trials := _all(results, "growth", f"{times}x"))]
    if not rows:
        return []
    return [
        "## Growth: the demo dataset repeated",
        "",
        "| size | images trained on | training, images/s | loader, images/s | peak memory (GB) |",
        "|---|---|---|---|---|",
        *(
            f"| {times}x | {result['images']} | {result['train_ips']:.0f} | {result['loader_ips']:.0f} | "
            f"{result['peak_gb']:.2f} |"
            for times, result in rows
        ),
    ]


def _all(results: Results, case: str, contender: str) -> list[dict[str, Any]]:
    return [result for key, result in results.items() if key.rpartition(" | ")[0] == f"{case} | {contender}"]


def _median(results: Results, case: str, contender: str, key: str) -> float | None:
    values = [result[key] for result in _all(results, case, contender)]
    return statistics.median(values) if values else None


def _workers(results: Results, case: str, peer: str) -> int:
    """Return the number of workers that a peer had in most rounds."""
    return max(WORKERS, key=lambda workers: len(_all(results, case, f"{peer}, {workers} workers")))


def _gain(results: Results, case: str, peer: str, workers: int) -> float:
    """Return the speed of the kit over a peer's: the median of the ratios of the rounds that have both; 0 for none."""
    rounds = [key.rpartition(" | ")[2] for key in results if key.startswith(f"{case} | kit | ")]
    pairs = (
        [results.get(f"{case} | {contender} | {round_}") for contender in ("kit", f"{peer}, {workers} workers")]
        for round_ in rounds
    )
    ratios = [ours["train_ips"] / theirs["train_ips"] for ours, theirs in pairs if ours and theirs]
    return statistics.median(ratios) if ratios else 0.0


def _with_target(ratio: float, target: float) -> str:
    return f"{ratio:.2f} (target {target})" if ratio else "-"
