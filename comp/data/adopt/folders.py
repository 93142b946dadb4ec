"""Choose the folders that hold the images of a list of names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from comp.data.adopt.options import ambiguous, listed, quoted
from comp.data.suffixes import CONTAINER_SUFFIXES

Role = Literal["train", "test"]
ROLE_WORDS: dict[Role, re.Pattern[str]] = {"train": re.compile("(?<![a-z])train"), "test": re.compile("(?<![a-z])test")}
OTHER: dict[Role, Role] = {"train": "test", "test": "train"}


def has_role(path: str, role: Role) -> bool:
    """Return whether a folder on the path is called after the role, as in `stage_1_test/`."""
    return any(ROLE_WORDS[role].search(part.lower()) for part in PurePosixPath(path).parts)


def choose_images(matches: Mapping[str, Sequence[str]], role: Role, chosen: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the images of each name that suit the role: in the chosen folders, of the plainest format, not in a folder
    of the other role. A choice that would leave a name without an image is not made."""
    images = {name: list(files) for name, files in matches.items()}
    for keep in (
        lambda image: not chosen or any(is_below(image, folder) for folder in chosen),
        lambda image: not has_role(_folder(image), OTHER[role]) or has_role(_folder(image), role),
        lambda image: PurePosixPath(image).suffix.lower() not in CONTAINER_SUFFIXES,
    ):
        kept = {name: [image for image in files if keep(image)] for name, files in images.items()}
        if all(kept.values()):
            images = kept
    return images


def choose_folders(images: Mapping[str, Sequence[str]], role: Role, everything: Sequence[str]) -> tuple[str, ...]:
    """Return the folders below which each name has its image: one folder if one holds them all.

    Folders that hold all of them each, such as two copies in two formats, are ambiguous.
    """
    covered = Counter(
        folder for files in images.values() for folder in {above for file in files for above in _folders_above(file)}
    )
    full = [folder for folder, count in covered.items() if count == len(images)]
    deepest = [folder for folder in full if not any(is_below(other, folder) for other in full if other != folder)]
    if len(deepest) > 1:
        raise ambiguous(
            f"the {role} images may be those below {' or those below '.join(sorted(deepest)[:3])}",
            *(f"--{role} {quoted(folder)}" for folder in sorted(deepest)[:3]),
        )
    folder = deepest[0]
    is_direct = any(_folder(file) == folder for files in images.values() for file in files)
    if is_direct or folder != ".":
        return (_widen(folder, everything),)
    parts = sorted({PurePosixPath(file).parts[0] for files in images.values() for file in files})
    return tuple(parts) if len(parts) <= 10 else (".",)


def twice(images: Mapping[str, Sequence[str]]) -> str:
    """Return a text about names with several images; empty if there are none."""
    several = [name for name, files in images.items() if len(files) > 1]
    return f"{len(several)} names have several images, such as {listed(several, 3)}" if several else ""


def count_below(images: Sequence[str], folders: Sequence[str]) -> int:
    """Return the number of images below some folders."""
    return sum(any(is_below(image, folder) for folder in folders) for image in images)


def is_below(path: str, folder: str) -> bool:
    """Return whether a path is below a folder; all are below `.`."""
    return folder == "." or path.startswith(f"{folder}/")


def class_folders(images: Sequence[str], excluded: Sequence[str]) -> dict[str, list[str]]:
    """Return the folders whose only content is two or more folders of images, with the names of these.

    Folders with `excluded` images, those of the test, are no classes. Names such as train or valley are those of
    classes too, but two folders need other names: train/ and val/ alone are parts of a dataset.
    """
    candidates: dict[str, set[str]] = {}
    direct = {_folder(image) for image in images} - {"."}
    for folder in direct - {_folder(image) for image in excluded}:
        candidates.setdefault(_folder(folder), set()).add(PurePosixPath(folder).name)
    return {
        parent: sorted(names)
        for parent, names in candidates.items()
        if parent not in direct and sum(not _is_part(name) for name in names) > 1
    }


def _is_part(name: str) -> bool:
    """Return whether a folder may hold a part of a dataset: train, test or val."""
    return any(has_role(name, role) for role in OTHER) or name.lower().startswith("val")


def _widen(folder: str, everything: Sequence[str]) -> str:
    """Return the highest folder that holds no other image: `train_images` rather than `train_images/000`."""
    while folder != "." and (parent := _folder(folder)) != ".":
        if count_below(everything, [parent]) > count_below(everything, [folder]):
            break
        folder = parent
    return folder


def _folder(path: str) -> str:
    return PurePosixPath(path).parent.as_posix()


def _folders_above(file: str) -> list[str]:
    return [parent.as_posix() for parent in PurePosixPath(file).parents]
