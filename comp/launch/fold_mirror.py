"""A fold's directory on another machine, and its changes, which are applied at home in the order they were made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from comp.files import write_atomic

Change = tuple[Path, bytes | None]  # a file and its new content; None: it was removed


def read_files(directory: Path) -> list[Change]:
    """Return all files below a directory, but for locks and temporary ones."""
    return FoldMirror(Path(), directory).changes()


def apply_changes(changes: list[Change]) -> None:
    """Write and remove files. Each is written atomically, so a kill leaves what a kill of the training leaves."""
    for path, content in changes:
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_atomic(path, content)


@dataclass
class FoldMirror:
    """The files of a directory that another machine has too, by their paths from `root`, and when each was written."""

    root: Path
    directory: Path  # below it
    known: dict[Path, tuple[int, int, int]] = field(default_factory=dict)

    def changes(self) -> list[Change]:
        """Return what changed since the last call, the oldest first, and removals last: `fold.json` tells of weights
        that were written before it, and the checkpoint goes when it is not needed any more."""
        current = {}
        for path in (self.root / self.directory).rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                status = path.stat()
                current[path.relative_to(self.root)] = (status.st_mtime_ns, status.st_size, status.st_ino)
        removed, known, self.known = self.known.keys() - current.keys(), self.known, current
        changed = sorted((path for path in current if known.get(path) != current[path]), key=current.__getitem__)
        return [
            *((path, (self.root / path).read_bytes()) for path in changed),
            *((path, None) for path in sorted(removed)),
        ]
