"""The command data relabel."""

from __future__ import annotations

import argparse
from pathlib import Path

from comp.cli import add_config_arguments


def relabel_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="a CSV with the columns image and new_label")
    add_config_arguments(parser)
    parser.add_argument("--undo", action="store_true", help="restore the original labels of all images; without FILE")


def relabel(args: argparse.Namespace) -> None:
    """Correct the labels of training images by a filled-in CSV, without touching the originals.

      python -m comp data relabel runs/reports/first/relabel.csv -c runs/first/config.yaml
      python -m comp data relabel --undo -c runs/first/config.yaml

    `python -m comp report` writes such a file: fill in its column new_label, with tags as in the labels. Rows without a
    new label are left out. The corrections are kept in folds/<dataset>.relabel.csv, which belongs into git; every later
    command uses them, the split stays the same, and a run that was trained on other labels is another run. A new label
    that equals the original one removes the correction.
    """
    from comp import config
    from comp.data.relabel import corrections_file, read_filled_labels, write_corrections
    from comp.data.scan import scan
    from comp.errors import UserError
    from comp.files import check_regular

    overrides = [args.file, *args.overrides] if args.undo and args.file else args.overrides
    settings = config.load(args.config, overrides)[0]
    path = corrections_file(settings.data.root)
    if args.undo:
        print(f"removed {path}" if path.is_file() else f"{path} does not exist: no label is corrected")
        path.unlink(missing_ok=True)
        return
    if args.file is None:
        raise UserError("name the CSV with the new labels, or set --undo")
    file = Path(args.file)
    check_regular(file)
    new_labels = read_filled_labels(file)
    if not new_labels:
        raise UserError(f"{file} has no new label; fill in its column new_label")
    corrected = write_corrections(scan(settings.source), new_labels, file)
    count = sum(image.original_label is not None for image in corrected.train)
    print(f"{path}: {count} of {len(corrected.train)} labels are corrected" if count else "no label is corrected")
    print("next: train under another name, for example: python train.py --name relabelled")
