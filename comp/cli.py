"""Command-line parts that every program shares: the parser, common arguments, and how errors are reported."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, cast

from comp.errors import UserError
from comp.signals import unwind_on_signals

DEFAULT_CONFIG = "configs/deep_efficientnet.yaml"


class Parser(argparse.ArgumentParser):
    """An argparse parser that reports a mistake as one line beginning `error:` instead of a usage block."""

    def __init__(self, **kwargs: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def add_config_arguments(parser: argparse.ArgumentParser, default_help: str | None = None) -> None:
    """Add `-c FILE key=value ...`.

    Without `default_help` the config defaults to the main model's. With it the default is None, and `default_help`
    describes in the help what is used instead.
    """
    parser.add_argument(
        "-c",
        "--config",
        default=None if default_help else DEFAULT_CONFIG,
        metavar="FILE",
        help=f"read this config (default: {default_help or DEFAULT_CONFIG})",
    )
    add_overrides_argument(parser)


def add_overrides_argument(parser: argparse.ArgumentParser) -> None:
    """Add `key=value ...`."""
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="override a config key, e.g. optim.lr=3e-4 train.epochs=30",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: %(default)s)")


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of trainings on other machines."""
    group = parser.add_argument_group("other machines (docs/clusters.md)")
    group.add_argument(
        "--launcher",
        choices=("local", "ray", "slurm"),
        default="local",
        help="train here, as tasks of Ray, or as an array job of Slurm (default: %(default)s)",
    )
    group.add_argument(
        "--address", help="Ray: use the cluster of this address, e.g. auto, 10.0.0.1:6379 (default: start one here)"
    )
    group.add_argument("--cpus", type=int, metavar="N", help="CPUs and threads of each task (default: 1)")
    group.add_argument("--gpus", type=float, metavar="N", help="GPUs of each task: 0, 1, or with Ray 0.5 (default: 0)")
    group.add_argument("--hours", type=float, help="Slurm: time limit, after which a task is requeued (default: 24)")
    group.add_argument(
        "--slurm", action="append", metavar="KEY=VALUE", help="Slurm: an option of sbatch, e.g. partition=gpu, mem=32G"
    )


def add_verify_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--verify-cache`."""
    parser.add_argument(
        "--verify-cache",
        action="store_true",
        help="first read all image files and decoded images, and compare them with their recorded hashes",
    )


def add_runs_argument(parser: argparse.ArgumentParser, nargs: str = "*") -> None:
    """Add `RUN ...`."""
    parser.add_argument("runs", nargs=nargs, metavar="RUN", help="names, paths or quoted patterns below runs/")


def add_full_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--fold full`."""
    parser.add_argument("--fold", choices=("full",), help="use the model trained on all images, not the folds' models")


def add_blend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that makes a submission: the runs, and how they are blended."""
    add_runs_argument(parser)
    parser.add_argument(
        "--blend",
        choices=("mean", "geometric", "vote", "greedy", "weights", "stack"),
        default="mean",
        help="combine the runs by this method (default: %(default)s)",
    )
    parser.add_argument(
        "--tta",
        choices=("none", "flips", "d4", "auto"),
        help="average these test-time views; auto chooses them on out-of-fold predictions "
        "(default: infer.tta of each run)",
    )
    parser.add_argument(
        "--budget",
        type=parse_duration,
        metavar="TIME",
        help="limit the time to predict the test images on this machine, e.g. 60s or 5m (requires --tta auto)",
    )
    parser.add_argument(
        "--no-temperature",
        dest="calibrate",
        action="store_false",
        help="do not calibrate members (no temperature scaling)",
    )
    add_full_argument(parser)
    parser.add_argument("--name", help="name the submission (default: made from the names of the runs)")


def parse_duration(text: str) -> float:
    """Return the seconds of `60`, `60s`, `1.5m` or `2h`."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m", "h") else (text, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; use for example 60s, 5m or 1h")
    return seconds


def announce_imports() -> None:
    """Print a line at once for a person who waits: PyTorch and timm take seconds to import."""
    if sys.stderr.isatty() and os.environ.get("RANK", "0") == "0":
        print("loading PyTorch and timm ...", file=sys.stderr, flush=True)


def run_main(main: Callable[[], int | None]) -> int:
    """Run `main` and return its exit status; report an error that the user can fix in one line, with status 2.

    A process that SIGTERM or SIGHUP ends removes its temporary files first, and then ends by that signal.
    """
    with contextlib.suppress(AttributeError):  # a stream of a notebook
        cast(io.TextIOWrapper, sys.stdout).reconfigure(errors="backslashreplace")  # names that are not UTF-8
    received: list[int] = []
    try:
        with unwind_on_signals() as received:
            status = main() or 0
    except KeyboardInterrupt:
        status = _report_interruption()
    except BrokenPipeError:  # the reader, e.g. `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if received:  # the signal is the cause of this error
            status = _report_interruption()
        elif os.environ.get("COMP_TRACEBACK") == "1" or not isinstance(error, (UserError, OSError)):
            raise
        else:
            print(f"error: {format_error(error)}", file=sys.stderr)
            return 2
    if status == 130 and received and received[-1] != signal.SIGINT:
        os.kill(os.getpid(), received[-1])
    return status


def _report_interruption() -> int:
    print("interrupted; run the same command again to resume", file=sys.stderr)
    return 130


def format_error(error: Exception) -> str:
    """Return an exception as one line for the user."""
    if isinstance(error, OSError) and error.strerror:
        file = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{file}; fix the cause and run the same command again"
    message = " ".join(str(error).split())
    return message if isinstance(error, (UserError, OSError)) else f"{type(error).__name__}: {message[:200]}"
