"""What every program here shares: an argument parser that speaks one line, and the door errors leave by."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from comp.errors import UserError

DEFAULT_CONFIG = "configs/deep_efficientnet.yaml"


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one line that begins `error:` instead of a usage block."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str):
        raise UserError(f"{message} (see {self.prog} --help)")


def add_config_arguments(parser: argparse.ArgumentParser, otherwise: str | None = None) -> None:
    """`-c FILE key=value ...`, the same for every command that reads a config. `otherwise` says in words what stands
    in for one where none is given."""
    parser.add_argument(
        "-c",
        "--config",
        default=None if otherwise else DEFAULT_CONFIG,
        metavar="FILE",
        help=f"the experiment (default: {otherwise or DEFAULT_CONFIG})",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="change a key of the config, e.g. optim.lr=3e-4 train.epochs=30",
    )


def add_blend_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs, and how they become one: the same for every command that makes a submission."""
    parser.add_argument("runs", nargs="*", metavar="RUN", help="names, paths or quoted patterns below runs/")
    parser.add_argument(
        "--blend",
        choices=("mean", "geometric", "vote", "greedy", "weights", "stack"),
        default="mean",
        help="how members become one (default: %(default)s)",
    )
    parser.add_argument(
        "--tta",
        choices=("none", "flips", "d4", "auto"),
        help="views averaged; auto chooses them out of fold (default: the run's infer.tta)",
    )
    parser.add_argument(
        "--budget",
        type=parse_duration,
        metavar="TIME",
        help="with --tta auto: what predicting the test images may take here, such as 60s or 5m",
    )
    parser.add_argument(
        "--no-temperature",
        dest="temperature",
        action="store_false",
        help="leave every member as sure of itself as it is",
    )
    parser.add_argument("--name", help="name the result; otherwise the runs do")


def parse_duration(text: str) -> float:
    """`60`, `60s`, `1.5m`, `2h`"""
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m", "h") else (text, "s")
    try:
        value = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; say 60s, 5m or 1h")
    return value


def run_main(main: Callable[[], int | None]) -> int:
    """Run `main`; turn what a user can mend into one line on stderr and exit status 2."""
    try:
        return main() or 0
    except KeyboardInterrupt:
        print("interrupted: give the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UserError, OSError) as problem:
        if os.environ.get("COMP_TRACEBACK") == "1":
            raise
        print(f"error: {format_error(problem)}", file=sys.stderr)
        return 2


def format_error(problem: Exception) -> str:
    """What a person is told of it."""
    if isinstance(problem, OSError) and problem.strerror:
        where = f" ({problem.filename})" if problem.filename else ""
        return f"{problem.strerror}{where}; mend that and give the same command again"
    words = " ".join(str(problem).split())
    return words if isinstance(problem, (UserError, OSError)) else f"{type(problem).__name__}: {words[:200]}"
