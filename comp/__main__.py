"""Everything but training and inference; `python -m comp <verb> --help` teaches each."""

from __future__ import annotations

import importlib
import sys

from comp.cli import Parser, run_main
from comp.errors import UserError, did_you_mean

VERBS = {  # verb -> module, imported only when called; what it answers
    "data demo": ("comp.commands.demo", "draw a small blood-cell competition to try the kit on"),
    "data check": ("comp.commands.check", "what is wrong or suspicious with the data"),
    "data show": ("comp.commands.show", "a picture of augmented samples"),
    "data import": ("comp.commands.import_npz", "a MedMNIST file becomes a dataset with its official split"),
    "data export-npz": ("comp.commands.export_npz", "a dataset's training images become such a file"),
    "folds": ("comp.commands.folds", "the split everybody shares: folds/<dataset>.csv"),
    "leaderboard": ("comp.commands.leaderboard", "all runs and blends, the best first, and which are inside the noise"),
    "soup": ("comp.commands.soup", "the mean of a run's last epochs, a run like any other"),
    "export": ("comp.commands.export", "a run's models as ONNX or OpenVINO files that agree with torch"),
    "submit check": ("comp.commands.submit_check", "may this file be sent, or would it waste a shot"),
    "submit push": ("comp.commands.submit_push", "a submission goes to Kaggle, once, and its score into the ledger"),
    "submit log": ("comp.commands.submit_log", "enter a score by hand"),
    "submit status": ("comp.commands.submit_status", "all submissions, CV against LB, and what to pick"),
    "submit final": ("comp.commands.submit_final", "name the submission that counts"),
    "submit reproduce": ("comp.commands.submit_reproduce", "make a past submission again, or say what changed"),
    "bundle": ("comp.commands.bundle", "a zip that writes the submission in notebooks without internet"),
    "reproduce": ("comp.commands.reproduce", "the papers' tables, measured again: reported beside measured"),
    "zoo": ("comp.commands.zoo", "what every model of the papers weighs"),
    "bench": ("comp.commands.bench", "how fast this machine trains and predicts, and what it could do"),
    "tune": ("comp.commands.tune", "search regularisation (or anything else) with Optuna"),
}


def main() -> int | None:
    words = sys.argv[1:]
    family = any(verb.startswith(f"{words[0]} ") for verb in VERBS) if words else False
    if not words or words[0] in ("-h", "--help") or (family and (words[1:] or ["-h"])[0] in ("-h", "--help")):
        print(_overview(words[0] if family else ""))
        return 0
    verb = " ".join(words[:2]) if " ".join(words[:2]) in VERBS else words[0]
    if verb not in VERBS:
        said = " ".join(words[:2]) if family else words[0]
        raise UserError(f"there is no verb {said!r}{did_you_mean(said, VERBS)} (see python -m comp --help)")
    module = importlib.import_module(VERBS[verb][0])
    parser = Parser(prog=f"python -m comp {verb}", description=module.__doc__)
    module.add_arguments(parser)
    return module.run(parser.parse_intermixed_args(words[len(verb.split()) :]))


def _overview(family: str) -> str:
    """All verbs, or those of a family such as `submit`."""
    shown = {verb: about for verb, (_, about) in VERBS.items() if not family or verb.startswith(f"{family} ")}
    width = max(map(len, shown))
    return "\n".join(
        [
            "usage: python -m comp <verb> [-c CONFIG] [key=value ...]",
            "",
            *(f"  {verb:<{width}}  {about}" for verb, about in shown.items()),
            "",
            "Each teaches its use: python -m comp <verb> --help; so do train.py and infer.py, the programs.",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(run_main(main))
