"""Draw a stylised blood-cell competition: train/<class>/, test/, a sample submission and the true test labels.

python -m comp data demo                     into input/demo
python -m comp data demo --per-class 10 --test 16 --root input/tiny
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path("input/demo"), help="where (default: %(default)s)")
    parser.add_argument("--per-class", type=int, default=60, help="training images of a class (default: %(default)s)")
    parser.add_argument("--test", type=int, default=160, help="test images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> None:
    from comp.data.demo import draw_competition
    from comp.errors import UserError

    if args.per_class < 2 or args.test < 1:
        raise UserError("a demo needs at least --per-class 2 and --test 1")
    if args.root.exists():
        print(f"{args.root} is there")
        return
    draw_competition(args.root, per_class=args.per_class, test=args.test, seed=args.seed)
    print(f"wrote {args.root}: {8 * args.per_class} training images of 8 classes, {args.test} test images")
