"""Check the kit on this machine's GPU: `python -m tests.gpu_check [--only NAME,NAME] [--keep DIR]`.

It prints a row per check and exits 0 only if all hold, 1 if one fails, and 2 without a GPU. It takes about ten minutes,
draws its own images and needs no network. `--only jobs,oom` runs these checks alone. `--keep DIR` works in DIR, which
keeps the runs and their logs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

from comp.text import format_table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME,NAME", help="run these checks (default: all)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this directory, and keep it")
    args = parser.parse_args()
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the line below is enough
        available = torch.cuda.is_available()
    if not available:
        print("no GPU that torch can use; see python -m comp doctor", file=sys.stderr)
        return 2
    from tests.gpu_check.computations import COMPUTATIONS
    from tests.gpu_check.programs import PROGRAMS
    from tests.gpu_check.workspace import Skipped, prepare

    checks = COMPUTATIONS | PROGRAMS
    names = args.only.split(",") if args.only else list(checks)
    if unknown := set(names) - set(checks):
        parser.error(f"unknown checks: {', '.join(sorted(unknown))}; available: {', '.join(checks)}")
    with tempfile.TemporaryDirectory() as temporary:
        directory = args.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        os.chdir(directory)
        prepare()
        rows, failed = [], 0
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            start = time.perf_counter()
            try:
                result, detail = "holds", checks[name]()
            except Skipped as reason:
                result, detail = "skipped", str(reason)
            except Exception as error:  # of any kind: the other checks are made all the same
                failed += 1
                result, detail = "FAILS", f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            rows.append([name, result, f"{time.perf_counter() - start:.1f}", detail])
        os.chdir("/")  # the temporary directory is removed
    print(format_table(["check", "result", "time (s)", "detail"], rows, left=(0, 1, 3)))
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
