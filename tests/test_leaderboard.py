"""The leaderboard: who stands above whom, who is only luckier, and no broken file that brings it down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from comp.files import write_json
from comp.metrics import METRICS, score
from comp.records.metrics import EpochOof, KeptOof, OofScores, RunMetrics, RunScores
from comp.records.run import FoldRecord, ProcessInfo, RunRecord
from comp.runs import find_runs, list_runs
from comp.stats import bootstrap_interval, score_report
from comp.study.leaderboard.entries import read_entries
from comp.study.leaderboard.ranking import group_entries
from comp.tables import write_csv
from tests.conftest import REPO_ROOT

CLASSES = ["a", "b"]
IMAGES = [f"{number}.jpg" for number in range(60)]
TRUTH = np.arange(60) % 2
FOLDS = np.arange(60) // 20


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def oof(wrong: int, first: int = 0, rows: slice = slice(None)) -> pd.DataFrame:
    """`wrong` images from `first` on are called otherwise than they are."""
    said = TRUTH.copy()
    said[first : first + wrong] ^= 1
    table = pd.DataFrame({"image": IMAGES, "label": [CLASSES[number] for number in TRUTH], "fold": FOLDS})
    for number, label in enumerate(CLASSES):
        table[label] = np.where(said == number, 0.75, 0.25)
    return table[rows]


def values(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return table["label"].map({"a": 0, "b": 1}).to_numpy(), table[CLASSES].to_numpy(np.float32)


def made(
    name: str,
    table: pd.DataFrame,
    *,
    metric: str = "accuracy",
    split: str = "s1",
    optimistic: bool = False,
    seconds: float = 60.0,
) -> Path:
    """A run as train.py leaves it, less its weights."""
    path, done = Path("runs") / name, sorted(set(map(int, table["fold"])))
    record = RunRecord(
        seed=42,
        metric=metric,
        higher_is_better=METRICS[metric].higher_is_better,
        classes=("a", "b"),
        folds=(0, 1, 2),
        folds_file="folds/cells.csv",
        folds_sha256=split,
        image_list_sha256="e" * 64,
        parameters=1000,
    )
    record.write(path / "run.json")
    (path / "config.yaml").write_text("name: x\ndata: {root: input/cells}\n")
    oof_score = score(metric, *values(table))
    per_fold = tuple(score(metric, *values(fold_rows)) for _, fold_rows in table.groupby("fold"))
    scores = RunScores(
        mean=sum(per_fold) / len(per_fold),
        sd=None,
        per_fold={"best": per_fold, "last": per_fold},
        oof=OofScores(
            kept=KeptOof(oof_score, bootstrap_interval(metric, *values(table)), optimistic),
            best=EpochOof(oof_score),
            last=EpochOof(oof_score),
        ),
        best_minus_last=0.01,
        report=score_report(*values(table), ("a", "b")),
    )
    metrics = RunMetrics(name, metric, "last", tuple(done), complete=done == [0, 1, 2], scores=scores)
    metrics.write(path / "metrics.json")
    write_csv(path / "predictions" / "identity" / "oof.csv", table)
    for fold in done:
        process = ProcessInfo("train.py", "cpu", "a processor", 1, "here", 1, {})
        FoldRecord(**vars(process), status="done", started="", seconds=seconds).write(
            path / f"fold{fold}" / "fold.json"
        )
    return path


def blended(name: str, table: pd.DataFrame, members: list[str], **more) -> Path:
    path, value = Path("runs/blends") / name, score("accuracy", *values(table))
    write_json(
        path / "blend.json",
        {
            "name": name,
            "method": "greedy",
            "members": [{"run": member} for member in members],
            "dataset": "cells",
            "folds_sha256": "s1",
            "metric": "accuracy",
            "higher_is_better": True,
            "parts": [],
            "complete": True,
            "optimistic": False,
            "oof": {
                "score": value,
                "interval": [value - 0.05, value + 0.05],
                "naive": value + 0.02,
                "per_fold": [value] * 3,
            },
            **more,
        },
    )
    write_csv(path / "oof.csv", table)
    return path


def groups(*wanted: str):
    return group_entries(read_entries(wanted)[0])


def names(group) -> list[str]:
    return [entry.name for entry in group.entries]


# ---- order ----


def test_the_best_comes_first_and_what_lacks_folds_after_what_does_not():
    for name, wrong in (("c", 9), ("a", 6), ("study/trial_0001", 12)):
        made(name, oof(wrong))
    made("part", oof(0, rows=slice(0, 20)))
    made("none", oof(0))
    Path("runs/none/metrics.json").unlink()
    for name in ("debug/x", ".replaced/x", "checks/x"):
        made(name, oof(0))
    blended("all", oof(7), ["a", "c", "a"])
    (group,) = groups()
    assert names(group) == ["a", "blends/all", "c", "study/trial_0001", "part", "none"]
    assert group.best.name == "a" and group.dataset == "cells"
    part, none = group.entries[-2:]
    assert (part.complete, part.remark, none.score, none.remark) == (False, "1 of 3 folds", None, "no fold is done")
    assert part.seconds == 60 and group.entries[0].seconds == 180


def test_lower_is_better_where_it_is():
    made("a", oof(9), metric="log_loss")
    made("b", oof(6), metric="log_loss")
    (group,) = groups()
    assert names(group) == ["b", "a"] and group.against["a"].difference < 0


def test_another_split_or_metric_has_a_table_of_its_own():
    for name, more in (("a", {}), ("b", {"split": "s2"}), ("c", {"metric": "macro_f1"}), ("d", {})):
        made(name, oof(6 + len(name)), **more)
    found = groups()
    assert sorted(map(names, found)) == [["a", "d"], ["b"], ["c"]]
    assert all(group.best.name == names(group)[0] for group in found)


def test_nothing_is_held_against_an_optimistic_score():
    made("lucky", oof(1), optimistic=True)
    made("honest", oof(3))
    (group,) = groups()
    assert names(group) == ["lucky", "honest"] and group.best.name == "honest" and set(group.against) == {"lucky"}


# ---- against the best ----


def test_a_pair_is_tested_on_the_images_where_they_differ():
    """The best alone is right on 10, the other alone on 2; in whatever order their rows are."""
    made("best", oof(4, 0))
    made("other", oof(12, 2).sample(frac=1, random_state=0))
    (group,) = groups()
    found = group.against["other"]
    assert found.p == pytest.approx(binomtest(2, 12).pvalue) and found.images == 60
    assert not found.inside_noise and found.difference == pytest.approx(-8 / 60)
    made("other", oof(5, 2))
    assert groups()[0].against["other"].inside_noise


def test_half_a_run_is_held_against_the_same_images_of_the_best():
    made("best", oof(6, 20))
    made("part", oof(2, rows=slice(0, 40)))
    (group,) = groups()
    assert group.against["part"].images == 40 and group.against["part"].difference == pytest.approx(4 / 40)


def test_other_metrics_are_tested_too():
    made("best", oof(0), metric="macro_f1")
    made("same", oof(0), metric="macro_f1")
    made("bad", oof(30), metric="macro_f1")
    (group,) = groups()
    assert not group.against["bad"].inside_noise and group.against[names(group)[1]].inside_noise


# ---- blends ----


def test_a_blend_costs_what_its_members_cost_and_shows_its_optimism(run_cli):
    made("a", oof(9))
    made("b", oof(9, 20), seconds=30)
    blended("both", oof(3), ["a", "b", "a"])
    blended("deep/lost", oof(3), ["a", "gone"])
    entries = {entry.name: entry for entry in read_entries()[0]}
    both, lost = entries["blends/both"], entries["blends/deep/lost"]
    assert both.parameters == 2000 and both.seconds == 270 and both.optimism == pytest.approx(0.02)
    assert lost.parameters is None and lost.seconds is None
    assert "+0.0200 naive" in run_cli("comp", "leaderboard")[1]
    assert set(list_runs()) == {"a", "b"} and [found.name for found in find_runs(["a*"])] == ["x"]


def test_the_optimism_of_a_blend_has_the_sign_of_a_runs():
    naive = {"score": 0.5, "interval": [0.4, 0.6], "naive": 0.45, "per_fold": [0.5] * 3}
    blended("lower", oof(3), [], metric="log_loss", higher_is_better=False, oof=naive)
    blended("higher", oof(3), [], oof=naive)
    found = {entry.name: entry.optimism for entry in read_entries()[0]}
    assert found == {"blends/lower": pytest.approx(0.05), "blends/higher": pytest.approx(-0.05)}


def test_a_blend_of_optimistic_members_stays_optimistic_when_they_are_gone():
    made("honest", oof(6))
    blended("lucky", oof(1), ["gone"], optimistic=True)
    (group,) = groups()
    assert names(group) == ["blends/lucky", "honest"] and group.best.name == "honest"


# ---- broken files ----


def cut(file: str):
    def act(path: Path) -> None:
        (path / file).write_bytes((path / file).read_bytes()[:-40])

    return act


def changed(file: str, change):
    def act(path: Path) -> None:
        content = json.loads((path / file).read_text())
        write_json(path / file, change(content) or content)

    return act


RUN_BREAKS = {
    "metrics half-written": cut("metrics.json"),
    "metrics a list": changed("metrics.json", lambda _: [1]),
    "metrics without scores": changed("metrics.json", lambda content: content.pop("oof") and None),
    "a score that is none": changed("metrics.json", lambda content: content["oof"]["kept"].update(score=float("nan"))),
    "a score in words": changed("metrics.json", lambda content: content["oof"]["kept"].update(score="high")),
    "an interval of one": changed("metrics.json", lambda content: content["oof"]["kept"].update(interval=[0.5])),
    "run.json half-written": cut("run.json"),
    "run.json of somebody else": changed("run.json", lambda _: {"name": "x"}),
    "run.json a number": changed("run.json", lambda _: 3),
    "parameters in words": changed("run.json", lambda content: content.update(parameters="many")),
    "no config": lambda path: (path / "config.yaml").unlink(),
    "a config in another tongue": lambda path: (path / "config.yaml").write_bytes(b"\xff\xfe{"),
    "folds without seconds": changed("fold1/fold.json", lambda content: content.pop("seconds") and None),
    "a fold.json half-written": cut("fold0/fold.json"),
    "no predictions": lambda path: shutil.rmtree(path / "predictions"),
    "predictions half-written": cut("predictions/identity/oof.csv"),
    "predictions of other classes": lambda path: write_csv(
        path / "predictions/identity/oof.csv", oof(3).rename(columns={"a": "c"})
    ),
    "predictions of other labels": lambda path: write_csv(
        path / "predictions/identity/oof.csv", oof(3).assign(label="a")
    ),
    "an image twice": lambda path: write_csv(path / "predictions/identity/oof.csv", pd.concat([oof(3)] * 2)),
    "metrics a folder": lambda path: ((path / "metrics.json").unlink(), (path / "metrics.json").mkdir()),
}


@pytest.mark.parametrize("what", RUN_BREAKS)
@pytest.mark.parametrize("best", [True, False])
def test_a_broken_run_costs_its_own_line_only(what, best, run_cli):
    made("sound", oof(6))
    made("other", oof(8))
    RUN_BREAKS[what](made("broken", oof(3 if best else 9)))
    status, out, err = run_cli("comp", "leaderboard")
    lines = out.splitlines()
    assert status == 0 and len([line for line in lines if "sound" in line and "0.9000" in line]) == 1
    assert ("broken" in out) != (err.startswith("warning: ") and err.count("\n") == 1 and "broken" in err)
    status, out, _ = run_cli("comp", "leaderboard", "--json")
    assert status == 0 and "NaN" not in out
    found = {entry["name"]: entry["against_best"] for entry in json.loads(out)["groups"][0]["entries"]}
    if "predictions" in what or what == "an image twice":
        assert not (any(found.values()) if best else found["broken"])


@pytest.mark.parametrize(
    "act",
    [
        cut("blend.json"),
        changed("blend.json", lambda content: content.pop("oof") and None),
        changed("blend.json", lambda content: content.pop("metric") and None),
        changed("blend.json", lambda content: content.update(members=[1])),
        lambda path: (path / "oof.csv").unlink(),
    ],
)
def test_a_broken_blend_does_too(act, run_cli):
    made("sound", oof(6))
    act(blended("broken", oof(3), ["sound"]))
    status, out, err = run_cli("comp", "leaderboard")
    assert status == 0 and "sound" in out and (("blends/broken" in out) != ("blends/broken" in err))


# ---- the command ----


def test_names_and_patterns_choose_and_programs_get_an_object(run_cli):
    for name in ("a", "papers/b", "papers/c"):
        made(name, oof(6 + len(name)))
    blended("x", oof(3), ["a"])
    status, out, _ = run_cli("comp", "leaderboard", "papers/*", "runs/a/", "--json")
    (group,) = json.loads(out)["groups"]
    assert status == 0 and [entry["name"] for entry in group["entries"]] == ["a", "papers/b", "papers/c"]
    assert group["best"] == "a" and group["entries"][0]["against_best"] is None
    assert group["entries"][1]["against_best"].keys() == {"difference", "p", "inside_noise", "images"}
    assert "blends/x" in run_cli("comp", "leaderboard", "blends/*")[1]
    assert run_cli("comp", "leaderboard", "papers/d") == (
        2,
        "",
        "error: there is no run or blend papers/d; did you mean papers/c?\n",
    )


def test_without_a_run_it_says_how_to_make_one(run_cli):
    status, _, err = run_cli("comp", "leaderboard")
    assert status == 2 and err == "error: there is no run; train one: python train.py\n"


def test_a_hundred_runs_take_a_second_and_no_torch():
    draw = np.random.default_rng(0)
    truth = np.arange(3200) % 8
    table = pd.DataFrame(
        {
            "image": [f"{number}.jpg" for number in range(3200)],
            "label": [f"class{number}" for number in truth],
            "fold": np.arange(3200) % 3,
        }
    )
    for number in range(8):
        table[f"class{number}"] = draw.random(3200).astype(np.float32)
    made("run0", oof(3))
    write_csv(Path("runs/run0/predictions/identity/oof.csv"), table)
    for number in range(1, 100):
        shutil.copytree("runs/run0", f"runs/run{number}")
    started = time.process_time()
    (group,) = groups()
    assert time.process_time() - started < 1.5 and len(group.against) == 99
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "comp", "leaderboard", "run0"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
    )
    assert said.returncode == 0 and "comp.study" in said.stderr and " torch" not in said.stderr
