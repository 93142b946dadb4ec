"""Run the cases, print what went wrong as it happens, and a table at the end."""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from comp.environment import process_info
from comp.text import format_table
from tests.faults.bench import FAULTS, Bench, Result
from tests.faults.execute import import_everything
from tests.faults.full_disks import full_disk_cases
from tests.faults.kills import kill_cases
from tests.faults.obstacles import obstacle_cases
from tests.faults.programs import PROGRAMS, build_stages

RESULTS = Path(__file__).parent / "RESULTS.md"
KINDS = {"kills": (kill_cases, 24), "obstacles": (obstacle_cases, 90), "full disks": (full_disk_cases, 12)}
TITLES = ("program", *KINDS, "lost", "tracebacks", "leftovers", "hangs")


def run_all(
    root: Path, *, only: Sequence[str] | None = None, kind: str | None = None, cases: int = 0, seed: int = 0
) -> list[Result]:
    """Run the cases of every program; `cases` is their number for a program of cost 1 (default: that of KINDS)."""
    programs = [program for program in PROGRAMS if not only or program.name in only]
    import_everything()
    build_stages(root, {program.stage for program in programs})
    bench, results = Bench(root), []
    for program in programs:
        start, first = time.monotonic(), len(results)
        for name, (make_cases, default) in KINDS.items():
            if kind in (None, name):
                for result in make_cases(bench, program, max(3, (cases or default) // program.cost), seed):
                    results.append(result)
                    if result.fault:
                        print(f"{result.fault}: {program.name}, {result.case}: {result.detail}", flush=True)
        print(f"{' | '.join(_row(program.name, results[first:]))} | {time.monotonic() - start:.0f} s", flush=True)
    print(format_table(TITLES, [*_rows(results), _row("all", results)]))
    return results


def write_results(results: Sequence[Result]) -> None:
    """Write RESULTS.md."""
    rows = [*_rows(results), _row("**all**", results)]
    info = process_info_text()
    lines = [
        "# Kills, obstacles and full disks",
        "",
        f"`make faults`, {datetime.date.today().isoformat()}, {info}.",
        "",
        "In each case a program is disturbed; after a kill or a full disk it is run again. *Lost*: its files are not",
        "those of an undisturbed run, or it does not end as that did. *Tracebacks*: anything but one `error:` line and",
        "status 2. *Leftovers*: temporary files or processes. *Hangs*: no end in time.",
        "",
        f"| {' | '.join(TITLES)} |",
        f"|---|{'---:|' * (len(TITLES) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")


def process_info_text() -> str:
    import torch

    info = process_info(torch.device("cpu"))
    return f"{info.device_name}, {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"


def _rows(results: Sequence[Result]) -> list[list[str]]:
    programs = dict.fromkeys(result.program for result in results)
    return [_row(program, [result for result in results if result.program == program]) for program in programs]


def _row(title: str, results: Sequence[Result]) -> list[str]:
    kinds = [sum(result.kind == kind for result in results) for kind in KINDS]
    faults = [sum(result.fault == fault for result in results) for fault in FAULTS]
    return [title, *(f"{count:,}" for count in (*kinds, *faults))]
