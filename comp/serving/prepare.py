"""Make the record of a run or a submission, from the files that training and infer.py wrote."""

from __future__ import annotations

from pathlib import Path

from comp.blending.fit import fit_and_assess, unfitted_blend
from comp.blending.members import open_members
from comp.blending.options import InferOptions, check_options
from comp.data.cache import make_square_spec
from comp.errors import UserError
from comp.files import file_sha256
from comp.prediction.load import load_run_dataset
from comp.records.bundle import SquareRecord
from comp.records.served import ServedMember, ServedRecord
from comp.runs import Run, find_runs, read_run
from comp.serving.reference import Reference
from comp.ship.reproduce import find_manifest
from comp.submit.manifest import manifest_path


def make_record(reference: Reference, device: str) -> ServedRecord:
    """Return the record of a submission as its manifest says, or of a run, whose temperature is fitted now."""
    return _of_submission(reference.name) if reference.kind == "submissions" else _of_run(reference.name, device)


def _of_submission(name: str) -> ServedRecord:
    path, manifest = find_manifest(name)
    by_run = {member.run: member for member in manifest.members}
    members = []
    for part in manifest.blend.parts:
        recorded = by_run[part.name]
        run = read_run(Path(recorded.path))
        now = {str(fold): run.weights_sha256(fold) for fold in recorded.folds}
        if now != recorded.weights_sha256:
            raise UserError(
                f"{path} was made with other weights than {run.path} has now; run its infer.py command again: "
                f"{manifest.command}"
            )
        members.append(_member(run, recorded.weights_sha256))
    file = manifest_path(path)
    return ServedRecord(
        name=manifest.id,
        classes=manifest.classes,
        blend=manifest.blend,
        members=tuple(members),
        manifest=str(file),
        manifest_sha256=file_sha256(file),
    )


def _of_run(name: str, device: str) -> ServedRecord:
    runs = find_runs([name])
    if len(runs) != 1:
        raise UserError(f"{name} matches {len(runs)} runs; pass one, or the submission that infer.py made of them")
    run = runs[0]
    full = not run.folds_done() and run.fold_dir("full").is_done
    options = check_options([run], InferOptions(full=full, device=device))
    members = open_members([run], options)
    blend = unfitted_blend(members, options) if full else fit_and_assess(members, options, 0).blend
    predictor = members.predictors[run.name]
    member = _member(run, predictor.weights_sha256(predictor.folds))
    return ServedRecord(name=run.name, classes=run.classes, blend=blend.to_spec(), members=(member,))


def _member(run: Run, weights_sha256: dict[str, str]) -> ServedMember:
    data, dataset = run.config.data, load_run_dataset(run)
    square = make_square_spec(dataset.train, data.size, data.fit, data.crop)
    return ServedMember(
        str(run.path),
        weights_sha256,
        SquareRecord(square.size, square.fit, square.crop),
        data.size,
        run.config.train.batch,
    )
