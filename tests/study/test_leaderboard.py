from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from comp.files import file_sha256, write_json
from comp.metrics import METRICS, score
from comp.records.metrics import EpochOof, KeptOof, OofScores, RunMetrics, RunScores
from comp.records.predictions import Provenance, provenance_path
from comp.records.run import FoldRecord, ProcessInfo, RunRecord
from comp.runs import find_runs, list_runs
from comp.stats import bootstrap_interval, score_report
from comp.study.leaderboard.entries import read_entries
from comp.study.leaderboard.ranking import group_entries
from comp.tables import write_csv
from comp.tasks import single_label
from tests.conftest import REPO_ROOT

CLASSES = ["a", "b"]
TASK = single_label(("a", "b"))
IMAGES = [f"{number}.jpg" for number in range(60)]
TARGETS = np.arange(60) % 2
FOLDS = np.arange(60) // 20


@pytest.fixture(autouse=True)
def empty_workspace(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


def oof(wrong: int, first: int = 0, rows: slice = slice(None)) -> pd.DataFrame:
    """Return OOF predictions in which `wrong` images from `first` on are wrong."""
    predicted = TARGETS.copy()
    predicted[first : first + wrong] ^= 1
    table = pd.DataFrame({"image": IMAGES, "label": [CLASSES[target] for target in TARGETS], "fold": FOLDS})
    for class_index, label in enumerate(CLASSES):
        table[label] = np.where(predicted == class_index, 0.75, 0.25)
    return table[rows]


def write_run(
    name: str,
    table: pd.DataFrame,
    *,
    metric: str = "accuracy",
    split: str = "s1",
    optimistic: bool = False,
    seconds: float = 60.0,
    config: str = "",
) -> Path:
    """Write a run as train.py does, without its weights."""
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
    (path / "config.yaml").write_text(f"name: x\ndata: {{root: input/cells}}\n{config}")
    oof_score = score(metric, *TASK.to_arrays(table))
    per_fold = tuple(score(metric, *TASK.to_arrays(fold_rows)) for _, fold_rows in table.groupby("fold"))
    scores = RunScores(
        mean=sum(per_fold) / len(per_fold),
        sd=None,
        per_fold={"best": per_fold, "last": per_fold},
        oof=OofScores(
            kept=KeptOof(oof_score, bootstrap_interval(metric, *TASK.to_arrays(table)), optimistic),
            best=EpochOof(oof_score),
            last=EpochOof(oof_score),
        ),
        best_minus_last=0.01,
        report=score_report(*TASK.to_arrays(table), ("a", "b")),
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


def write_blend(name: str, table: pd.DataFrame, members: list[str], **fields) -> Path:
    path, value = Path("runs/blends") / name, score("accuracy", *TASK.to_arrays(table))
    write_json(
        path / "blend.json",
        {
            "name": name,
            "method": "greedy",
            "members": [{"run": run, "path": "", "runtime": "torch", "weights_sha256": {}} for run in members],
            "dataset": "cells",
            "folds_sha256": "s1",
            "metric": "accuracy",
            "higher_is_better": True,
            "parts": [],
            "complete": True,
            "optimistic": False,
            "oof": make_oof_summary(value, naive=value + 0.02),
            **fields,
        },
    )
    write_csv(path / "oof.csv", table)
    return path


def make_oof_summary(value: float, naive: float) -> dict:
    return {
        "metric": "accuracy",
        "score": value,
        "interval": [value - 0.05, value + 0.05],
        "naive": naive,
        "log_loss": 0.5,
        "calibration_error": 0.1,
        "per_fold": [value] * 3,
        "images": 60,
    }


def read_groups(*requested: str):
    return group_entries(read_entries(requested)[0])


def entry_names(group) -> list[str]:
    return [entry.name for entry in group.entries]


# ---- order ----


def test_group_entries_sorts_best_first_and_incomplete_last():
    for name, wrong in (("c", 9), ("a", 6), ("study/trial_0001", 12)):
        write_run(name, oof(wrong))
    write_run("part", oof(0, rows=slice(0, 20)))
    write_run("none", oof(0))
    Path("runs/none/metrics.json").unlink()
    for name in ("debug/x", ".replaced/x", "checks/x"):
        write_run(name, oof(0))
    write_blend("all", oof(7), ["a", "c", "a"])
    (group,) = read_groups()
    assert entry_names(group) == ["a", "blends/all", "c", "study/trial_0001", "part", "none"]
    assert group.best.name == "a" and group.dataset == "cells"
    part, none = group.entries[-2:]
    assert (part.complete, part.remark, none.score, none.remark) == (False, "1 of 3 folds", None, "no fold is done")
    assert part.seconds == 60 and group.entries[0].seconds == 180


def test_group_entries_log_loss_lower_is_better():
    write_run("a", oof(9), metric="log_loss")
    write_run("b", oof(6), metric="log_loss")
    (group,) = read_groups()
    assert entry_names(group) == ["b", "a"] and group.tests["a"].difference < 0


def test_group_entries_separates_splits_and_metrics():
    for name, more in (("a", {}), ("b", {"split": "s2"}), ("c", {"metric": "macro_f1"}), ("d", {})):
        write_run(name, oof(6 + len(name)), **more)
    all_groups = read_groups()
    assert sorted(map(entry_names, all_groups)) == [["a", "d"], ["b"], ["c"]]
    assert all(group.best.name == entry_names(group)[0] for group in all_groups)


def test_leaderboard_optimistic_run_is_not_the_reference():
    write_run("lucky", oof(1), optimistic=True)
    write_run("unbiased", oof(3))
    (group,) = read_groups()
    assert (
        entry_names(group) == ["lucky", "unbiased"] and group.best.name == "unbiased" and set(group.tests) == {"lucky"}
    )


# ---- paired tests ----


def test_paired_test_is_mcnemars_on_images_joined_by_id():
    """The best alone is correct on 10 images, the other alone on 2; the rows are in another order."""
    write_run("best", oof(4, 0))
    write_run("other", oof(12, 2).sample(frac=1, random_state=0))
    (group,) = read_groups()
    test = group.tests["other"]
    assert test.p == pytest.approx(binomtest(2, 12).pvalue) and test.images == 60
    assert not test.inside_noise and test.difference == pytest.approx(-8 / 60)
    write_run("other", oof(5, 2))
    assert read_groups()[0].tests["other"].inside_noise


def test_paired_test_incomplete_run_uses_the_shared_images():
    write_run("best", oof(6, 20))
    write_run("part", oof(2, rows=slice(0, 40)))
    (group,) = read_groups()
    assert group.tests["part"].images == 40 and group.tests["part"].difference == pytest.approx(4 / 40)


def test_paired_test_other_metrics_use_the_bootstrap():
    write_run("best", oof(0), metric="macro_f1")
    write_run("same", oof(0), metric="macro_f1")
    write_run("bad", oof(30), metric="macro_f1")
    (group,) = read_groups()
    assert not group.tests["bad"].inside_noise and group.tests[entry_names(group)[1]].inside_noise


# ---- blends ----


def test_read_entries_blend_sums_its_members_costs_and_has_its_optimism(run_cli):
    write_run("a", oof(9))
    write_run("b", oof(9, 20), seconds=30)
    write_blend("both", oof(3), ["a", "b", "a"])
    write_blend("deep/lost", oof(3), ["a", "gone"])
    entries = {entry.name: entry for entry in read_entries()[0]}
    both, lost = entries["blends/both"], entries["blends/deep/lost"]
    assert both.parameters == 2000 and both.seconds == 270 and both.optimism == pytest.approx(0.02)
    assert lost.parameters is None and lost.seconds is None
    assert "+0.0200 naive" in run_cli("comp", "leaderboard")[1]
    assert set(list_runs()) == {"a", "b"} and [run.name for run in find_runs(["a*"])] == ["x"]


def test_read_entries_blend_optimism_is_positive_where_naive_is_better():
    summary = make_oof_summary(0.5, naive=0.45)
    write_blend("lower", oof(3), [], metric="log_loss", higher_is_better=False, oof=summary)
    write_blend("higher", oof(3), [], oof=summary)
    optimism = {entry.name: entry.optimism for entry in read_entries()[0]}
    assert optimism == {"blends/lower": pytest.approx(0.05), "blends/higher": pytest.approx(-0.05)}


def test_read_entries_blend_stays_optimistic_without_its_members():
    write_run("unbiased", oof(6))
    write_blend("lucky", oof(1), ["gone"], optimistic=True)
    (group,) = read_groups()
    assert entry_names(group) == ["blends/lucky", "unbiased"] and group.best.name == "unbiased"


# ---- broken files ----


def cut(file: str) -> Callable[[Path], None]:
    def break_file(path: Path) -> None:
        (path / file).write_bytes((path / file).read_bytes()[:-40])

    return break_file


def change(file: str, edit) -> Callable[[Path], None]:
    def break_file(path: Path) -> None:
        content = json.loads((path / file).read_text())
        write_json(path / file, edit(content) or content)

    return break_file


RUN_BREAKS = {
    "metrics half-written": cut("metrics.json"),
    "metrics a list": change("metrics.json", lambda _: [1]),
    "metrics without scores": change("metrics.json", lambda content: content.pop("oof") and None),
    "a score that is none": change("metrics.json", lambda content: content["oof"]["kept"].update(score=float("nan"))),
    "a score in words": change("metrics.json", lambda content: content["oof"]["kept"].update(score="high")),
    "an interval of one": change("metrics.json", lambda content: content["oof"]["kept"].update(interval=[0.5])),
    "run.json half-written": cut("run.json"),
    "run.json of another program": change("run.json", lambda _: {"name": "x"}),
    "run.json a number": change("run.json", lambda _: 3),
    "parameters in words": change("run.json", lambda content: content.update(parameters="many")),
    "no config": lambda path: (path / "config.yaml").unlink(),
    "a config in another encoding": lambda path: (path / "config.yaml").write_bytes(b"\xff\xfe{"),
    "folds without seconds": change("fold1/fold.json", lambda content: content.pop("seconds") and None),
    "a fold.json half-written": cut("fold0/fold.json"),
    "no predictions": lambda path: shutil.rmtree(path / "predictions"),
    "predictions half-written": cut("predictions/identity/oof.csv"),
    "predictions of other classes": lambda path: write_csv(
        path / "predictions/identity/oof.csv", oof(3).rename(columns={"a": "c"})
    ),
    "predictions of other labels": lambda path: write_csv(
        path / "predictions/identity/oof.csv", oof(3).assign(label="a")
    ),
    "probabilities that are none": lambda path: write_csv(path / "predictions/identity/oof.csv", oof(3).assign(a=1.5)),
    "an image twice": lambda path: write_csv(path / "predictions/identity/oof.csv", pd.concat([oof(3)] * 2)),
    "metrics a directory": lambda path: ((path / "metrics.json").unlink(), (path / "metrics.json").mkdir()),
}


@pytest.mark.parametrize("defect", RUN_BREAKS)
@pytest.mark.parametrize("best", [True, False])
def test_leaderboard_broken_run_affects_its_own_line_only(defect, best, run_cli):
    write_run("sound", oof(6))
    write_run("other", oof(8))
    RUN_BREAKS[defect](write_run("broken", oof(3 if best else 9)))
    status, out, err = run_cli("comp", "leaderboard")
    lines = out.splitlines()
    assert status == 0 and len([line for line in lines if "sound" in line and "0.9000" in line]) == 1
    assert ("broken" in out) != (err.startswith("warning: ") and err.count("\n") == 1 and "broken" in err)
    status, out, _ = run_cli("comp", "leaderboard", "--json")
    assert status == 0 and "NaN" not in out
    tests = {entry["name"]: entry["against_best"] for entry in json.loads(out)["groups"][0]["entries"]}
    if "predictions" in defect or "probabilities" in defect or defect == "an image twice":
        assert not (any(tests.values()) if best else tests["broken"])


@pytest.mark.parametrize(
    "break_blend",
    [
        cut("blend.json"),
        change("blend.json", lambda content: content.pop("oof") and None),
        change("blend.json", lambda content: content.pop("metric") and None),
        change("blend.json", lambda content: content.update(members=[1])),
        lambda path: (path / "oof.csv").unlink(),
    ],
)
def test_leaderboard_broken_blend_affects_its_own_line_only(break_blend, run_cli):
    write_run("sound", oof(6))
    break_blend(write_blend("broken", oof(3), ["sound"]))
    status, out, err = run_cli("comp", "leaderboard")
    assert status == 0 and "sound" in out and (("blends/broken" in out) != ("blends/broken" in err))


@pytest.mark.parametrize("kind", ["run", "blend"])
def test_leaderboard_oof_other_than_recorded_is_not_tested_and_a_remark_says_so(kind, run_cli):
    write_run("sound", oof(3))
    if kind == "run":
        path = write_run("changed", oof(6)) / "predictions/identity/oof.csv"
        made_from = Provenance({"0": "a"}, "labels", "images", sha256=file_sha256(path))
        made_from.write(provenance_path(path))
    else:
        path = write_blend("changed", oof(6), ["sound"]) / "oof.csv"
        change("blend.json", lambda content: content.update(oof_sha256=file_sha256(path)))(path.parent)
    name = "changed" if kind == "run" else "blends/changed"

    def against_best() -> tuple[dict | None, str]:
        [group] = json.loads(run_cli("comp", "leaderboard", "--json")[1])["groups"]
        [entry] = [entry for entry in group["entries"] if entry["name"] == name]
        return entry["against_best"], entry["remark"]

    test, remark = against_best()
    assert test and remark == ""
    write_csv(path, oof(7))
    assert against_best() == (None, "oof.csv is not what was written; run infer.py again")
    assert "oof.csv is not what was written" in run_cli("comp", "leaderboard")[1]


# ---- the command ----


def test_leaderboard_names_and_patterns_select_entries_and_json_is_one_object(run_cli):
    for name in ("a", "papers/b", "papers/c"):
        write_run(name, oof(6 + len(name)))
    write_blend("x", oof(3), ["a"])
    status, out, _ = run_cli("comp", "leaderboard", "papers/*", "runs/a/", "--json")
    (group,) = json.loads(out)["groups"]
    assert status == 0 and [entry["name"] for entry in group["entries"]] == ["a", "papers/b", "papers/c"]
    assert group["best"] == "a" and group["entries"][0]["against_best"] is None
    assert group["entries"][1]["against_best"].keys() == {"difference", "interval", "p", "inside_noise", "images"}
    assert "blends/x" in run_cli("comp", "leaderboard", "blends/*")[1]
    assert run_cli("comp", "leaderboard", "papers/d") == (
        2,
        "",
        "error: there is no run or blend papers/d; did you mean papers/c?\n",
    )


def test_leaderboard_against_a_run_shows_what_each_changes_and_leaves_out_the_incomparable(run_cli):
    write_run("base", oof(9))
    write_run("better", oof(0), config="optim: {lr: 0.5}\naugment: {mixup: 0.2}\n")
    write_run("part", oof(9, rows=slice(0, 20)))
    write_run("elsewhere", oof(9), split="s2")
    write_blend("all", oof(9), ["base"])
    status, out, err = run_cli("comp", "leaderboard", "better", "part", "elsewhere", "blends/all", "--against", "base")
    rows = {
        name: line
        for line in out.splitlines()
        for name in ("base", "better", "part", "all", "elsewhere")
        if name in line
    }
    assert (status, err) == (0, "") and rows.keys() == {"base", "better", "part", "all"}
    assert "the reference" in rows["base"]
    assert "+0.1500 [+0.0" in rows["better"] and rows["better"].endswith("augment.mixup=0.2 optim.lr=0.5")
    assert " 20 " in rows["part"] and "inside the noise" in rows["part"] and "inside the noise" in rows["all"]
    [group] = json.loads(run_cli("comp", "leaderboard", "--against", "base", "--json")[1])["groups"]
    assert group["entries"][0]["against_reference"]["difference"] == pytest.approx(0.15)
    assert run_cli("comp", "leaderboard", "--against", "bas")[2].startswith("error: there is no run or blend bas")


def test_leaderboard_without_runs_is_an_error_with_the_command(run_cli):
    status, _, err = run_cli("comp", "leaderboard")
    assert status == 2 and err == "error: there is no run yet; train one: python train.py\n"


def test_leaderboard_hundred_runs_take_a_second_and_no_torch():
    rng = np.random.default_rng(0)
    targets = np.arange(3200) % 8
    table = pd.DataFrame(
        {
            "image": [f"{number}.jpg" for number in range(3200)],
            "label": [f"class{number}" for number in targets],
            "fold": np.arange(3200) % 3,
        }
    )
    probabilities = rng.dirichlet(np.ones(8), 3200).astype(np.float32)
    for number in range(8):
        table[f"class{number}"] = probabilities[:, number]
    write_run("run0", oof(3))
    write_csv(Path("runs/run0/predictions/identity/oof.csv"), table)
    for number in range(1, 100):
        shutil.copytree("runs/run0", f"runs/run{number}")
    started = time.process_time()
    (group,) = read_groups()
    assert time.process_time() - started < 1.5 and len(group.tests) == 99
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "comp", "leaderboard", "run0"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPO_ROOT)},
    )
    assert process.returncode == 0 and "comp.study" in process.stderr and " torch" not in process.stderr


