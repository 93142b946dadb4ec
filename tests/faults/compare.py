"""Compare the files of two workspaces: their bytes, or what remains of them without times and machines."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

# What may differ between two undisturbed runs: times, speeds, inodes, and what the console showed. The damaged end of a
# journal is set aside, which the program says.
IGNORED_FILES = re.compile(
    r"(^|/)(train\.log|cost\.json|journal\.log(\.damaged-\d+)?|blend\.png|papers/[^/]*/table\.md|runs/\.cache/files-[^/]*\.json|[^/]*\.lock|__pycache__/.*)$"
)
IGNORED_KEYS = {
    "created",
    "started",
    "finished",
    "seconds",
    "time",
    "milliseconds",
    "load_seconds",
    "predict_seconds",
    "pid",
}
IGNORED_COLUMNS = {
    *("seconds", "images_per_second", "peak_memory_gb", "val_seconds", "time"),
    *("train_seconds", "epoch_seconds", "first_epoch_seconds", "ms", "ms_per_image", "ms_per_thousandth"),
}
# made by torch, multiprocessing, and W&B when timm imports it; nothing but a kill leaves them
OF_LIBRARIES = re.compile(r"/(torchinductor|pymp-)[^/]*$|/tmp[^/]*wandb-(media|artifacts)$")
LEFTOVERS = re.compile(r"\.(tmp|part)$|\.part\.|/\.[^/]*\.(tmp|part)(/|$)")


def contents(workspace: Path) -> dict[str, str]:
    """Return path -> hash of the meaningful content of every file."""
    return {
        name: hashlib.sha256(_meaningful(name, path.read_bytes().replace(str(workspace).encode(), b"."))).hexdigest()
        for path in sorted(workspace.rglob("*"))
        if path.is_file() and not IGNORED_FILES.search(name := path.relative_to(workspace).as_posix())
    }


def differences(contents: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Return the files that are missing, new or different, as text."""
    return [
        *(f"{name} is missing" for name in sorted(expected.keys() - contents.keys())),
        *(f"{name} is new" for name in sorted(contents.keys() - expected.keys())),
        *(f"{name} differs" for name in sorted(expected.keys() & contents.keys()) if contents[name] != expected[name]),
    ]


def leftovers(workspace: Path) -> list[str]:
    """Return temporary files and directories in the workspace and in the directory for temporary files beside it."""
    scratch = Path(f"{workspace}.tmp")
    inside = [path.relative_to(workspace).as_posix() for path in workspace.rglob("*")]
    outside = [path.relative_to(scratch.parent).as_posix() for path in scratch.glob("*")] if scratch.is_dir() else []
    return [name for name in inside if LEFTOVERS.search(name)] + [
        name for name in outside if not OF_LIBRARIES.search(name)
    ]


def _meaningful(name: str, content: bytes) -> bytes:
    """Return a file's content without what IGNORED_KEYS and IGNORED_COLUMNS name; broken files as they are."""
    try:
        if name.endswith(".json"):
            return json.dumps(_without_ignored(json.loads(content)), sort_keys=True).encode()
        if name.endswith(".csv"):
            rows = list(csv.reader(io.StringIO(content.decode())))
            kept = [index for index, column in enumerate(rows[0]) if column not in IGNORED_COLUMNS]
            return json.dumps([[row[index] for index in kept] for row in rows]).encode()
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = {member: archive.read(member) for member in archive.namelist()}
            return repr([(member, _meaningful(member, members[member])) for member in sorted(members)]).encode()
    except (ValueError, IndexError, zipfile.BadZipFile):
        pass
    return content


def _without_ignored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_ignored(item) for key, item in value.items() if key not in IGNORED_KEYS}
    return [_without_ignored(item) for item in value] if isinstance(value, list) else value
