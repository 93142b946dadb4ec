"""The installed packages against the bounds of pyproject.toml, and whether the large ones can be imported."""

from __future__ import annotations

import importlib
import platform
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from comp.doctor.report import Report
from comp.environment import git_state

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
OPENCV_BUILDS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
IMPORTED = ("torch", "timm", "cv2", "sklearn", "pandas")  # they contain machine code, or code for other versions
DEVELOPMENT = ("dev", "docs")  # extras that only work on the kit needs


def check_packages(report: Report) -> None:
    """Report the kit, Python and the packages that are missing or do not fit."""
    commit = git_state().commit
    report.add("kit", f"commit {commit[:12]}" if commit else "not a git repository")
    report.add("python", f"{platform.python_version()} on {platform.platform()}")
    installed = 0
    for requirement, optional in _requirements():
        try:
            present = version(requirement.name)
        except PackageNotFoundError:
            if not optional:
                report.error(f"the package {requirement.name} is missing; run: pip install '{requirement}'")
            continue
        installed += 1
        if not requirement.specifier.contains(present, prereleases=True):
            problem = report.warn if optional else report.error
            problem(f"{requirement.name} {present} is not {requirement.specifier}; run: pip install '{requirement}'")
    report.add("packages", f"{installed} installed, of {'pyproject.toml' if PYPROJECT.is_file() else 'the kit'}")
    _check_opencv(report)


def check_imports(report: Report) -> bool:
    """Import the packages of machine code; report those that fail, and return whether all could be imported."""
    broken = 0
    for module in IMPORTED:
        try:
            importlib.import_module(module)
        except Exception as error:  # of any kind: torchvision for another torch raises a RuntimeError
            broken += 1
            message = " ".join(str(error).split())[:200]
            report.error(
                f"`import {module}` fails: {type(error).__name__}: {message}; install the kit's packages again: "
                f"pip install -c constraints.txt -e ."
            )
    return not broken


def _requirements() -> Iterator[tuple[Requirement, bool]]:
    """Yield each requirement of the kit without its marker, and whether it belongs to an extra."""
    if PYPROJECT.is_file():
        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
        yield from ((Requirement(line), False) for line in project["dependencies"])
        for extra, lines in project["optional-dependencies"].items():
            if extra not in DEVELOPMENT:
                yield from ((Requirement(line), True) for line in lines)
        return
    for line in requires("comp") or []:
        requirement = Requirement(line)
        optional = requirement.marker is not None
        if not any(f'"{extra}"' in str(requirement.marker) for extra in DEVELOPMENT):
            requirement.marker = None
            yield requirement, optional


def _check_opencv(report: Report) -> None:
    """Report several builds of OpenCV: all of them write the directory cv2, and the last one installed wins."""
    builds = {}
    for name in OPENCV_BUILDS:
        try:
            builds[name] = version(name)
        except PackageNotFoundError:
            continue
    report.add("opencv", ", ".join(f"{name} {number}" for name, number in builds.items()) or "not installed")
    if len(builds) > 1:
        report.warn(
            f"{len(builds)} builds of OpenCV are installed over each other; run: pip uninstall -y {' '.join(builds)} "
            f"&& pip install opencv-python-headless"
        )
