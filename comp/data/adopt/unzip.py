"""Unpack the zip file of a competition, which is not trusted."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from comp.errors import UserError, shorten

MAX_FILES = 5_000_000  # the largest image competition has 3 million
MAX_RATIO = 200  # of unpacked to packed bytes; tables of zeros and ones reach 60, deflate 1,032
SMALL_BYTES = 2**27  # a file below 128 MiB may have any ratio
COPY_BYTES = 2**20
TABLE_SUFFIXES = {".csv", ".json"}


def unpack(archive: Path, root: Path) -> str:
    """Unpack a zip file and the zip files inside it into the new folder `root`; return a line about it.

    Everything is checked before a byte is written, and written beside `root` under a temporary name first.
    """
    if os.path.lexists(root):
        raise UserError(f"{root} already exists; remove it to unpack {archive} again, or leave --zip away")
    if not archive.is_file():
        raise UserError(f"there is no file {archive}; fix --zip")
    temporary = root.with_name(f".{root.name}.unpacking")
    if temporary.is_symlink() or temporary.is_file():
        temporary.unlink()
    shutil.rmtree(temporary, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    try:
        count = _extract(archive, temporary)
        for inner in sorted(temporary.rglob("*.zip")):  # Kaggle packs train.zip and test.zip once more
            count += _extract(inner, _inner_folder(inner)) - 1
            inner.unlink()
        if not count:
            raise UserError(f"{archive} is empty; download it again")
        os.rename(_content(temporary), root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return f"unpacked {archive} into {root}: {count:,} files"


def _content(folder: Path) -> Path:
    """Return the one folder inside that holds everything, such as the competition's name, else the folder itself."""
    inside = list(folder.iterdir())
    if len(inside) != 1 or not inside[0].is_dir():
        return folder
    has_tables = any(path.suffix in TABLE_SUFFIXES for path in inside[0].iterdir())
    return inside[0] if has_tables else folder


def _inner_folder(inner: Path) -> Path:
    """Return the folder for a zip inside: beside it if all it holds is a folder, else one of its name."""
    try:
        with zipfile.ZipFile(inner) as archive:
            files = [PurePosixPath(member.filename) for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError):
        return inner.with_suffix("")  # extracting it reports the error
    is_one = len({file.parts[0] for file in files if file.parts}) == 1  # train/, or train.csv of train.csv.zip
    return inner.parent if is_one else inner.with_suffix("")


def _extract(archive: Path, folder: Path) -> int:
    """Extract the files of an archive and return their number."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _check_members(archive, opened.infolist(), shutil.disk_usage(_existing(folder)).free)
            for member in members:
                path = folder / member.filename
                if os.path.lexists(path):
                    raise UserError(f"{archive} has {shorten(member.filename)}, which is there already; {UNPACK}")
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as packed, open(path, "xb") as file:
                    shutil.copyfileobj(packed, file, COPY_BYTES)  # zipfile stops at the declared size
            return len(members)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zipfile.LargeZipFile, ValueError) as error:
        raise UserError(f"{archive} is not a complete zip file ({error}); download it again") from None
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{archive} has a file and a folder of one name; {UNPACK}") from None
    except RuntimeError as error:  # an encrypted member, or a missing decompressor
        raise UserError(f"{archive} cannot be unpacked: {error}; {UNPACK}") from None


UNPACK = "unpack it by hand if you trust it"


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())


def _check_members(archive: Path, members: list[zipfile.ZipInfo], free_bytes: int) -> list[zipfile.ZipInfo]:
    """Return the members that are files; refuse paths outside, links, copies of a name, and too many or too large."""
    files = [member for member in members if not member.is_dir()]
    if len(members) > MAX_FILES:
        raise UserError(f"{archive} has {len(members):,} files, more than {MAX_FILES:,}; {UNPACK}")
    for member in members:
        name, mode = member.filename, member.external_attr >> 16
        parts = PurePosixPath(name).parts
        is_outside = not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]
        if is_outside or any(ord(character) < 32 for character in name):
            raise UserError(f"{archive} has the path {shorten(ascii(name))}, which leads outside; {UNPACK}")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{archive} has {shorten(name)}, a link or a device; {UNPACK}")
        if member.file_size > max(SMALL_BYTES, MAX_RATIO * member.compress_size):
            raise UserError(
                f"{archive} has {shorten(name)} of {member.file_size:,} bytes in {member.compress_size:,}; {UNPACK}"
            )
    if len({PurePosixPath(member.filename) for member in files}) < len(files):
        raise UserError(f"{archive} has one name twice; {UNPACK}")
    packed = sum(member.compress_size for member in files)
    total = sum(member.file_size for member in files)
    if packed > archive.stat().st_size or total > max(SMALL_BYTES, MAX_RATIO * packed):  # parts that overlap
        raise UserError(f"{archive} would become {total:,} bytes from {archive.stat().st_size:,}; {UNPACK}")
    if total > 0.95 * free_bytes:
        raise UserError(f"{archive} needs {total:,} bytes, and {free_bytes:,} are free; free some")
    return files
