"""Predict inside a bundle, on another machine: from the test images there to the submission.

Of the kit's libraries it imports those in REQUIRED_PACKAGES and no others; `verify_bundle` blocks the rest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from comp.batches.loader import choose_workers
from comp.data.cache import decode
from comp.data.images import SquareSpec
from comp.data.scan import Dataset, Image, find_test_images
from comp.engine.device import choose_device, configure_allocator
from comp.engine.runtime import make_torch_network
from comp.ensemble.blend import Blend, apply_blend
from comp.errors import UserError
from comp.files import write_atomic
from comp.prediction.inference import InferenceOptions, predict_images
from comp.prediction.load import load_model
from comp.records.bundle import BundleRecord
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
    root = root or find_competition(inputs)
    task = Blend.from_spec(record.blend, record.classes).task
    dataset = Dataset(root, task, record.numbers, (), find_test_images(root), "name")
    if not dataset.test:
        raise UserError(f"{root / 'test'} has no images; set ROOT to the directory of the competition")
    sample = _read_sample(bundle, dataset)
    rows = check_sample(sample, dataset)  # before predicting, which takes minutes
    configure_allocator()
    device = choose_device("auto")
    predictions, timing = _predict(bundle, record, dataset, rows, device)
    filled = fill_table(sample, pd.DataFrame(predictions, list(rows.ids), list(dataset.classes)), dataset)
    file = Path(f"submission{filled.suffix}")
    write_atomic(file, to_bytes(filled))
    seconds = timing.load_seconds + timing.predict_seconds
    print(f"wrote {file}: {len(filled.rows)} rows, in {seconds:.0f} s on {device.type}")
    return timing


def find_competition(inputs: Path) -> Path:
    """Return the one directory below `inputs` that has test/; if there are several, the one that has a sample too."""
    candidates = [
        path.parent
        for depth in range(MAX_DEPTH)
        for path in sorted(inputs.glob("*/" * depth + "test"))
        if path.is_dir()
    ]
    roots = [root for root in candidates if sample_path(root)] or candidates
    if len(roots) != 1:
        problem = f"{len(roots)} directories below {inputs} have" if roots else f"no directory below {inputs} has"
        raise UserError(
            f"{problem} test/ with images; set ROOT to the competition's directory, or to a directory of links to "
            f"its test images (as test/) and sample"
        )
    return roots[0]


def _read_sample(bundle: Path, dataset: Dataset) -> SubmissionTable:
    """Return the sample of the competition, else the bundle's, else one of all test images."""
    path = sample_path(dataset.root) or sample_path(bundle)
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
                    batch_size=member.batch,
                    device=device,
                    workers=choose_workers("auto", device.type),
                    title=f"member {number} of {len(record.members)}",
                    activate=blend.task.activate,
                ),
            )
        )
    predictions = apply_blend(blend, member_probabilities, rows)
    return predictions, Timing(len(dataset.test), load_seconds, time.perf_counter() - start - load_seconds)
