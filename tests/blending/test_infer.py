"""infer.py on two small runs: what it writes, what it says of it, and what it refuses."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from comp.engine.views import TTA
from comp.ensemble.blend import METHODS, Blend, apply_blend
from comp.files import read_json, write_json
from comp.metrics import score
from comp.records.blend import BlendSpec
from comp.tables import read_predictions


@pytest.fixture
def workspace(trained_workspace, tmp_path, monkeypatch) -> Path:
    shutil.copytree(trained_workspace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """The figures of a blend take as long as all the rest."""
    for draw in ("draw_blend", "draw_reliability"):
        monkeypatch.setattr(f"comp.ensemble.plots.{draw}", lambda *_: None)


def note(name: str) -> dict:
    return read_json(Path(f"submissions/{name}.json"))


def classes() -> list[str]:
    return sorted(path.name for path in Path("input/tiny/train").iterdir())


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_is_what_its_note_makes_of_each_fold_models_predictions(method, workspace, run_cli):
    status, out, err = run_cli("infer.py", "anna", "bert", "--blend", method, "--tta", "flips", "--name", "both")
    assert (status, err) == (0, "") and f"{method} of 2" in out
    about = note("both")
    blend = Blend.from_spec(BlendSpec.from_dict(about["blend"], "both.json"))
    spoken = [
        np.stack(
            [
                [
                    read_predictions(
                        Path(f"runs/{part.name}/predictions/{view}/test_fold{fold}.csv"), about["classes"]
                    ).to_numpy(np.float32)
                    for view in part.views
                ]
                for fold in range(3)
            ]
        )
        for part in blend.members
    ]
    sent = pd.read_csv("submissions/both.csv", dtype=str)
    first = blend.members[0].name
    images = read_predictions(Path(f"runs/{first}/predictions/identity/test_fold0.csv"), about["classes"]).index
    numbers = dict(zip(images, apply_blend(blend, spoken).argmax(1), strict=True))
    assert [int(label) for label in sent["label"]] == [numbers[image] for image in sent["image"]]
    assert about["sha256"] == hashlib.sha256(Path("submissions/both.csv").read_bytes()).hexdigest()

    # and the score in the note is that of the cross-fitted table
    table = read_predictions(Path("runs/blends/both/oof.csv"), classes())
    truth = table["label"].map({label: number for number, label in enumerate(classes())}).to_numpy()
    said = table[classes()].to_numpy()
    about = about["oof"]
    assert about["score"] == pytest.approx(score("accuracy", truth, said)) and len(table) == about["images"] == 48
    assert about["log_loss"] == pytest.approx(score("log_loss", truth, said), rel=1e-5)
    assert about["interval"][0] <= about["score"] <= about["interval"][1]
    kept = read_json(Path("runs/blends/both/blend.json"))
    assert kept["complete"] and kept["oof"] == about
    assert {member["run"] for member in kept["members"]} <= {"anna", "bert"}
    assert {path.name for path in Path("runs/blends/both").iterdir()} == {
        "blend.json",
        "oof.csv",
        "pairs.csv",
        "members.csv",
        "blend.png",
        "reliability.png",
    }


def test_a_note_names_everything_the_file_came_from(workspace, undrawn, run_cli):
    run_cli("infer.py", "anna", "--tta", "flips")
    about = note("anna+flips")
    run_json = read_json(Path("runs/anna/run.json"))
    assert about["id"] == "anna+flips" and about["command"] == "infer.py anna --tta flips"
    assert about["competition"] == {
        "name": "tiny",
        "root": "input/tiny",
        "ledger": "submissions/ledger.csv",
        "kaggle": None,
        "per_day": 5,
        "public_share": 1.0,
    }
    [part], [member] = about["blend"]["parts"], about["members"]
    assert part["views"] == list(TTA["flips"]) and part["weight"] == 1 and part["temperature"] != 1
    assert member["weights_sha256"] == {
        str(fold): hashlib.sha256(Path(f"runs/anna/fold{fold}/weights.pt").read_bytes()).hexdigest()
        for fold in range(3)
    }
    assert (
        about["folds"]["sha256"]
        == run_json["folds_sha256"]
        == hashlib.sha256(Path("folds/tiny.csv").read_bytes()).hexdigest()
    )
    assert about["images"]["train_list_sha256"] == run_json["image_list_sha256"]
    assert {"python", "torch", "timm", "numpy"} <= set(about["versions"]) and "commit" in about["git"]


def test_the_order_of_runs_changes_no_byte(workspace, undrawn, run_cli):
    for name, members in (("x", ("anna", "bert")), ("y", ("bert", "anna"))):
        run_cli("infer.py", *members, "--blend", "greedy", "--name", name)
    assert Path("submissions/x.csv").read_bytes() == Path("submissions/y.csv").read_bytes()
    assert Path("runs/blends/x/oof.csv").read_bytes() == Path("runs/blends/y/oof.csv").read_bytes()
    assert note("x")["blend"] == note("y")["blend"]


def test_without_temperatures_a_mean_is_the_plain_mean(workspace, undrawn, run_cli):
    run_cli("infer.py", "anna", "bert", "--no-temperature", "--name", "plain")
    assert [part["temperature"] for part in note("plain")["blend"]["parts"]] == [1, 1]
    tables = [
        read_predictions(Path(f"runs/{name}/predictions/identity/oof.csv"), classes())[classes()]
        for name in ("anna", "bert")
    ]
    blended = read_predictions(Path("runs/blends/plain/oof.csv"), classes())[classes()]
    mean = (tables[0].sort_index() + tables[1].sort_index()) / 2
    assert np.allclose(blended, mean, atol=1e-6) and list(blended.index) == list(mean.index)


def test_a_best_epoch_makes_every_blend_it_is_in_optimistic(workspace, undrawn, run_cli):
    settings = Path("runs/bert/config.yaml")
    settings.write_text(settings.read_text().replace("keep: last", "keep: best"))
    out = run_cli("infer.py", "anna", "bert", "--name", "lucky")[1]
    assert "OOF score is optimistic: each fold's best epoch was chosen on the images it is scored on, in bert\n" in out
    assert read_json(Path("runs/blends/lucky/blend.json"))["optimistic"]
    assert "optimistic" not in run_cli("infer.py", "anna")[1]
    assert not read_json(Path("runs/blends/anna/blend.json"))["optimistic"]


def test_what_was_asked_for_is_in_the_name_and_an_old_explanation_goes(workspace, undrawn, run_cli):
    run_cli("infer.py", "anna", "--tta", "flips", "--no-temperature")
    assert note("anna+flips+no-temperature")["blend"]["parts"][0]["temperature"] == 1
    run_cli("infer.py", "anna", "bert", "--name", "x")
    assert Path("runs/blends/x/members.csv").is_file()
    run_cli("infer.py", "anna", "--name", "x")
    assert {path.name for path in Path("runs/blends/x").iterdir()} == {"blend.json", "oof.csv", "pairs.csv"}


def test_a_member_without_weight_is_not_asked_about_the_test_images(workspace, undrawn, run_cli, monkeypatch):
    monkeypatch.setattr("comp.ensemble.blend.fit_simplex_weights", lambda said, truth: np.eye(len(said))[-1])
    assert run_cli("infer.py", "anna", "bert", "--blend", "weights", "--tta", "flips", "--name", "one")[0] == 0
    assert [member["run"] for member in note("one")["members"]] == ["bert"]
    looked = {name: bool(list(Path(f"runs/{name}/predictions").glob("*/test*.csv"))) for name in ("anna", "bert")}
    assert looked == {"anna": False, "bert": True}


def test_a_member_costs_every_fold_and_view_and_gains_what_is_lost_without_it(workspace, undrawn, run_cli):
    for file in Path("runs").glob("*/run.json"):  # accuracy is chance here, and always the same
        write_json(file, {**read_json(file), "metric": "log_loss", "higher_is_better": False})
    for name, words in (("both", ("anna", "bert")), ("anna", ("anna",)), ("bert", ("bert",))):
        run_cli("infer.py", *words, "--tta", "flips", "--name", name)
    found = pd.read_csv("runs/blends/both/members.csv").set_index("name")
    scores = {name: note(name)["oof"]["score"] for name in ("both", "anna", "bert")}
    assert len(set(scores.values())) == 3
    for name, other in (("anna", "bert"), ("bert", "anna")):
        (cost,) = read_json(Path(f"runs/{name}/predictions/cost.json")).values()
        assert found.loc[name, "ms"] == pytest.approx(cost * 3 * 4)
        assert found.loc[name, "gain"] == pytest.approx(scores[other] - scores["both"])


def test_a_copy_of_a_run_is_counted_once(workspace, undrawn, run_cli):
    shutil.copytree("runs/anna", "runs/copy")
    settings = Path("runs/copy/config.yaml")
    settings.write_text(settings.read_text().replace("name: anna", "name: copy"))
    run_cli("infer.py", "anna", "bert", "--name", "two")
    status, _, err = run_cli("infer.py", "anna", "bert", "copy", "--name", "three")
    assert status == 0 and err == "warning: copy has the same predictions as anna; it is used once\n"
    assert Path("submissions/two.csv").read_bytes() == Path("submissions/three.csv").read_bytes()


def test_views_are_chosen_within_the_budget_and_only_those_look_at_the_test_images(workspace, undrawn, run_cli):
    for name in ("anna", "bert"):
        shutil.rmtree(f"runs/{name}/predictions", ignore_errors=True)
    assert run_cli("infer.py", "anna", "bert", "--tta", "auto", "--name", "chosen")[0] == 0
    free = [set(part["views"]) for part in note("chosen")["blend"]["parts"]]
    assert all("identity" in views and views <= set(TTA["d4"]) for views in free)
    for part in note("chosen")["blend"]["parts"]:
        looked = {path.parent.name for path in Path(f"runs/{part['name']}/predictions").glob("*/test_fold0.csv")}
        assert looked == set(part["views"])
    # 8 test images, 3 folds, 2 members at 2 ms: one view is 0.096 s, two views are more than 0.15
    for name in ("anna", "bert"):
        file = Path(f"runs/{name}/predictions/cost.json")
        write_json(file, dict.fromkeys(read_json(file), 2.0))
    assert run_cli("infer.py", "anna", "bert", "--tta", "auto", "--budget", "0.15s", "--name", "short")[0] == 0
    assert [part["views"] for part in note("short")["blend"]["parts"]] == [["identity"]] * 2
    status, _, err = run_cli("infer.py", "anna", "bert", "--tta", "auto", "--budget", "0.05s", "--name", "none")
    assert status == 2 and err.startswith("error: --budget 0.05s: one view of the test images by every fold")


def test_a_single_fold_has_an_honest_score_too(workspace, undrawn, run_cli):
    for fold in (1, 2):
        shutil.rmtree(f"runs/anna/fold{fold}")
    status, out, err = run_cli("infer.py", "anna", "--tta", "auto")
    assert status == 0 and "on 16 images, cross-fitted" in out
    assert err == "warning: anna lacks fold 1, 2; blended without it\n"
    assert not read_json(Path("runs/blends/anna+auto/blend.json"))["complete"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("anna", "--budget", "60s"), "--budget limits the views that are chosen; pass --tta auto too"),
        (("anna", "--tta", "auto", "--budget", "soon"), "'soon' is not a duration; use for example 60s, 5m or 1h"),
        (("anna", "--tta", "auto", "--budget=-3s"), "'-3s' is not a duration"),
        (("anna", "--blend", "greedy", "--fold", "full"), "--blend greedy is fitted out of fold"),
        (("anna", "--tta", "auto", "--fold", "full"), "--tta auto is fitted out of fold"),
        (("anna", "--blend", "best"), "invalid choice: 'best'"),
        (("anna", "carl"), "there is no run carl"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(words, complaint, workspace, run_cli):
    status, _, err = run_cli("infer.py", *words)
    assert status == 2 and err.startswith("error: ") and complaint in err and err.count("\n") == 1
    assert not Path("submissions").exists() and not Path("runs/blends").exists()


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("folds_sha256", "bert was trained on another split than anna"),
        ("image_list_sha256", "bert was trained on other images than anna"),
        ("classes", "bert was trained on other classes than anna"),
        ("metric", "bert was scored by another metric than anna"),
    ],
)
def test_members_that_do_not_fit_are_refused(key, complaint, workspace, run_cli):
    file = Path("runs/bert/run.json")
    about = read_json(file)
    other = {"classes": about["classes"][::-1], "metric": "log_loss"}.get(key, "0" * 64)
    write_json(file, {**about, key: other})
    status, _, err = run_cli("infer.py", "anna", "bert")
    assert status == 2 and complaint in err and not Path("submissions").exists()


def test_without_test_images_nothing_is_predicted_for_long(workspace, run_cli):
    shutil.rmtree("input/tiny/test")
    Path("input/tiny/sample_submission.csv").unlink()
    status, _, err = run_cli("infer.py", "anna", "--tta", "auto", "--budget", "60s")
    assert (status, err) == (2, "error: input/tiny/test has no images to predict; add them\n")


def test_two_runs_of_one_name_are_refused(workspace, run_cli):
    shutil.copytree("runs/anna", "runs/copy")
    status, _, err = run_cli("infer.py", "anna", "copy")
    assert status == 2 and "runs/anna and runs/copy have the same name anna" in err
    assert not Path("submissions").exists()


def test_members_of_other_folds_are_refused(workspace, run_cli):
    shutil.rmtree("runs/bert/fold2")
    status, _, err = run_cli("infer.py", "anna", "bert")
    assert status == 2 and "members predict different images" in err and "train the same folds of each" in err
    assert not Path("submissions").exists()
