"""Compare the files and the results of commands."""

from __future__ import annotations

from pathlib import Path


def read_tree(root: Path) -> dict[str, bytes | None]:
    """Return all files below `root`, hidden ones too."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def assert_refused(result: tuple[int, str, str], expected: str) -> None:
    status, _, err = result
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err, err
