"""Find image files below a folder."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePath

from comp.data.suffixes import drop_copies_as_arrays, is_named_like_an_image
from comp.errors import UserError

FORBIDDEN_IN_NAMES = {"Cc", "Cs", "Zl", "Zp"}  # controls, bytes that are not UTF-8, and line ends of Unicode


def images_below(folder: Path) -> list[Path]:
    """Return the images below `folder` in natural order, without arrays that are copies of plainer files."""
    return drop_copies_as_arrays([path for path in files_below(folder) if is_image(path)])


def files_below(folder: Path) -> list[Path]:
    """Return everything below `folder` that is neither hidden nor an ordinary directory, in natural order.

    Natural: img_2 before img_10. A directory that is named like an image is listed, but not an image (`is_image`).
    """
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent)
        listed = [below / name for name in folders if is_named_like_an_image(PurePath(name))]
        paths += [*listed, *(below / name for name in files if not name.startswith("."))]
    for path in paths:
        check_file_name(path, folder)
    return sorted(paths, key=lambda path: (len(path.name), path.as_posix()))


def is_image(path: Path) -> bool:
    """Return whether a path is named like an image and is a file: not a pipe, a device or a broken link."""
    return is_named_like_an_image(path) and path.is_file()


def check_file_name(path: Path, base: Path) -> Path:
    """Return `path`; refuse a name below `base` that a line of text or a CSV cannot hold."""
    if str(path).isascii() and str(path).isprintable():  # nearly all: the rest is ten times as slow
        return path
    name = path.relative_to(base).as_posix()
    if any(unicodedata.category(character) in FORBIDDEN_IN_NAMES for character in name):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        shown = "".join(ascii(c)[1:-1] if unicodedata.category(c) in FORBIDDEN_IN_NAMES else c for c in shown)
        raise UserError(
            f"the name of {base / shown} is not UTF-8, or has a line end or another control character; rename it"
        )
    return path
