"""Commands about images and splits: data demo, check, show, import, export-npz, and folds."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from comp.cli import add_config_arguments

if TYPE_CHECKING:
    import pandas as pd

    from comp.data.scan import Dataset

MAX_LISTED_CLASSES = 40  # classes up to which `folds` prints a line for each


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path("input/demo"), help="write it here (default: %(default)s)")
    parser.add_argument("--per-class", type=int, default=60, help="training images per class (default: %(default)s)")
    parser.add_argument("--test", type=int, default=160, help="number of test images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draw other images (default: %(default)s)")


def demo(args: argparse.Namespace) -> None:
    """Draw a stylised blood-cell competition: train/<class>/, test/, a sample submission and the test labels.

    python -m comp data demo                     into input/demo
    python -m comp data demo --per-class 10 --test 16 --root input/tiny
    """
    from comp.data.demo import draw_competition
    from comp.errors import UserError

    if args.per_class < 2 or args.test < 1:
        raise UserError("a demo needs at least --per-class 2 and --test 1")
    if args.root.exists():
        print(f"{args.root} already exists")
        return
    draw_competition(args.root, per_class=args.per_class, test=args.test, seed=args.seed)
    print(f"wrote {args.root}: {8 * args.per_class} training images of 8 classes, {args.test} test images")


def check_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)


def check(args: argparse.Namespace) -> int:
    """Find images that would spoil a training or a score, and say what to do about each.

      python -m comp data check                             the dataset of the default config
      python -m comp data check data.root=input/my-cells folds.k=4

    Errors (exit status 1): unreadable images, copies of one image under two labels, training images that are also
    in test, copies in several folds of the split, an empty class. Warnings (exit status 0): a class smaller than the
    number of folds, copies inside a class or inside test, files that are not images, names that differ in case alone,
    and an image size, JPEG quality or colour that predicts the class. Copies are found even when rotated by quarter
    turns, mirrored, re-encoded, resized or slightly brightened; crops, and images below 96 px with strong colour noise
    that were saved as JPEG again, are missed.
    Writes runs/checks/<dataset>.json.
    """
    from comp import config
    from comp.data.cache import stats_file
    from comp.data.check import check_dataset
    from comp.data.check_text import format_report
    from comp.data.folds import read_folds
    from comp.data.scan import scan
    from comp.errors import UserError
    from comp.records.dataset import SplitRecord
    from comp.submit.sample import describe_answer

    settings = config.load(args.config, args.overrides)[0]
    dataset, split, is_official = scan(settings.source), None, False
    with contextlib.suppress(UserError):  # there is no split yet, or it is of other images: `folds` says so
        split = read_folds(settings.folds_file, dataset, allow_split_groups=True)
        is_official = SplitRecord.read(settings.folds_file.with_suffix(".json")).official
    fold_of = None if split is None else dict(zip(split["image"], split["fold"], strict=True))
    report = check_dataset(dataset, settings.folds.k, fold_of, is_official, stats_file(dataset))
    print(format_report(report))
    report.write(Path(f"runs/checks/{report.dataset}.json"))
    try:
        print(f"\n{describe_answer(dataset)}")
    except UserError as error:
        print(f"\nerror: {error}")
        return 1
    return report.exit_code


def show_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--columns", type=int, default=8, help="augmented versions of each image, each way (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="choose other images and draws (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the PNG here (default: runs/checks/<dataset>-<policy>.png)")


def show(args: argparse.Namespace) -> None:
    """Draw augmented samples: a row per class (24 at most), the original image and then what the model may see.

      python -m comp data show                                 runs/checks/blood-cells-paper.png
      python -m comp data show augment.policy=heavy augment.device=gpu --columns 10

    Without augment.device: --columns images augmented one by one on the CPU (albumentations), and as many in one
    batch on the device.
    """
    from comp import config
    from comp.batches.gallery import draw_gallery, write_png
    from comp.batches.policies import check_policy
    from comp.data.cache import make_square_spec
    from comp.data.scan import scan
    from comp.errors import UserError

    if args.columns < 1 or args.seed < 0:
        raise UserError("--columns must be 1 or more and --seed 0 or more")
    settings = config.load(args.config, args.overrides)[0]
    data, augment = settings.data, settings.augment
    check_policy(augment.policy)
    path = args.out or Path(f"runs/checks/{settings.dataset}-{augment.policy}.png")
    dataset = scan(settings.source)
    square_spec = make_square_spec(dataset.train, data.size, data.fit, data.crop)
    gallery = draw_gallery(
        dataset, augment.policy, augment.device, square_spec, min(data.size, 160), args.columns, args.seed
    )
    write_png(path, gallery)
    print(f"wrote {path}: policy {augment.policy}; the first column is the original image")


def import_medmnist_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="a MedMNIST .npz: 28, 64, 128 or 224 px, colour or grey, single-label")
    parser.add_argument("--root", type=Path, metavar="DIR", help="write it here (default: input/<name of the file>)")
    parser.add_argument(
        "--folds", type=Path, metavar="FILE", help="write the split here (default: folds/<dataset>.csv)"
    )


def import_medmnist(args: argparse.Namespace) -> None:
    """Turn a MedMNIST file into a dataset with its official split; no pixel changes.

      python -m comp data import bloodmnist_64.npz             into input/bloodmnist_64, folds/bloodmnist_64.csv
      python -m comp data import cells.npz --root input/mine --folds folds/mine-official.csv

    The official training and validation subsets become train/<class>/train_00000.png ... and val_00000.png ...; in
    the folds file validation is fold 0 and the rest is never validated. The official test subset becomes test/, with
    test_labels.csv. An interrupted import resumes when the same command runs again. The files are published at
    https://medmnist.com; `data export-npz` makes one from other images.
    """
    from comp.data.medmnist_import import (
        check_split_file,
        dataset_matches,
        make_official_split,
        read_npz,
        write_dataset,
        write_official_split,
    )
    from comp.data.scan import scan
    from comp.errors import UserError

    root = args.root or Path("input", args.file.stem)
    folds_file = args.folds or Path("folds", f"{root.name}.csv")
    medmnist = read_npz(args.file)
    split = make_official_split(medmnist)
    check_split_file(folds_file, split)
    if not root.exists():
        write_dataset(medmnist, root)
        print(
            f"wrote {root}: {len(split)} training images of {len(medmnist.classes)} classes, "
            f"{len(medmnist.targets['test'])} test images"
        )
    elif dataset_matches(root, medmnist, split):
        print(f"{root} already exists")
    else:
        raise UserError(f"{root} exists and differs from {args.file}; remove it, or set --root DIR")
    write_official_split(folds_file, split, scan(root))
    validation_count = len(medmnist.targets["val"])
    print(f"wrote {folds_file}: the official split; its {validation_count} validation images are fold 0")
    override = f" folds.file={folds_file}" if args.folds else ""
    print(f"next: python train.py data.root={root} data.size={max(medmnist.image_shape[:2])}{override}")


def export_medmnist_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--size", type=int, default=28, help="side of the squares in pixels (default: %(default)s)")
    parser.add_argument("--crop", type=int, help="centre crop in source pixels before resizing (default: data.crop)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the split and the order (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it here (default: input/<dataset>_<size>.npz)")


def export_medmnist(args: argparse.Namespace) -> None:
    """Pack a dataset's training images as a MedMNIST file: small squares, split 70/10/20, copies in one subset.

      python -m comp data export-npz --size 28 --crop 200      input/blood-cells_28.npz, as BloodMNIST
      python -m comp data export-npz data.root=input/demo --size 64 --seed 1 --out demo.npz

    Use it to try a protocol that needs train, validation and test subsets on a dataset of which only the training
    images have labels: the dataset's own test/ is never read. `data import` turns the file into a dataset.
    """
    from comp import config
    from comp.data.groups import find_groups
    from comp.data.images import SquareSpec
    from comp.data.medmnist_export import SUBSET_FOLDS, assign_subsets, pack_arrays, write_npz
    from comp.data.scan import scan
    from comp.errors import UserError

    if args.size < 8 or (args.crop is not None and args.crop < 1) or not 0 <= args.seed < 2**32:
        raise UserError("--size must be 8 or more, --crop 1 or more, and --seed from 0 to 4294967295")
    settings = config.load(args.config, args.overrides)[0]
    dataset, data = scan(settings.source), settings.data
    path = args.out or Path("input", f"{dataset.name}_{args.size}.npz")
    table = assign_subsets(dataset, find_groups(dataset), args.seed)
    arrays = pack_arrays(dataset, table, SquareSpec(args.size, data.fit, args.crop or data.crop), args.seed)
    state = f"wrote {path}" if write_npz(path, arrays) else f"{path} already exists and is the same"
    counts = ", ".join(f"{len(arrays[f'{subset}_labels'])} {subset}" for subset in SUBSET_FOLDS)
    print(
        f"{state}: {len(dataset.classes)} classes at {args.size} px, {counts}, seed {args.seed}, "
        f"{_count_groups(table)} group(s) of duplicates kept together"
    )
    print(f"next: python -m comp data import {path}")


def folds_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--force", action="store_true", help="replace a split that differs")


def folds(args: argparse.Namespace) -> None:
    """Write folds/<dataset>.csv: stratified, duplicates in one fold, the same on every machine.

      python -m comp folds                                             the split of the main config
      python -m comp folds folds.k=10 folds.seed=1 folds.file=folds/other.csv

    An existing file that differs is not replaced without --force: runs trained on it would no longer match.
    """
    from comp import config
    from comp.data.folds import make_folds, trained_only_classes, write_folds
    from comp.data.groups import find_groups
    from comp.data.scan import scan
    from comp.errors import UserError
    from comp.files import file_exists
    from comp.tables import FOLDS_COLUMNS, read_csv

    settings = config.load(args.config, args.overrides)[0]
    path, k, seed = settings.folds_file, settings.folds.k, settings.folds.seed
    dataset = scan(settings.source)
    for line in dataset.left_out:
        print(f"warning: {line}", file=sys.stderr)
    table = make_folds(dataset, find_groups(dataset), k, seed)
    if file_exists(path):
        existing = read_csv(path, FOLDS_COLUMNS, text_columns=("image", "label", "group"))
        if existing.equals(table) and path.with_suffix(".json").is_file():
            print(f"{path} already exists and is the same")
            return _print_answer(dataset)
        if not existing.equals(table) and not args.force:
            advice = "use --force, or another folds.file"
            raise UserError(f"{path} exists and differs, and runs trained on it would no longer match; {advice}")
    write_folds(path, table, dataset, k, seed)
    print(
        f"wrote {path}: {len(table)} images, {k} folds, seed {seed}, "
        f"{_count_groups(table)} group(s) of duplicates kept together"
    )
    if small := trained_only_classes(table):
        print(
            f"warning: {', '.join(small)}: fewer than {k} images, or copies of one alone; kept in training (fold -1) "
            f"and in no score, so add images{' or lower folds.k' if k > 2 else ''}"
        )
    if dataset.task.has_confusion and len(dataset.classes) <= MAX_LISTED_CLASSES:
        print(table.groupby(["label", "fold"]).size().unstack(fill_value=0).to_string())
    _print_answer(dataset)


def _print_answer(dataset: Dataset) -> None:
    """Print what a row of a submission holds; a sample that cannot be filled is a warning: the split is as good."""
    from comp.errors import UserError
    from comp.submit.sample import describe_answer

    try:
        print(describe_answer(dataset))
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)


def _count_groups(table: pd.DataFrame) -> int:
    """Return the number of groups with more than one image."""
    return int((table["group"].value_counts() > 1).sum())
