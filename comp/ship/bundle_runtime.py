"""What runs inside a bundle, on another machine: from the images there to the file that is asked for.

Of the kit's libraries it imports those of NEEDS and no others; the rehearsal takes the rest away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from comp.batches.loader import choose_workers
from comp.data.cache import decode
from comp.data.images import SquareSpec
from comp.data.scan import Dataset, Image, find_test_images
from comp.engine.device import choose_device, configure_allocator
from comp.engine.runtime import make_torch_network
from comp.ensemble.blend import Blend, apply_blend
from comp.errors import UserError
from comp.files import read_json, write_atomic
from comp.prediction.inference import InferenceOptions, predict_images
from comp.prediction.load import load_model
from comp.submit.sample import check_sample, fill_table, load_sample, sample_path
from comp.submit.submission_table import read_table, to_bytes

BUNDLE_SCHEMA = 1
BUNDLE_FILE = "bundle.json"
MAX_DEPTH = 3  # folders below the input folder in which a competition may lie


@dataclass(frozen=True)
class Timing:
    images: int
    start: float  # seconds to read the weights
    work: float  # seconds to decode and predict


def write_bundle_submission(bundle: Path, inputs: Path, root: Path | None = None) -> Timing:
    """Predict what the sample there asks for, and write submission.csv (or .json) into the current directory."""
    about = read_json(bundle / BUNDLE_FILE)
    root = root or find_competition(inputs)
    dataset = Dataset(root, tuple(about["classes"]), tuple(about["numbers"]), (), find_test_images(root), "name")
    if not dataset.test:
        raise UserError(f"{root / 'test'} holds no images")
    shape = sample_path(root) or sample_path(bundle)
    sample = read_table(shape) if shape else load_sample(dataset)
    check_sample(sample, dataset)  # before the minutes of predicting
    configure_allocator()
    device, start, spoken = choose_device("auto"), 0.0, []
    began = time.perf_counter()
    for number, (part, member) in enumerate(zip(about["blend"]["parts"], about["members"], strict=True), 1):
        loading = time.perf_counter()
        loaded = [load_model(bundle / file, device) for file in member["weights"]]
        networks = [make_torch_network(model.model, model.spec, device) for model in loaded]
        start += time.perf_counter() - loading
        spoken.append(
            predict_images(
                networks,
                DecodedSquares(dataset.test, SquareSpec(**member["square"])),
                range(len(dataset.test)),
                part["views"],
                InferenceOptions(
                    size=member["size"],
                    batch_size=member["batch"],
                    device=device,
                    workers=choose_workers("auto", device.type),
                    title=f"member {number} of {len(about['members'])}",
                ),
            )
        )
    values = apply_blend(Blend.from_note(about["blend"]), spoken)
    took = Timing(len(dataset.test), start, time.perf_counter() - began - start)
    filled = fill_table(
        sample, pd.DataFrame(values, [image.id for image in dataset.test], list(dataset.classes)), dataset
    )
    file = Path(f"submission{filled.suffix}")
    write_atomic(file, to_bytes(filled))
    print(f"wrote {file}: {len(filled.rows)} rows, in {took.start + took.work:.0f} s on {device.type}")
    return took


def find_competition(inputs: Path) -> Path:
    """The folder that has test/, and better a sample too."""
    found = [
        path.parent
        for depth in range(MAX_DEPTH)
        for path in sorted(inputs.glob("*/" * depth + "test"))
        if path.is_dir()
    ]
    with_sample = [root for root in found if sample_path(root)] or found
    if len(with_sample) != 1:
        these = f"{len(with_sample)} folders below {inputs} have" if with_sample else f"no folder below {inputs} has"
        raise UserError(
            f"{these} test/ with images; set ROOT to the competition's, or to a folder of links to its "
            f"test images (as test/) and sample"
        )
    return with_sample[0]


@dataclass(frozen=True)
class DecodedSquares:
    """Squares made when asked for: a cache on disk would be as large as the test set, and is read once per member."""

    images: Sequence[Image]
    square: SquareSpec

    def __getitem__(self, row: int) -> np.ndarray:
        return decode(self.images[row], self.square)
