"""A bundle tried as it will be used: unpacked elsewhere, in a process of its own that has neither the network, nor this
house, nor a library the bundle does not ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from comp.errors import UserError
from comp.files import read_json
from comp.runs import RUNS
from comp.ship.bundle_runtime import Timing
from comp.ship.notebook import code_cells
from comp.submit.sample import sample_path

# Of the kit's own dependencies those a bundle does without
EXCLUDED_PACKAGES = ("albumentations", "optuna", "wandb", "matplotlib", "onnx", "onnxruntime", "openvino", "kaggle")

# Audit hooks cannot be taken back, and hear of sockets made in C too. What is caught is kept: a library that goes on
# without the network would still wait for it where it is slow to refuse.
SANDBOX_SCRIPT = """
import json, os, socket, sys
say = json.loads(sys.argv[1])
caught = []

def refuse(event, words):
    if event == "socket.__new__" and words[1] in (-1, socket.AF_INET, socket.AF_INET6):  # -1: the default, AF_INET
        caught.append("it opens a socket")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        caught.append(f"it asks for the address of {words[0]}")
    elif event == "open" and isinstance(words[0], str):
        path, writes = os.path.abspath(words[0]), words[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if any(path.startswith(f"{place}/") for place in say["forbidden"]):
            caught.append(f"it opens {path}, which is no part of it")
        elif writes and path.startswith(f"{say['input']}/"):
            caught.append(f"it writes {path}, where nothing can be written")
        else:
            return
    else:
        return
    raise OSError(caught[-1])

sys.addaudithook(refuse)
sys.dont_write_bytecode = True
sys.modules.update(dict.fromkeys(say["without"]))
names = {}
try:
    for cell in say["cells"]:
        exec(compile(cell, "cell", "exec"), names)
except BaseException as problem:
    sys.exit(f"{type(problem).__name__}: {problem}")
finally:
    if caught:
        sys.exit(caught[0])
with open(say["took"], "w") as file:
    json.dump(vars(names["took"]), file)
"""


def verify_bundle(bundle: Path, name: str, root: Path, expected: Path) -> Timing:
    """Run the notebook of the zip `bundle` on the test images and the sample of `root`; refused unless it writes what
    `expected` holds, byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        inputs, work = place / "input", place / "working"
        work.mkdir()
        with zipfile.ZipFile(bundle) as packed:
            packed.extractall(inputs / "bundle")
        competition = inputs / "competition"
        competition.mkdir()
        for there in filter(None, (root / "test", sample_path(root))):
            (competition / there.name).symlink_to(there.resolve())
        script = (inputs / "bundle" / "notebook.ipynb").read_text(encoding="utf-8")
        say = {
            "cells": code_cells(script),
            "without": EXCLUDED_PACKAGES,
            "input": str(inputs),
            "took": str(place / "took.json"),
            "forbidden": [str(path.resolve()) for path in (RUNS, Path(__file__).parents[1])],
        }
        done = subprocess.run(
            [sys.executable, "-I", "-c", SANDBOX_SCRIPT, json.dumps(say)],
            cwd=work,
            capture_output=True,
            text=True,
            env={**os.environ, "COMP_INPUT": str(inputs)},
        )
        written = work / f"submission{expected.suffix}"
        if done.returncode or not written.is_file():
            said = done.stderr.strip().splitlines() if done.returncode else [f"it wrote no {written.name}"]
            raise UserError(
                f"the rehearsal of {name} failed, so nothing was packed: "
                f"{said[-1] if said else f'it was ended by signal {-done.returncode}'}"
            )
        if written.read_bytes() != expected.read_bytes():
            raise UserError(
                f"the rehearsal of {name} wrote {_difference(written, expected)}, so nothing was packed; "
                f"if predictions in runs/ were made on another machine, remove them and try again"
            )
        return Timing(**read_json(place / "took.json"))


def _difference(written: Path, expected: Path) -> str:
    ours, theirs = written.read_bytes().splitlines(), expected.read_bytes().splitlines()
    if len(ours) != len(theirs):
        return f"{len(ours)} lines where {expected} has {len(theirs)}"
    return f"{sum(a != b for a, b in zip(ours, theirs, strict=True))} lines that are not those of {expected}"
