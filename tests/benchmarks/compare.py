"""Compare the kit with its peers, and with itself, on this machine: about an hour. make bench

  python tests/benchmarks/compare.py [--images input/blood-cells] [--rounds 3] [--only "resnet18 224 px"]

Every measurement is a process of its own; those of a case follow each other, round after round, so that all of them
see the machine equally busy. After a kill, run it again: finished measurements are kept in runs/bench/compare.json as
long as the commit and the images stay the same. It writes tests/benchmarks/results/<machine>-<date>.md and .json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import torch
from plan import DEMO, PEERS, ROUNDS, TRAINING, WORKERS, Measurement, other_round, training_round
from report import render

from comp.cli import run_main
from comp.data.scan import scan
from comp.environment import process_info
from comp.errors import UserError
from comp.files import read_json, write_atomic, write_json

PARTIAL = Path("runs/bench/compare.json")
RESULTS = Path("tests/benchmarks/results")
PYTHON = {"kit": ".venv/bin/python", "peer": ".venv-bench/bin/python"}
MAX_SECONDS = 600  # seconds of one measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="input/blood-cells", help="a dataset (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--only", help="one case of the training table, and nothing else")
    args = parser.parse_args()
    if args.only not in (None, *TRAINING):
        raise UserError(f"--only: unknown case {args.only!r}; use one of {', '.join(TRAINING)}")
    if not Path(PYTHON["peer"]).is_file():
        raise UserError("the peers are not installed; run make bench")
    scan(args.images)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # then a running measurement is stopped too
    conditions = {"commit": git("rev-parse", "HEAD"), "images": args.images}
    partial = read_partial(conditions)
    subprocess.run([PYTHON["kit"], "-m", "comp", "data", "demo", "--root", DEMO, "--test", "8"], check=True)
    for round_ in range(args.rounds):
        for measurement in plan_round(round_, args, partial["results"]):
            run_measurement(measurement, partial)
    comparison = {
        **conditions,
        "date": str(date.today()),
        "command": shlex.join(["python", *sys.argv]),
        "rounds": args.rounds,
        "machine": machine(),
        "results": partial["results"],
    }
    text = render(comparison)
    print(text)
    if not args.only:
        name = re.sub(r"[^a-z0-9]+", "-", comparison["machine"]["device_name"].lower()).strip("-")
        write_json(RESULTS / f"{name}-{comparison['date']}.json", comparison)
        write_atomic(RESULTS / f"{name}-{comparison['date']}.md", text)
        PARTIAL.unlink()  # everything is in the results


def read_partial(conditions: dict[str, str]) -> dict:
    """Return what an earlier call measured under the same conditions."""
    partial = read_json(PARTIAL) if PARTIAL.is_file() else None
    if partial and any(partial[key] != value for key, value in conditions.items()):
        renamed = PARTIAL.with_suffix(f".{partial['commit'][:8]}.json")
        PARTIAL.rename(renamed)
        print(f"{PARTIAL} is of another commit or other images; renamed to {renamed}")
        partial = None
    return partial or {**conditions, "results": {}}


def plan_round(round_: int, args: argparse.Namespace, results: dict[str, dict]) -> list[Measurement]:
    plan = training_round(round_, args.images, best_workers(results) if round_ else {})
    if args.only:
        return [measurement for measurement in plan if measurement.case == args.only]
    return plan + other_round(round_, args.images)


def best_workers(results: dict[str, dict]) -> dict[tuple[str, str], int]:
    """Return the faster number of workers of every peer in the first round, which tries all."""

    def rate(case: str, peer: str, workers: int) -> float:
        return results.get(f"{case} | {peer}, {workers} workers | 0", {}).get("train_ips", 0.0)

    return {
        (case, peer): max(WORKERS, key=lambda workers: rate(case, peer, workers)) for case in TRAINING for peer in PEERS
    }


def run_measurement(measurement: Measurement, partial: dict) -> None:
    """Run a measurement that has no result yet. One that fails is reported, and tried again the next time."""
    if measurement.key in partial["results"]:
        return
    print(f"{measurement.key} ...", file=sys.stderr, flush=True)
    try:
        process = subprocess.run(
            [PYTHON[measurement.program], *measurement.arguments],
            capture_output=True,
            text=True,
            timeout=MAX_SECONDS,
            env={**os.environ, "PYTHONPATH": "."},
            check=False,
        )
        partial["results"][measurement.key] = json.loads(process.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        print(f"{measurement.key} failed: not finished after {MAX_SECONDS} s", file=sys.stderr)
        return
    except (ValueError, IndexError):  # the process printed no JSON
        print(f"{measurement.key} failed: {(process.stderr.strip() or 'no output').splitlines()[-1]}", file=sys.stderr)
        return
    write_json(PARTIAL, partial)


def machine() -> dict:
    process = process_info(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    packages = subprocess.run(
        [
            PYTHON["peer"],
            "-c",
            "import fastai, lightning; from importlib.metadata import version;"
            "print(fastai.__version__, lightning.__version__, version('torchvision'))",
        ],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return {
        "device_name": process.device_name,
        "cores": os.cpu_count(),
        "threads": process.threads,
        "versions": {**process.versions, **dict(zip(("fastai", "lightning", "torchvision"), packages, strict=False))},
    }


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    raise SystemExit(run_main(main))
