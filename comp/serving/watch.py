"""Watch a folder, and append the answer to each new image to a CSV."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

from comp.data.image_files import images_below
from comp.errors import UserError
from comp.files import file_exists, read_text, write_atomic
from comp.serving.answers import Answer, csv_header, csv_rows, make_answers
from comp.serving.images import Reader
from comp.serving.model import ServedModel

INTERVAL = 1.0  # seconds between two looks at the folder


def watch_folder(model: ServedModel, folder: Path, file: Path, interval: float = INTERVAL) -> Iterator[list[Answer]]:
    """Yield the answers to new images, after they were appended to `file`, without end; an empty list for none.

    Images that the file has already are left out, so a stopped watch continues. An image is read once its size and
    time stay the same for one interval; one that cannot be read is tried again when it changes.
    """
    done = _read_done(model, file)
    before: dict[Path, tuple[int, int]] = {}
    unreadable: dict[Path, tuple[int, int]] = {}
    while True:
        states = {path: (status.st_size, status.st_mtime_ns) for path, status in _list(folder) if str(path) not in done}
        ready = [path for path, state in states.items() if before.get(path) == state and unreadable.get(path) != state]
        before = states
        reader = Reader(ready, model.batch_size)
        answers = make_answers(model.task, reader.read, model.predict_batches(reader.batches())) if ready else []
        for path, reason in reader.unreadable.items():
            unreadable[path] = states[path]
            print(f"warning: cannot read {path}: {reason}", flush=True)
        if answers:
            _append(file, csv_rows(answers))
            done |= {answer.image for answer in answers}
        yield answers
        time.sleep(interval)


def _list(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in images_below(folder):
        try:
            yield path, path.stat()
        except OSError:  # removed meanwhile
            continue


def _read_done(model: ServedModel, file: Path) -> set[str]:
    """Return the images that a CSV has; begin the file, or remove the part of a line that a kill left at its end."""
    header = csv_header(model.task)
    text = read_text(file) if file_exists(file) else ""
    if text and not text.startswith(header):
        raise UserError(f"{file} has other columns than the answers of this model; pass another file to --csv")
    complete = text[: text.rfind("\n") + 1] or header
    if complete != text:
        write_atomic(file, complete)
    return {row[0] for row in csv.reader(io.StringIO(complete)) if row} - {"image"}


def _append(file: Path, text: str) -> None:
    with open(file, "ab") as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())
