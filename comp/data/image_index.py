"""Find image files by the names that tables give them: with or without suffix, with or without folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from comp.errors import UserError


class ImageIndex:
    """The files of some folders by every name that a table may give them."""

    def __init__(self, folders: Sequence[Path], files: Iterable[Path]):
        self.folders = tuple(folders)
        self.by_name: dict[str, set[Path]] = defaultdict(set)
        for file in files:
            for name in self._names(file):
                self.by_name[name].add(file)

    def _names(self, file: Path) -> set[str]:
        """Return the path below each folder and the file's name, each with and without the suffix."""
        paths = {PurePosixPath(file.name)}
        for folder in self.folders:
            if file.is_relative_to(folder):
                paths.add(PurePosixPath(file.relative_to(folder).as_posix()))
        return {name for path in paths for name in (path.as_posix(), path.with_suffix("").as_posix())}

    def find(self, name: str) -> Path | None:
        """Return the file of this name; None without one. A name of several files is a UserError."""
        files = self.by_name.get(name, set())
        if len(files) > 1:
            first, second = sorted(files)[:2]
            raise UserError(
                f"{name} may be {first} or {second}; name it with its suffix or folder, or set data.train and "
                f"data.test to fewer folders"
            )
        return next(iter(files), None)
