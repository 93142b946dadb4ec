"""The command that answers about images of no dataset: predict."""

from __future__ import annotations

import argparse

from comp.cli import add_device_argument


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders or quoted patterns")
    parser.add_argument("--run", required=True, metavar="NAME", help="predict with this run, blend or submission")
    parser.add_argument(
        "--runtime", choices=("torch", "onnx"), default="torch", help="compute with this library (default: torch)"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    output.add_argument("--csv", metavar="FILE", help="write answers and probabilities into this file")
    parser.add_argument(
        "--watch", action="store_true", help="watch a folder, and append the answer to each new image to --csv FILE"
    )
    parser.add_argument(
        "--cam", metavar="FOLDER", help="write each image with its heat map into this folder (torch, extra `report`)"
    )
    add_device_argument(parser)


def predict(args: argparse.Namespace) -> None:
    """Answer about images by all fold models, views and temperatures of a run, a blend or a submission.

      python -m comp predict cell.jpg --run demo                        one image
      python -m comp predict input/demo/test --run demo --csv a.csv     a folder, with all probabilities
      python -m comp predict 'new/*.png' --run demo+d4 --json           a quoted pattern, for programs
      python -m comp predict cell.jpg --run demo --runtime onnx         in about a second, without importing torch
      python -m comp predict inbox --run demo --watch --csv inbox.csv   each new image of a folder, until Ctrl-C
      python -m comp predict cell.jpg --run demo --cam maps             maps/cell.cam.jpg shows what decided the answer

    The same images in the same order have the probabilities that infer.py computes, to the bit in torch. A run that
    infer.py has not blended gets its temperature at the first call, from its out-of-fold predictions; what is needed
    is kept in runs/served/ and made again where weights change. --runtime onnx exports all fold models and views as
    one graph at the first call, and refuses a graph that differs from torch by more than 1e-4. Images that cannot be
    read are listed at the end, with exit status 2.
    """
    import sys
    import time
    from pathlib import Path

    from comp.cli import announce_imports
    from comp.errors import UserError
    from comp.serving.answers import make_answers
    from comp.serving.images import Reader, find_images, unreadable_error
    from comp.serving.model import open_model

    if args.watch and (not args.csv or len(args.images) != 1 or not Path(args.images[0]).is_dir()):
        raise UserError("--watch needs one folder and --csv FILE; for example: predict inbox --watch --csv inbox.csv")
    if args.cam and (args.watch or args.runtime != "torch"):
        option = "--watch" if args.watch else f"--runtime {args.runtime}"
        raise UserError(f"--cam does not work with {option}; remove one of them")
    paths = [] if args.watch else find_images(args.images)
    if args.runtime == "torch":
        announce_imports()
    model = open_model(args.run, args.runtime, args.device)
    if args.watch:
        _watch(model, Path(args.images[0]), Path(args.csv))
        return
    mapper = None
    if args.cam:
        from comp.serving.heat import HeatMapper, write_heat_maps

        mapper = HeatMapper.open(model, args.device)
    reader = Reader(paths, model.batch_size)
    start = time.perf_counter()
    answers = make_answers(model.task, reader.read, model.predict_batches(reader.batches_with_bar()))
    seconds = time.perf_counter() - start
    _show(answers, model, f"{len(answers)} images, {1000 * seconds / max(1, len(answers)):.1f} ms an image", args)
    if mapper:
        write_heat_maps(mapper, answers, Path(args.cam))
        print(f"wrote {len(answers)} heat maps into {args.cam}", file=sys.stderr if args.json else sys.stdout)
    if reader.unreadable:
        raise unreadable_error(reader)


def _show(answers, model, speed: str, args: argparse.Namespace) -> None:
    """Write or print answers in the form that the arguments name."""
    import json
    from pathlib import Path

    from comp.files import write_atomic
    from comp.serving.answers import csv_header, csv_rows, format_answers

    if args.csv:
        write_atomic(Path(args.csv), csv_header(model.task) + csv_rows(answers))
        print(f"wrote {args.csv}: {speed}")
    elif args.json:
        print(json.dumps({"model": model.record.name, "images": [answer.to_dict() for answer in answers]}, indent=1))
    elif answers:
        print(format_answers(model.task, answers))
        print(f"{model.record.name}: {speed}")


def _watch(model, folder, file) -> None:
    from comp.serving.answers import format_answers
    from comp.serving.watch import watch_folder

    print(f"watching {folder}; answers go to {file}; stop with Ctrl-C", flush=True)
    for answers in watch_folder(model, folder, file):
        if answers:
            print(format_answers(model.task, answers), flush=True)
