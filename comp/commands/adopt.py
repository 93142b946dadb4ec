"""The command that reads a competition's files: data adopt."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

OPTIONS = {  # key of AdoptOptions: whether it may be repeated, and its help
    "labels": (False, "where the labels are: a CSV, a COCO JSON, a pattern such as '{label}.*.jpg', or folders"),
    "image": (False, "column that names the image"),
    "label": (True, "column of the label; repeat it for several columns of 0 and 1"),
    "separator": (False, "text between the tags of a label, or none"),
    "group": (False, "column whose equal values share a fold, or none"),
    "train": (True, "folder of training images"),
    "test": (True, "folder of test images"),
    "ids": (False, "table from the sample's ids to images, or none"),
    "row": (True, "column that names the row of the submission that an image is of, or none"),
    "pool": (False, "predictions of a row with several images: their mean (the default) or max"),
    "task": (False, "single, binary, multilabel, ordinal or regression"),
    "positive": (True, "label that means yes, of a binary task"),
    "metric": (False, "score of the competition"),
    "sample": (False, "sample submission"),
    "answer": (False, "what a submission holds: label, probability, number, tags or best:K"),
}


class Repeated(argparse.Action):
    """An argument that may be repeated; its value is a tuple."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, (*(getattr(namespace, self.dest) or ()), values))


def adopt_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="folder of the competition's files, such as input/NAME")
    parser.add_argument("--zip", type=Path, metavar="FILE", help="unpack this file into the folder first")
    parser.add_argument("--force", action="store_true", help="replace a config that differs")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="leave out labels without an image and images without a label, instead of an error",
    )
    for key, (is_list, text) in OPTIONS.items():
        parser.add_argument(f"--{key}", action=Repeated if is_list else "store", metavar="X", help=text)


def adopt(args: argparse.Namespace) -> None:
    """Find out what a competition's files mean, print it with its evidence, and write configs/NAME.yaml.

      python -m comp data adopt input/NAME
      python -m comp data adopt input/NAME --zip NAME.zip --metric auc

    Reads names, tables and the sample submission; it moves and changes no file. Where the files can be read in two
    ways, it names both, prints what to add to the command, and writes nothing. Paths are below the folder. The metric
    is written in no file: without --metric one is assumed, and the table says so.
    """
    from comp.data.adopt.conclude import conclude
    from comp.data.adopt.options import AdoptOptions, Finding, Findings, listed
    from comp.data.adopt.unzip import unpack
    from comp.data.adopt.write import check_options, config_path, format_findings, render_config, write_config
    from comp.submit.answers import choose_answer
    from comp.submit.sample import check_sample, load_sample

    path = config_path(args.root)
    typed = {key: value for key in OPTIONS if (value := getattr(args, key))}
    options = check_options(AdoptOptions(**typed, allow_missing=args.allow_missing))
    if args.zip:
        print(unpack(args.zip, args.root))
    findings: Findings = []
    try:
        conclusion = conclude(args.root, options, findings)
        sample = load_sample(conclusion.dataset)
        check_sample(sample, conclusion.dataset)
        for line in conclusion.dataset.left_out:
            print(f"warning: {line}", file=sys.stderr)
        answer = choose_answer(sample, conclusion.dataset).description
        findings.append(Finding("submission", listed(sample.columns, 3), f"holds {answer}"))
    finally:
        if findings:
            print(format_findings(findings))
    print(write_config(path, render_config(path.stem, conclusion, path.parent), force=args.force))
    print(f"next: python -m comp data check -c {path}; python -m comp folds -c {path}; python train.py -c {path}")
