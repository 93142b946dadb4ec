"""The documentation: its commands run, its paths exist, its generated tables are up to date."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docs_pages import PAGES, ROOT, Block, parse_command, read_blocks, run_command
from tests.test_layering import LAYERS

# Trains in seconds on one core, yet its predictions are not constant: `submit check` would refuse those.
SMALL = {
    "data": {"size": 24},
    "model": {"name": "test_efficientnet", "dropout": None, "drop_path": None},
    "optim": {"lr": 5e-3},
    "train": {"epochs": 8, "batch": 8, "precision": "fp32"},
    "log": {"wandb": "off"},
}
OTHER_PROGRAMS = (
    "comp",
    "export",
    "git",
    "optuna-dashboard",
    "pre-commit",
    "python",
    "ray",
    "tensorboard",
    "unzip",
    "wandb",
)
WITH_COMMANDS = [page for page in PAGES if read_blocks(page)]


def shrink_config(path: Path) -> None:
    """Make a config train in seconds: 24 px, a tiny network, two epochs."""
    tree = yaml.safe_load(path.read_text())
    for section, keys in SMALL.items():
        tree[section] = {**tree.get(section, {}), **keys}
    path.write_text(yaml.safe_dump(tree))


def run_commands(commands: tuple[str, ...], location: str) -> None:
    for command in commands:
        status, output = run_command(command)
        assert status == 0, f"{location}: {command}\n{output}"


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory) -> Path:
    """A workspace with a small demo of which `demo` is trained and predicted."""
    workspace, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    shutil.copytree(ROOT / "configs", workspace / "configs")
    for name in ("deep_efficientnet", "demo"):
        shrink_config(workspace / f"configs/{name}.yaml")
    os.chdir(workspace)
    try:
        run_commands(
            (
                "python -m comp data demo --per-class 6 --test 8",
                "python -m comp folds -c configs/demo.yaml",
                "python train.py -c configs/demo.yaml",
                "python infer.py demo",
            ),
            "the small demo",
        )
    finally:
        os.chdir(before)
    shutil.copytree(workspace / "input/demo", workspace / "input/own")
    return workspace


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_docs_page_commands_run_on_small_demo(page, small_demo, tmp_path, monkeypatch):
    workspace = tmp_path / "workspace"
    shutil.copytree(small_demo, workspace)
    monkeypatch.chdir(workspace)
    for block in read_blocks(page):
        if block.mark in ("run", "small"):
            run_commands(block.commands, block.location)


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_docs_page_commands_parse(page, small_demo, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in read_blocks(page):
        for command in block.commands:
            if (arguments := parse_command(command)) is None:
                check_other_command(command)
            elif getattr(arguments, "config", None):
                from comp import config

                assert config.load(arguments.config, arguments.overrides), f"{block.location}: {command}"


def check_other_command(command: str) -> None:
    """Check that the make targets, extras and test files of a command exist."""
    program, *words = command.partition(" #")[0].split()
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert {word for word in words if "=" not in word} <= set(targets), command  # COUNT=300 sets a variable
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"\[(\w+)\]", command)) <= set(extras), command
    else:
        assert program in OTHER_PROGRAMS, command
        assert all((ROOT / word).exists() for word in words if word.startswith(("docs/", "tests/"))), command


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A workspace in which every command of `make demo` has run."""
    workspace = tmp_path_factory.mktemp("docs-as-written")
    for name in ("train.py", "infer.py", "comp"):
        (workspace / name).symlink_to(ROOT / name)
    for name in ("configs", "docs"):
        shutil.copytree(ROOT / name, workspace / name)
    recipe = (ROOT / "Makefile").read_text().partition("\ndemo:")[2].partition("\n\n")[0]
    commands = re.findall(r"^\t\$\(RUN\) (.+)$", recipe, re.M)
    assert any("train.py" in command for command in commands)
    run_as_written(Block("Makefile", "run", tuple(f"python {command}" for command in commands)), workspace)
    return workspace


def run_as_written(block: Block, workspace: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(block.commands)],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block.location}: {block.commands}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_docs_page_commands_run_as_written(page, demo, tmp_path):
    workspace = tmp_path / "workspace"
    shutil.copytree(demo, workspace, symlinks=True)
    for block in read_blocks(page):
        if block.mark in ("run", "slow"):
            run_as_written(block, workspace)


@pytest.mark.parametrize("page", PAGES)
def test_docs_page_names_only_files_that_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:comp|configs|docs|tests|\.ci|\.github)/[\w./-]*)`", text)
    linked = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in target]
    missing = [name for name in named if not (ROOT / name).exists() and not name.endswith(".winner.yaml")]
    missing += [target for target in linked if not (ROOT / page).parent.joinpath(target).exists()]
    assert not missing


def test_docs_pages_link_to_pages_of_docs_only():
    """MkDocs serves docs/ alone: a link that leaves it is broken there."""
    outside = [
        (page, target)
        for page in PAGES
        if page.startswith("docs/")
        for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8"))
        if target.startswith("..")
    ]
    assert not outside


def test_docs_configuration_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("generate_configuration", ROOT / "docs/generate_configuration.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = generator.PAGE.read_text(encoding="utf-8")
    assert generator.render_page(page) == page, "run: python docs/generate_configuration.py"


def test_docs_readme_is_short_and_pages_are_in_the_navigation():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 100
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = {f"docs/{page}" for entry in navigation for page in entry.values()}
    assert listed == {page for page in PAGES if page.startswith("docs/")}


def test_docs_design_page_draws_the_layers_that_are_tested():
    drawing = re.search(r"```text\n(7  __main__.*?)```", (ROOT / "docs/design.md").read_text(), re.S)[1]
    layer, drawn = "", {}
    for line in drawing.splitlines():
        layer = line[0] if line[0].isdigit() else layer
        drawn |= dict.fromkeys(re.findall(r"\w+", re.split(r" {3,}", line[3:])[0]), int(layer))
    assert drawn == {name: layer for name, layer in LAYERS.items() if name not in ("comp", "train", "infer")}
