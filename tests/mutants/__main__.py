"""Run a sample of mutants: `make mutants` prints each that no test notices, and the share that is noticed.

Results are kept in runs/mutants/, so that an interrupted run continues. A mutant that was noticed is run again only
when its module has changed or with --fresh; one that was not, also when a test has changed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from itertools import islice
from pathlib import Path

import yaml
from scipy.stats import binomtest

from tests.mutants.execute import STATE, preload, run_mutants
from tests.mutants.operators import Mutant, mutants_of

# Where a mistake costs a leaderboard, and the tests that may notice one. Pictures are left out: 571 of their mutants
# change a width or a colour.
TARGETS = {
    "comp/metrics/*.py": ["tests/metrics", "tests/test_metrics.py", "tests/tasks"],
    "comp/stats.py": ["tests/test_stats.py", "tests/ensemble"],
    "comp/tasks/*.py": ["tests/tasks", "tests/metrics", "tests/test_rows.py"],
    "comp/data/labels.py": ["tests/data/test_labels.py"],
    "comp/data/stratify.py": ["tests/data/test_stratify.py"],
    "comp/data/folds.py": ["tests/data/test_folds.py"],
    "comp/ensemble/*.py": ["tests/ensemble", "tests/blending/test_assess.py"],
    "comp/training/progress.py": ["tests/training/test_progress.py", "tests/training/test_keep.py"],
    "comp/training/summary.py": ["tests/training/test_summary.py", "tests/training/test_keep.py"],
    "comp/prediction/*.py": ["tests/prediction"],
    "comp/submit/*.py": ["tests/submit"],
    "comp/submit/answers/*.py": ["tests/submit"],
}
PICTURES = {"comp/ensemble/plots.py", "comp/submit/cv_lb_plot.py"}
EQUIVALENT = Path("tests/mutants/equivalent.yaml")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="mutants to sample, 0 for all (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time (default: one per core)")
    parser.add_argument("--only", default="", help="only modules whose path matches, e.g. 'stats|folds'")
    parser.add_argument("--fresh", action="store_true", help="forget the results of earlier runs")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the forks and removes the copies
    preload()
    if options.fresh:
        shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True, exist_ok=True)
    tests_of = {path: tests for pattern, tests in TARGETS.items() for path in sorted(Path().glob(pattern))}
    mutants = {path: mutants_of(path) for path in tests_of if path.as_posix() not in PICTURES}
    chosen = sample(mutants, options.count, options.seed, options.only)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        outcomes = run_mutants(chosen, tests_of, Path(folder), options.jobs)
    return report(chosen, outcomes, sum(map(len, mutants.values())))


def sample(mutants: dict[Path, list[Mutant]], count: int, seed: int, only: str = "") -> list[Mutant]:
    """Return `count` mutants, from each module as many as its share of all, the same ones for the same seed.

    With `only`, return those of them whose path matches this regular expression.
    """
    total = sum(map(len, mutants.values()))
    shares = {path: min(count or total, total) * len(of_file) / total for path, of_file in mutants.items()}
    sizes = {path: int(share) for path, share in shares.items()}
    by_remainder = sorted(shares, key=lambda path: (sizes[path] - shares[path], path))
    for path in by_remainder[: round(sum(shares.values())) - sum(sizes.values())]:
        sizes[path] += 1
    chosen = []
    for path, of_file in mutants.items():
        if re.search(only, path.as_posix()):
            shuffled = random.Random(f"{seed} {path.as_posix()}").sample(of_file, len(of_file))
            of_path = islice((mutant for mutant in shuffled if mutant.is_valid()), sizes[path])
            chosen += [((rank + 0.5) / sizes[path], mutant) for rank, mutant in enumerate(of_path)]
    # modules in turn: what an interrupted run has done is a sample too
    return [mutant for _, mutant in sorted(chosen, key=lambda ranked: ranked[0])]


def report(chosen: list[Mutant], outcomes: dict[str, str], total: int) -> int:
    """Print the survivors by module and the score. Return 0; a score is a figure, not a condition."""
    judged = {(entry["path"], *entry["change"]) for entry in yaml.safe_load(EQUIVALENT.read_text())}
    survivors = [mutant for mutant in chosen if outcomes[mutant.name] == "survived"]
    equivalent = [
        mutant
        for mutant in survivors
        if (mutant.path.as_posix(), *(" ".join(line.split()) for line in mutant.changed_lines())) in judged
    ]
    print()
    for mutant in survivors:
        print("equivalent:" if mutant in equivalent else "survived:", mutant.describe())
    for path in sorted({mutant.path for mutant in chosen}):
        of_file = [mutant for mutant in chosen if mutant.path == path]
        count = sum(outcomes[mutant.name] != "survived" for mutant in of_file)
        print(f"{path.as_posix():40} {count:4} of {len(of_file)}")
    noticed = len(chosen) - len(survivors)
    counted = len(chosen) - len(equivalent)
    interval = binomtest(noticed, counted).proportion_ci(method="wilson")
    print(
        f"{noticed} of {counted} mutants noticed: {noticed / counted:.1%} [{interval.low:.1%}, {interval.high:.1%}]; "
        f"{len(equivalent)} more change nothing (tests/mutants/equivalent.yaml), counting them as missed: "
        f"{noticed / len(chosen):.1%}; "
        f"{sum(outcome == 'timeout' for outcome in outcomes.values())} noticed by their time; sampled from {total}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