BROKEN_RECORDS = {
    "a-list": "[]",
    "a-null": "null",
    "a-text": '"run"',
    "a-number": "3",
    "deep": "[" * 100_000,
    "cut": '{"schema": 1, "seed": ',
    "inner": '{"schema": 1, "seed": {}, "folds": "all"}',
    "newer": '{"schema": 99}',
    "not-a-number": '{"schema": NaN}',
    "bytes": "\udcff",
}


def test_leaderboard_broken_records_are_a_line_each(run_cli):
    for name, content in BROKEN_RECORDS.items():
        for path in (Path("runs") / name / "run.json", Path("runs/blends") / name / "blend.json"):
            path.parent.mkdir(parents=True)
            path.write_bytes(content.encode(errors="surrogateescape"))
    for path in (Path("runs/pipe/run.json"), Path("runs/blends/pipe/blend.json")):
        path.parent.mkdir()
        os.mkfifo(path)
    Path("runs/folder/run.json").mkdir(parents=True)
    status, _, err = run_cli("comp", "leaderboard")
    lines = err.splitlines()
    assert status == 0 and len(lines) == 2 * len(BROKEN_RECORDS) + 3
    assert all(line.startswith("warning: runs/") and line.endswith("; left out") for line in lines)
    for name in BROKEN_RECORDS:
        assert sum(f"/{name}/" in line for line in lines) == 2
