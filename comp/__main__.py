"""`python -m comp <command>`: everything but training and inference, which are train.py and infer.py."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass

from comp.cli import Parser, run_main
from comp.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Command:
    """A command's module below comp.commands, imported only when it is called, and the function in it.

    The function's docstring is the command's help; `<function>_arguments` beside it declares its arguments.
    """

    module: str
    function: str
    summary: str


COMMANDS = {
    "data demo": Command("data", "demo", "draw a small blood-cell competition to try the kit on"),
    "data adopt": Command("adopt", "adopt", "find out what a competition's files mean, and write its config"),
    "data check": Command("data", "check", "find broken, duplicate and suspicious images"),
    "data relabel": Command(
        "relabel", "relabel", "correct labels by a filled-in table, without touching the originals"
    ),
    "data show": Command("data", "show", "draw augmented samples"),
    "data import": Command("data", "import_medmnist", "turn a MedMNIST file into a dataset with its official split"),
    "data export-npz": Command("data", "export_medmnist", "pack a dataset's training images as a MedMNIST file"),
    "pretrain": Command("pretrain", "pretrain", "train a backbone without labels, for model.weights of all folds"),
    "folds": Command("data", "folds", "write the split that the team shares: folds/<dataset>.csv"),
    "predict": Command("predict", "predict", "answer about images by a run, a blend or a submission"),
    "serve": Command("serve", "serve", "open a local page that answers about the images you drop on it"),
    "leaderboard": Command("runs", "leaderboard", "rank all runs and blends, with paired tests against the best"),
    "report": Command("report", "report", "write a page about a run, a blend, a submission, a study or several runs"),
    "soup": Command("runs", "soup", "average the weights of a run's last epochs, as a run of its own"),
    "export": Command("runs", "export", "write a run's models as ONNX or OpenVINO files that agree with torch"),
    "predictions export": Command("predictions", "export", "write the stored predictions of a run or blend as CSV"),
    "submit check": Command("submit", "check", "check a submission file before you submit it"),
    "submit push": Command("submit", "push", "send a submission to Kaggle, once, and record its score"),
    "submit log": Command("submit", "log", "record a score by hand"),
    "submit status": Command("submit", "status", "list all submissions, plot CV against LB, propose picks"),
    "submit final": Command("submit", "final", "name the submission that counts"),
    "submit reproduce": Command("submit", "reproduce", "reproduce a past submission, or report what changed"),
    "bundle": Command("submit", "bundle", "pack a submission for notebooks without internet"),
    "reproduce": Command("study", "reproduce", "measure a paper's tables again: reported beside measured"),
    "zoo": Command("study", "zoo", "list the papers' models with their parameter counts"),
    "track sync": Command("track", "sync", "fill W&B from run directories, submissions and the ledger"),
    "track dashboard": Command("track", "dashboard", "save the team's view of a W&B project"),
    "bench": Command("bench", "bench", "measure how fast this machine trains and predicts"),
    "doctor": Command("doctor", "doctor", "report what this machine has, what will be used, and what is wrong"),
    "tune": Command("study", "tune", "search regularisation (or any other keys) with Optuna"),
}


def main() -> int | None:
    """Run the command of sys.argv and return its exit status."""
    return run_command(sys.argv[1:])


def run_command(arguments: list[str]) -> int | None:
    """Run the command of the arguments after `python -m comp`, and return its exit status."""
    group = arguments[0] if arguments and any(name.startswith(f"{arguments[0]} ") for name in COMMANDS) else ""
    rest = arguments[1:] if group else arguments
    if not rest or rest[0] in ("-h", "--help"):
        print(_overview(group))
        return 0
    name = f"{group} {rest[0]}" if group else rest[0]
    if name not in COMMANDS:
        raise UserError(f"unknown command {name!r}{did_you_mean(name, COMMANDS)} (see python -m comp --help)")
    command = COMMANDS[name]
    module = importlib.import_module(f"comp.commands.{command.module}")
    function = getattr(module, command.function)
    parser = Parser(prog=f"python -m comp {name}", description=inspect.getdoc(function))
    getattr(module, f"{command.function}_arguments")(parser)
    return function(parser.parse_intermixed_args(rest[1:]))


def _overview(group: str) -> str:
    """Return the list of all commands, or of those in a group such as `submit`."""
    shown = {name: command for name, command in COMMANDS.items() if not group or name.startswith(f"{group} ")}
    width = max(map(len, shown))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in shown.items()]
    return "\n".join(
        [
            "usage: python -m comp <command> [-c CONFIG] [key=value ...]",
            "",
            *lines,
            "",
            "Help for one command: python -m comp <command> --help. Training: train.py; inference: infer.py.",
        ]
    )


def console_script() -> int:
    """Entry point of the installed command `comp`, which equals `python -m comp`."""
    return run_main(main)


if __name__ == "__main__":
    raise SystemExit(console_script())
