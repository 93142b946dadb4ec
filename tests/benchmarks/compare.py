"""The kit against its peers, and against itself, on this machine: about an hour. make bench

  python tests/benchmarks/compare.py [--images input/blood-cells] [--rounds 3] [--only "resnet18 224 px"]

Every measurement is a process of its own; those of a case follow each other, round after round, so that all of them
see the same moods of the machine. Killed? Give it again: what is measured is kept in runs/bench/compare.json, as long
as the commit and what was asked stay the same. At the end: tests/benchmarks/results/<machine>-<date>.md and .json.
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

KEPT = Path("runs/bench/compare.json")
RESULTS = Path("tests/benchmarks/results")
PYTHON = {"kit": ".venv/bin/python", "peer": ".venv-bench/bin/python"}
LONGEST = 600  # seconds of one measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="input/blood-cells", help="a dataset (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--only", help="one case of the training table, and nothing else")
    args = parser.parse_args()
    if args.only not in (None, *TRAINING):
        raise UserError(f"--only: there is no case {args.only!r}; there is: {', '.join(TRAINING)}")
    if not Path(PYTHON["peer"]).is_file():
        raise UserError("the peers are not installed; say make bench")
    scan(args.images)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # then a measurement under way is stopped too
    asked = {"commit": git("rev-parse", "HEAD"), "images": args.images}
    kept = open_kept(asked)
    subprocess.run([PYTHON["kit"], "-m", "comp", "data", "demo", "--root", DEMO, "--test", "8"], check=True)
    for round_ in range(args.rounds):
        for measurement in wanted(round_, args, kept["results"]):
            take(measurement, kept)
    found = {
        **asked,
        "date": str(date.today()),
        "command": shlex.join(["python", *sys.argv]),
        "rounds": args.rounds,
        "machine": machine(),
        "results": kept["results"],
    }
    text = render(found)
    print(text)
    if not args.only:
        name = re.sub(r"[^a-z0-9]+", "-", found["machine"]["device_name"].lower()).strip("-")
        write_json(RESULTS / f"{name}-{found['date']}.json", found)
        write_atomic(RESULTS / f"{name}-{found['date']}.md", text)
        KEPT.unlink()  # all of it is in the results now


def open_kept(asked: dict[str, str]) -> dict:
    """What an earlier call measured of the same."""
    kept = read_json(KEPT) if KEPT.is_file() else None
    if kept and any(kept[key] != value for key, value in asked.items()):
        aside = KEPT.with_suffix(f".{kept['commit'][:8]}.json")
        KEPT.rename(aside)
        print(f"measured on another commit, or other images: kept as {aside}, and begun anew")
        kept = None
    return kept or {**asked, "results": {}}


def wanted(round_: int, args: argparse.Namespace, results: dict[str, dict]) -> list[Measurement]:
    plan = training_round(round_, args.images, best_workers(results) if round_ else {})
    if args.only:
        return [each for each in plan if each.case == args.only]
    return plan + other_round(round_, args.images)


def best_workers(results: dict[str, dict]) -> dict[tuple[str, str], int]:
    """By the first round, in which both were tried."""

    def rate(case: str, peer: str, workers: int) -> float:
        return results.get(f"{case} | {peer}, {workers} workers | 0", {}).get("train_ips", 0.0)

    return {
        (case, peer): max(WORKERS, key=lambda workers: rate(case, peer, workers)) for case in TRAINING for peer in PEERS
    }


def take(measurement: Measurement, kept: dict) -> None:
    """Measure and keep it, unless that is done. One that fails is told of, and tried again the next time."""
    if measurement.key in kept["results"]:
        return
    print(f"{measurement.key} ...", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            [PYTHON[measurement.program], *measurement.words],
            capture_output=True,
            text=True,
            timeout=LONGEST,
            env={**os.environ, "PYTHONPATH": "."},
            check=False,
        )
        kept["results"][measurement.key] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        print(f"{measurement.key} failed: not done after {LONGEST} s", file=sys.stderr)
        return
    except (ValueError, IndexError):  # no line of JSON
        print(f"{measurement.key} failed: {(done.stderr.strip() or 'no output').splitlines()[-1]}", file=sys.stderr)
        return
    write_json(KEPT, kept)


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


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    raise SystemExit(run_main(main))
