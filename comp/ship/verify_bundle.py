"""Verify a bundle under the conditions of a competition's notebook.

It is unpacked elsewhere and run in a process without the network, this repository and libraries it does not require.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from comp.errors import UserError
from comp.files import read_json
from comp.records.source import DataSource
from comp.runs import RUNS
from comp.ship.bundle_runtime import Timing
from comp.ship.notebook import code_cells
from comp.submit.sample import sample_path
from comp.temporary import temporary_directory

# the kit's own dependencies that a bundle does not use, and requests, which pydicom imports to download its test files
EXCLUDED_PACKAGES = (
    *("albumentations", "optuna", "wandb", "matplotlib", "onnx", "onnxruntime", "openvino", "kaggle"),
    "requests",
)

# Audit hooks cannot be removed, and they see sockets made in C too. Violations are recorded as well as raised: a
# library that catches the error and continues would wait for a timeout on a machine with a slow network.
SANDBOX_SCRIPT = """
import json, os, socket, sys, threading
job = json.loads(sys.argv[1])
violations = []

def block(event, arguments):
    if event == "socket.__new__" and arguments[1] in (-1, socket.AF_INET, socket.AF_INET6):  # -1: the default, AF_INET
        violations.append("it opens a socket")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        violations.append(f"it looks up the address of {arguments[0]}")
    elif event == "open" and isinstance(arguments[0], str):
        path, writes = os.path.abspath(arguments[0]), arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if any(path.startswith(f"{directory}/") for directory in job["forbidden"]):
            violations.append(f"it opens {path}, which is not part of it")
        elif writes and path.startswith(f"{job['input']}/"):
            violations.append(f"it writes {path}, which is read-only")
        else:
            return
    else:
        return
    raise OSError(violations[-1])

def end_with_parent():
    os.read(sys.stdin.fileno(), 1)  # returns when the parent has ended and with it the pipe's other end
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
sys.addaudithook(block)
sys.dont_write_bytecode = True
sys.modules.update(dict.fromkeys(job["excluded"]))
names = {}
try:
    for cell in job["cells"]:
        exec(compile(cell, "cell", "exec"), names)
except BaseException as error:
    sys.exit(f"{type(error).__name__}: {error}")
finally:
    if violations:
        sys.exit(violations[0])
with open(job["timing"], "w") as file:
    json.dump(vars(names["timing"]), file)
"""


def verify_bundle(bundle: Path, name: str, root: Path, expected: Path, source: DataSource | None = None) -> Timing:
    """Run the notebook of the zip `bundle` on the test images and the sample of `root`, and return its timing.

    `source` says where they are, if not in test/.

    Raise a UserError unless it writes the bytes of `expected`.
    """
    with temporary_directory("bundle") as sandbox:
        _unpack(bundle, root, source or DataSource(str(root)), sandbox)
        working = sandbox / "working"
        working.mkdir()
        process = _run_notebook(sandbox, working)
        written = working / f"submission{expected.suffix}"
        if process.returncode or not written.is_file():
            raise UserError(f"the verification of {name} failed, so no bundle was written: {_reason(process, written)}")
        if written.read_bytes() != expected.read_bytes():
            raise UserError(
                f"the verification of {name} wrote {_difference(written, expected)}, so no bundle was written; "
                f"if predictions in runs/ were made on another machine, remove them and run again"
            )
        return Timing(**read_json(sandbox / "timing.json"))


def _unpack(bundle: Path, root: Path, source: DataSource, sandbox: Path) -> None:
    """Unpack the bundle into the sandbox's input directory, beside links to test images, ids and sample."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(sandbox / "input" / "bundle")
    competition = sandbox / "input" / "competition"
    if "." in source.test:  # test images among the other files
        competition.symlink_to(root.resolve())
        return
    tables = [source.ids.partition(":")[0]] if source.ids else []
    tables += [source.labels] if source.labels and (root / source.labels).is_file() else []
    sample = sample_path(root, source.sample)
    needed = [*(source.test or ("test",)), *tables, *([sample.relative_to(root).as_posix()] if sample else [])]
    for name in dict.fromkeys(needed):
        link = competition / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((root / name).resolve())


def _run_notebook(sandbox: Path, working: Path) -> subprocess.CompletedProcess[str]:
    """Run the notebook in a process that ends with this one, even if this one is killed."""
    inputs = sandbox / "input"
    job = {
        "cells": code_cells((inputs / "bundle" / "notebook.ipynb").read_text(encoding="utf-8")),
        "excluded": EXCLUDED_PACKAGES,
        "input": str(inputs),
        "timing": str(sandbox / "timing.json"),
        "forbidden": [str(path.resolve()) for path in (RUNS, Path(__file__).parents[1])],
    }
    reading_end, writing_end = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-I", "-c", SANDBOX_SCRIPT, json.dumps(job)],
            cwd=working,
            stdin=reading_end,
            capture_output=True,
            text=True,
            env={**os.environ, "COMP_INPUT": str(inputs)},
        )
    finally:
        os.close(reading_end)
        os.close(writing_end)


def _reason(process: subprocess.CompletedProcess[str], written: Path) -> str:
    """Return why the notebook failed: the last line of its error output, the signal, or that it wrote no file."""
    if not process.returncode:
        return f"it wrote no {written.name}"
    lines = process.stderr.strip().splitlines()
    return lines[-1] if lines else f"it was ended by signal {-process.returncode}"


def _difference(written: Path, expected: Path) -> str:
    lines, expected_lines = written.read_bytes().splitlines(), expected.read_bytes().splitlines()
    if len(lines) != len(expected_lines):
        return f"{len(lines)} lines where {expected} has {len(expected_lines)}"
    return f"{sum(a != b for a, b in zip(lines, expected_lines, strict=True))} lines that are not those of {expected}"
