"""Find submissions by path or id, and the manifest beside each: the JSON that says how it was made."""

from __future__ import annotations

from pathlib import Path

from comp.errors import UserError, did_you_mean
from comp.files import read_json
from comp.records.submission import Competition, SubmissionManifest
from comp.schema import Config
from comp.submit.competition import resolve_competition

SUBMISSIONS = Path("submissions")


def manifest_path(path: Path) -> Path:
    """x.csv -> x.json; a submission that is JSON itself has its manifest in x.about.json."""
    return path.with_suffix(".about.json" if path.suffix == ".json" else ".json")


def read_manifest(path: Path) -> SubmissionManifest:
    """Read the manifest of the submission `path`, which may be missing itself."""
    file = manifest_path(path)
    content = read_json(file)
    if not isinstance(content, dict) or "schema" not in content:
        raise UserError(f"{file} is not the manifest of a submission; {SubmissionManifest.ADVICE}")
    return SubmissionManifest.from_dict(content, file)


def submission_id(path: Path) -> str:
    """Return the path below submissions/ without its suffix; for a file elsewhere, its name without suffix."""
    try:
        relative = path.resolve().relative_to(SUBMISSIONS.resolve())
    except ValueError:
        relative = Path(path.name)
    return relative.with_suffix("").as_posix()


def find_submission(reference: str) -> Path:
    """Return the file of a submission, given by path or id."""
    for path in _candidate_paths(reference):
        if path.is_file():
            return path
    available = [submission_id(path) for path in SUBMISSIONS.rglob("*.csv") if path != SUBMISSIONS / "ledger.csv"]
    raise UserError(f"there is no submission {reference}{did_you_mean(reference, available)}")


def find_with_manifest(reference: str) -> Path | None:
    """Return the path of a submission that has a manifest, given by path or id. Its file may be missing."""
    for path in _candidate_paths(reference):
        # x.json is the manifest of x.csv only while there is no x.about.json: then it is a submission itself
        has_csv = path.suffix == ".csv" and not path.with_suffix(".about.json").is_file()
        if (has_csv or path.suffix == ".json") and manifest_path(path).is_file():
            return path
    return None


def competition_for(reference: str, config: Config | None) -> Competition:
    """Return the competition of a submission, given by path or id.

    It is that of `config`; without one, that of the manifest; without either, that of the default config.
    """
    path = find_with_manifest(reference)
    return resolve_competition(config, read_manifest(path) if path else None)


def _candidate_paths(reference: str) -> list[Path]:
    if not Path(reference).name:
        raise UserError(f"{reference!r} names no submission; pass its path or its id")
    return [Path(reference), *(SUBMISSIONS / f"{reference}{suffix}" for suffix in (".csv", ".json"))]
