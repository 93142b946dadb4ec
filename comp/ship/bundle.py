"""A submission as a zip that writes it again where there is no internet: code, weights, a notebook.

bundle.json              what to do: the blend, and of each member its weights, its square, its size
notebook.ipynb           finds the bundle and the competition, and calls comp/ship/bundle_runtime.py
weights/member0-fold0.pt ...
sample_submission.csv    the form, where the competition has none
comp/                    this code
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from comp.data.cache import make_square_spec
from comp.data.scan import Dataset, scan
from comp.errors import UserError
from comp.files import file_sha256
from comp.runs import RUNS, Run, read_run
from comp.ship.bundle_runtime import BUNDLE_FILE, BUNDLE_SCHEMA, Timing
from comp.ship.notebook import notebook
from comp.ship.verify_bundle import verify_bundle
from comp.submit.manifest import read_manifest
from comp.submit.sample import sample_path

CODE = Path(__file__).parents[1]
BUNDLES = RUNS / "bundles"


def make_bundle(submission: Path) -> tuple[Path, Timing]:
    """Pack what made `submission`, rehearse it, and only then give it its name."""
    note = read_manifest(submission)
    if others := sorted({member["runtime"] for member in note["members"]} - {"torch"}):
        raise UserError(
            f"a bundle computes with torch, and {submission} was made with {', '.join(others)}; make it "
            f"again without --runtime"
        )
    dataset = scan(note["competition"]["root"])
    target = BUNDLES / f"{note['id']}.zip"
    part = target.with_name(f".{target.name}.part")  # one name: what a killed attempt leaves, the next one takes
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _pack(part, note, dataset)
        took = verify_bundle(part, note["id"], dataset.root, submission)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target, took


def _pack(file: Path, note: dict[str, Any], dataset: Dataset) -> None:
    members = {member["run"]: member for member in note["members"]}
    about, weights = [], {}
    for number, part in enumerate(note["blend"]["parts"]):
        member = members[part["name"]]
        run = read_run(Path(member["path"]))
        ours = {
            f"weights/member{number}-fold{fold}.pt": _verify_weights(run, fold, sha256)
            for fold, sha256 in member["weights_sha256"].items()
        }
        about.append({**_input_geometry(run, dataset), "weights": list(ours)})
        weights |= ours
    story = {
        "schema": BUNDLE_SCHEMA,
        "name": note["id"],
        "sha256": note["sha256"],
        "classes": list(dataset.classes),
        "numbers": list(dataset.class_numbers),
        "blend": note["blend"],
        "members": about,
        **{key: note[key] for key in ("created", "oof", "git", "versions")},
    }
    with open(file, "wb") as target:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(BUNDLE_FILE, json.dumps(story, indent=1, ensure_ascii=False))
            packed.writestr("notebook.ipynb", notebook(note["id"]))
            for path in sorted(path for kind in ("*.py", "*.cpp") for path in CODE.rglob(kind)):
                packed.write(path, f"comp/{path.relative_to(CODE).as_posix()}")
            if sample := sample_path(dataset.root):
                packed.write(sample, sample.name)
            for name, path in weights.items():
                packed.write(path, name, zipfile.ZIP_STORED)  # random digits: nothing to gain
        target.flush()
        os.fsync(target.fileno())


def _verify_weights(run: Run, fold: str, sha256: str) -> Path:
    weights = run.fold_dir(fold).weights_path
    if not weights.is_file() or file_sha256(weights) != sha256:
        raise UserError(
            f"{weights} is not what the submission was made with, by the fold.json beside it; "
            f"restore it, or train that fold again"
        )
    return weights


def _input_geometry(run: Run, dataset: Dataset) -> dict[str, Any]:
    """The square depends on the training images, and a bundle has none."""
    data = run.config.data
    return {
        "square": vars(make_square_spec(dataset.train, data.size, data.fit, data.crop)),
        "size": data.size,
        "batch": run.config.train.batch,
    }
