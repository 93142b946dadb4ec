"""Run every program under kills, obstacles and full disks, and print a table: make faults.

python -m tests.faults                          everything, in about half an hour; writes tests/faults/RESULTS.md
python -m tests.faults --only infer.py          programs whose name contains this; nothing is written
python -m tests.faults --cases 6 --kind kills   fewer cases, and one kind
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these programs (default: all)")
    parser.add_argument("--kind", choices=("kills", "obstacles", "full disks"), help="only these cases (default: all)")
    parser.add_argument("--cases", type=int, default=0, metavar="N", help="cases of a cheap program and kind")
    parser.add_argument("--seed", type=int, default=0, help="choose other cases (default: %(default)s)")
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="keep the prepared workspaces here, and use them again"
    )
    args = parser.parse_args()
    from tests.faults.report import run_all, write_results

    with tempfile.TemporaryDirectory(prefix="faults-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root:
        results = run_all(args.root or Path(root), only=args.only, kind=args.kind, cases=args.cases, seed=args.seed)
    if not (args.only or args.kind or args.cases):
        write_results(results)
    return int(any(result.fault for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
