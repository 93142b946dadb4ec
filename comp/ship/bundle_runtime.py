"""Predict inside a bundle, on another machine: from the test images there to the submission.

Of the kit's libraries it imports those in REQUIRED_PACKAGES and no others; `verify_bundle` blocks the rest.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from comp.batches.loader import choose_evaluation_batch, choose_workers
from comp.data.cache import decode
from comp.data.images import SquareSpec
from comp.data.scan import Dataset, Image, find_test_images, scan
from comp.engine.device import choose_device_or_cpu, configure_allocator
from comp.engine.runtime import make_torch_network
from comp.ensemble.blend import Blend, apply_blend
from comp.errors import UserError
from comp.files import file_exists, write_atomic
from comp.prediction.inference import InferenceOptions, predict_images
from comp.prediction.load import load_model
from comp.records.bundle import BundleRecord
from comp.records.run import describe_unlabelled
from comp.records.source import DataSource
from comp.records.weights import read_weights
from comp.rows import Rows
from comp.submit.sample import check_sample, fill_table, load_sample, sample_path
from comp.submit.submission_table import SubmissionTable, read_table, to_bytes

BUNDLE_FILE = "bundle.json"
MAX_DEPTH = 3  # directories below the input directory in which a competition may be


@dataclass(frozen=True)
class Timing:
    """The time that a bundle took to predict its test images."""

    images: int
    load_seconds: float  # time to read the weights
    predict_seconds: float  # time to decode and predict


@dataclass(frozen=True)
class DecodedSquares:
    """Squares that are decoded when requested.

    A cache on disk would be as large as the test set, and each member reads it only once.
    """

    images: Sequence[Image]
    square_spec: SquareSpec

    def __getitem__(self, index: int) -> np.ndarray:
        return decode(self.images[index], self.square_spec)


def write_bundle_submission(bundle: Path, inputs: Path, root: Path | None = None) -> Timing:
    """Predict the rows of the competition's sample, and write submission.csv (or .json) into the current directory.

    The competition is in `root`; without it, in the directory below `inputs` that `find_competition` returns.
    """
    record = BundleRecord.read(bundle / BUNDLE_FILE)
    folders = record.source.test if record.source else ()
    root = root or find_competition(inputs, folders, record.source.sample if record.source else None)
    task = Blend.from_spec(record.blend, record.classes).task
    source = replace(record.source, root=str(root)) if record.source else None
    dataset = Dataset(root, task, record.numbers, (), _find_test_images(root, source), "name", source)
    if not dataset.test:
        raise UserError(f"{root / (folders or ('test',))[0]} has no images; set ROOT to the competition's directory")
    sample = _read_sample(bundle, dataset)
    rows = check_sample(sample, dataset)  # before predicting, which takes minutes
    configure_allocator()
    device = choose_device_or_cpu()
    predictions, timing = _predict(bundle, record, dataset, rows, device)
    filled = fill_table(sample, pd.DataFrame(predictions, list(rows.ids), list(dataset.classes)), dataset)
    file = Path(f"submission{filled.suffix}")
    write_atomic(file, to_bytes(filled))
    seconds = timing.load_seconds + timing.predict_seconds
    print(f"wrote {file}: {len(filled.rows)} rows, in {seconds:.0f} s on {device.type}")
    if remark := describe_unlabelled(record.unlabelled_images):
        print(f"its models were {remark}")
    return timing


def _find_test_images(root: Path, source: DataSource | None) -> tuple[Image, ...]:
    """Return the test images, without the training images of a folder that both share."""
    if source and source.labels and set(source.train or ("train",)) & set(source.test or ("test",)):
        with contextlib.suppress(UserError):  # without labels and training images there are none to leave out
            return scan(source).test
    return find_test_images(root, source.test if source else ())


def find_competition(inputs: Path, folders: Sequence[str] = (), sample: str | None = None) -> Path:
    """Return the one directory below `inputs` that has the folders of test images; if there are several, the one that
    has a sample too.
    """
    folders = folders or ("test",)
    candidates = [
        directory
        for depth in range(MAX_DEPTH)
        for directory in ([inputs] if depth == 0 else sorted(inputs.glob("*/" * depth)))
        if all((directory / folder).is_dir() for folder in folders)
    ]
    roots = [root for root in candidates if _find_sample(root, sample)] or candidates
    if len(roots) != 1:
        problem = f"{len(roots)} directories below {inputs} have" if roots else f"no directory below {inputs} has"
        raise UserError(
            f"{problem} {folders[0]}/ with images; set ROOT to the competition's directory, or to a directory of links "
            f"to its test images (as {folders[0]}/) and sample"
        )
    return roots[0]


def _find_sample(root: Path, name: str | None) -> Path | None:
    """Return the sample in a directory, or None if it has none."""
    return None if name and not file_exists(root / name) else sample_path(root, name)


def _read_sample(bundle: Path, dataset: Dataset) -> SubmissionTable:
    """Return the sample of the competition, else the bundle's, else one of all test images."""
    name = dataset.sample
    path = _find_sample(dataset.root, name) or _find_sample(bundle, Path(name).name if name else None)
    if path is None and name:
        raise UserError(f"there is no sample submission {dataset.root / name}; set ROOT to the competition's directory")
    return read_table(path) if path else load_sample(dataset)


def _predict(
    bundle: Path, record: BundleRecord, dataset: Dataset, rows: Rows, device: torch.device
) -> tuple[np.ndarray, Timing]:
    """Return the blend's predictions (rows of the submission, classes), and how long they took."""
    blend = Blend.from_spec(record.blend, record.classes, bundle / BUNDLE_FILE)
    load_seconds, start = 0.0, time.perf_counter()
    member_probabilities = []
    for number, (part, member) in enumerate(zip(record.blend.parts, record.members, strict=True), 1):
        load_start = time.perf_counter()
        loaded = [
            load_model(read_weights(bundle / file, sha256), device)
            for file, sha256 in zip(member.weights, member.weights_sha256, strict=True)
        ]
        networks = [make_torch_network(model.model, model.spec, device) for model in loaded]
        load_seconds += time.perf_counter() - load_start
        member_probabilities.append(
            predict_images(
                networks,
                DecodedSquares(dataset.test, SquareSpec(**vars(member.square))),
                range(len(dataset.test)),
                part.views,
                InferenceOptions(
                    size=member.size,
                    batch_size=choose_evaluation_batch(member.batch, device.type),
                    device=device,
                    workers=choose_workers("auto", device.type),
                    title=f"member {number} of {len(record.members)}",
                    activate=blend.task.activate,
                ),
            )
        )
    predictions = apply_blend(blend, member_probabilities, rows)
    return predictions, Timing(len(dataset.test), load_seconds, time.perf_counter() - start - load_seconds)
