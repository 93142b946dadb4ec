"""Scores entered by hand, what CV says about LB, two picks that say when they are luck, and the file that counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from comp import config
from comp.files import file_sha256, read_json, write_json
from comp.records.blend import OofSummary
from comp.stats import wilson_interval
from comp.submit.ledger import Event, LedgerEntry, append, latest_entries, read
from comp.submit.picks import ImageCounts, format_correlation, propose_picks
from comp.submit.status import status

LEDGER = Path("submissions/ledger.csv")
CONFIG = ["-c", "cells.yaml"]


def entry(
    id: str, cv: float | None = None, public: float | None = None, half_width: float = 0.01, **fields
) -> LedgerEntry:
    interval = {} if cv is None else {"cv_low": cv - half_width, "cv_high": cv + half_width}
    return LedgerEntry(
        id, **{"cv": cv, "public": public, "sent": "2025-11-21", "sent_sha256": f"content of {id}"} | interval | fields
    )


def picks(entries, metric: str = "accuracy", public: int | None = 1000, train: int | None = 3000):
    cv_images = {entry.id: train for entry in entries} if train else {}
    return [(pick.entry.id, pick.reason) for pick in propose_picks(entries, metric, ImageCounts(public, cv_images))]


# ---- picks ----


def test_propose_picks_gives_best_cv_and_best_mean_by_images():
    entries = [entry("cv", 0.95, 0.90), entry("lb", 0.90, 0.99), entry("both", 0.945, 0.94)]
    (first, first_reason), (second, second_reason) = picks(entries)  # 0.9375, 0.9225, 0.94375
    assert (first, second) == ("cv", "both")
    assert first_reason.startswith("best CV: 0.9500 [0.9400, 0.9600]; 1 other is inside the noise")
    assert (
        second_reason.startswith("best CV and LB together: 0.9437 [")
        and "on 3,000 images and LB 0.9400 on 1,000" in second_reason
    )
    assert "2 others" not in second_reason and "1 other is inside the noise" in second_reason
    assert picks(entries, public=100_000)[1][0] == "lb"  # a leaderboard of so many images outweighs CV


def test_propose_picks_never_gives_one_content_twice():
    entries = [entry("a", 0.95, 0.95), entry("b", 0.94, 0.94), entry("c", 0.93, 0.93)]
    assert [id for id, _ in picks(entries)] == ["a", "b"] and picks(entries)[1][1].startswith("next best CV and LB")
    copy = entry("copy", 0.95, 0.95, sent_sha256="content of a")
    assert [id for id, _ in picks([*entries, copy])] == ["a", "b"]
    assert [id for id, _ in picks(entries[:1])] == ["a"]


def test_propose_picks_copy_of_best_is_not_counted_as_noise():
    entries = [entry("a", 0.95, 0.95), entry("copy", 0.95, 0.95, sent_sha256="content of a"), entry("b", 0.5, 0.5)]
    assert "noise" not in "".join(reason for _, reason in picks(entries))


def test_propose_picks_clear_best_has_no_noise_remark():
    assert "noise" not in "".join(reason for _, reason in picks([entry("a", 0.95, 0.95), entry("b", 0.90, 0.90)]))


def test_propose_picks_unsent_best_cv_is_marked():
    (id, reason), (other, _) = picks([entry("new", 0.99, sent=None), entry("old", 0.9, 0.9)])
    assert (id, other) == ("new", "old") and reason.endswith("not sent yet")


def test_propose_picks_other_metrics_use_mean_rank():
    entries = [entry("a", 0.10, 0.40), entry("b", 0.20, 0.10), entry("c", 0.30, 0.30)]  # ranks 1+3, 2+1, 3+2
    (first, _), (second, reason) = picks(entries, "log_loss")
    assert (first, second) == ("a", "b") and "mean rank 1.5 of 3" in reason and "noise unknown" in reason
    assert [id for id, _ in picks([entry(id, n, n) for n, id in enumerate("cba")], "macro_f1")] == ["a", "b"]
    assert "mean rank" in picks(entries, train=None)[1][1]  # nor can accuracies be weighted without their images


def test_propose_picks_without_scores_is_empty():
    assert picks([entry("a"), entry("b")]) == [] and picks([]) == []


def test_propose_picks_order_of_entries_has_no_effect():
    rng = np.random.default_rng(0)
    entries = [entry(f"{n}", *rng.uniform(0.8, 0.9, 2)) for n in range(20)]
    assert picks(entries) == picks(entries[::-1]) and picks(entries, "log_loss") == picks(entries[::-1], "log_loss")


# ---- noise ----


def test_wilson_interval_contains_probability_in_95_percent():
    rng = np.random.default_rng(0)
    for truth, images in ((0.9, 200), (0.98, 1000), (0.5, 50)):
        scores = rng.binomial(images, truth, 2000) / images
        held = np.mean(
            [low <= truth <= high for low, high in map(lambda score: wilson_interval(score, images), scores)]
        )
        assert 0.93 < held < 0.98, (truth, images, held)


def test_wilson_interval_perfect_score_is_not_certain():
    low, high = wilson_interval(1.0, 100)
    assert high == 1.0 and 0.95 < low < 0.97


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        ([], "0 submissions have both"),
        ([(1, 1)], "1 submission has both"),
        ([(1, 1), (2, 2), (3, 3)], "1.00 of 3 submissions, too few to be significant"),
        ([(n, n) for n in range(6)], "1.00 of 6 submissions, p 0.0028"),
        ([(n, -n) for n in range(6)], "-1.00 of 6 submissions, p 0.0028"),
        ([(1, 2), (2, 1), (3, 5), (4, 3), (5, 4)], "of 5 submissions, p 0.48, not significant"),
        ([(n, 1) for n in range(6)], "have the same score"),
    ],
)
def test_format_correlation_has_tau_and_p(scores, text):
    assert text in format_correlation([entry(f"{n}", *map(float, pair)) for n, pair in enumerate(scores)])


# ---- the commands ----


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """A competition of 50 test images and 80 training images, and a submission or two in its ledger."""
    monkeypatch.chdir(tmp_path)
    for directory in ("train/a", "train/b", "test"):
        for number in range(50 if directory == "test" else 40):
            path = Path(f"input/cells/{directory}/{directory[-1]}{number}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    Path("cells.yaml").write_text("data: {root: input/cells}\nsubmit: {public_share: 0.5}\n")
    return tmp_path


def write(id: str, cv: float | None = None, hour: int = 1, **fields) -> Path:
    path = Path(f"submissions/{id}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"id,label\n{id},a\n")
    write_json(
        path.with_suffix(".json"),
        {
            "schema": 1,
            "id": id,
            "sha256": file_sha256(path),
            "competition": {"name": "cells", "root": "input/cells", "ledger": str(LEDGER)},
        },
    )
    score = {} if cv is None else {"metric": "accuracy", "cv": cv, "cv_low": cv - 0.01, "cv_high": cv + 0.01}
    append(
        LEDGER,
        Event(
            id,
            f"2025-11-21T{hour:02}:00:00+00:00",
            "written",
            file=str(path),
            sha256=file_sha256(path),
            **{"competition": "cells"} | score | fields,
        ),
    )
    return path


def events() -> list[str]:
    return [f"{event.id} {event.event}" for event in read(LEDGER)]


def test_log_score_records_sent_too(workspace, run_cli):
    path = write("x", 0.9)
    status, out, _ = run_cli("comp", "submit", "log", str(path), "--public", "0.984", "--rank", "3", "-m", "a, b")
    assert status == 0 and "x sent and scored: public 0.984, rank 3" in out
    assert events() == ["x written", "x sent", "x scored"]
    assert run_cli("comp", "submit", "log", "x", "--private", "0.97")[0] == 0  # by its id
    assert events()[3:] == ["x scored"]
    entry = latest_entries(read(LEDGER))["x"]
    assert (entry.public, entry.private, entry.rank, entry.message) == (0.984, 0.97, 3, "a, b")
    assert entry.sent_sha256 == entry.written_sha256 == file_sha256(path)


def test_log_sent_without_score_is_recorded_once(workspace, run_cli):
    write("x")
    assert run_cli("comp", "submit", "log", "x", "--sent")[0] == 0
    assert "was already recorded as sent" in run_cli("comp", "submit", "log", "x", "--sent")[1]
    assert events() == ["x written", "x sent"]


def test_log_score_of_missing_file_is_recorded(workspace, run_cli):
    path = write("x")
    path.unlink()
    assert run_cli("comp", "submit", "log", str(path), "--public", "0.9", *CONFIG)[0] == 0
    assert latest_entries(read(LEDGER))["x"].public == 0.9


def test_log_file_made_by_hand_gets_entry(workspace, run_cli):
    Path("mine.csv").write_text("id,label\n1,a\n")
    assert run_cli("comp", "submit", "log", "mine.csv", "--public", "0.9", *CONFIG)[0] == 0
    (entry,) = latest_entries(read(LEDGER)).values()
    assert (entry.id, entry.competition, entry.file, entry.public) == ("mine", "cells", "mine.csv", 0.9)
    assert entry.sent_sha256 == file_sha256(Path("mine.csv")) and events() == ["mine sent", "mine scored"]
    Path("page.csv").write_text("nothing of the kind\n")
    assert run_cli("comp", "submit", "log", "page.csv", "--public", "0.9", *CONFIG)[0] == 2 and len(events()) == 2


def test_log_other_file_of_same_name_is_refused(workspace, run_cli):
    path = write("x", 0.9)
    Path("x.csv").write_text("id,label\nx,b\n")
    status, _, err = run_cli("comp", "submit", "log", "x.csv", "--public", "0.9", *CONFIG)
    assert status == 2 and "x.csv is not submissions/x.csv" in err and events() == ["x written"]
    Path("x.csv").write_bytes(path.read_bytes())  # a copy is the same submission
    assert run_cli("comp", "submit", "log", "x.csv", "--public", "0.9", *CONFIG)[0] == 0


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_log_manifest_of_missing_file_names_ledger(workspace, run_cli, suffix):
    """Also by id, and where the submission is JSON itself."""
    path = write("x", 0.9)
    if suffix == ".json":
        path.with_suffix(".json").rename("submissions/x.about.json")
        path.rename("submissions/x.json")
    elsewhere = LEDGER.rename("elsewhere.csv")
    manifest = next(Path("submissions").glob("x.*json")) if suffix == ".csv" else Path("submissions/x.about.json")
    manifest.write_text(manifest.read_text().replace(str(LEDGER), str(elsewhere)))
    assert run_cli("comp", "submit", "log", "x", "--public", "0.9")[0] == 0
    path.with_suffix(suffix).unlink()
    assert run_cli("comp", "submit", "log", "x", "--public", "0.8")[0] == 0
    assert [event.public for event in read(elsewhere)] == [None, None, 0.9, 0.8] and not LEDGER.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--public", "0.9"], "'' names no submission"),
        (["y", "--public", "0.9"], "y is not in submissions/ledger.csv; available: x"),
        (["y.csv", "--public", "0.9"], "y.csv is not in submissions/ledger.csv"),
        (["x"], "no score given; pass --public SCORE or --sent"),
        (["x", "--public", "98.4"], "--public 98.4: accuracy is between 0 and 1"),
        (["x", "--private", "-1"], "--private -1: accuracy"),
        (["x", "--public", "nan"], "--public nan: accuracy"),
        (["x", "--public", "much"], "--public"),
        (["x", "--public", "1", "--rank", "0"], "ranks start at 1"),
    ],
)
def test_log_invalid_arguments_record_nothing(workspace, run_cli, arguments, message):
    write("x", 0.9)
    before = LEDGER.read_bytes()
    status, out, err = run_cli("comp", "submit", "log", *arguments, *CONFIG)
    assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith("error: ") and message in err
    assert LEDGER.read_bytes() == before


def test_log_log_loss_may_exceed_one(workspace, run_cli):
    write("x", 1.5, metric="log_loss")
    assert run_cli("comp", "submit", "log", "x", "--public", "1.7")[0] == 0


def test_status_shows_table_correlation_picks_and_plot(workspace, run_cli):
    for hour, (id, cv, public) in enumerate([("old", 0.90, 0.88), ("middle", 0.92, 0.92), ("new", 0.95, None)], 1):
        write(id, cv, hour)
        if public:
            assert run_cli("comp", "submit", "log", id, "--public", f"{public}", "-m", f"the {id} one")[0] == 0
    write("unrelated", 0.99, 4, competition="others")
    status, out, _ = run_cli("comp", "submit", "status", *CONFIG)
    rows = [line.split() for line in out.splitlines()]
    assert status == 0 and [row[1] for row in rows[1:4]] == ["middle", "old", "new"]  # what happened last first
    assert "0.9200" in rows[1] and "[0.9100," in rows[1] and out.count("the old one") == 1 and "unrelated" not in out
    assert len({line.index("2025") if "2025" in line else line.index("11-21") for line in out.splitlines()[1:4]}) == 1
    assert "of 2 submissions, too few to be significant" in out and "LB is of 25 images" in out  # half of 50
    assert "pick 1: new, best CV" in out and "pick 2: middle, best CV and LB together" in out and "on 80 images" in out
    assert "warning: submissions/FINAL is missing" in out
    with Image.open("runs/submissions/cells.png") as image:
        assert image.width > 600 and len(set(image.convert("RGB").get_flattened_data())) > 100


def test_status_counts_cv_images_from_matching_manifest(workspace, run_cli):
    path = write("x", 0.9)
    assert run_cli("comp", "submit", "log", "x", "--public", "0.9")[0] == 0
    manifest = path.with_suffix(".json")
    oof = OofSummary("accuracy", 0.9, (0.89, 0.91), 0.9, 0.3, 0.01, (0.9,), 60).to_dict()
    for sha256, images in ((file_sha256(path), 60), ("another", 80)):
        write_json(manifest, {**read_json(manifest), "sha256": sha256, "oof": oof})
        counts = status(config.load("cells.yaml")[0]).images
        assert (counts.cv, counts.public) == ({"x": images}, 25)


def test_status_without_both_scores_draws_no_plot(workspace, run_cli):
    assert "has no submission for cells yet" in run_cli("comp", "submit", "status", *CONFIG)[1]
    write("x", 0.9)
    assert run_cli("comp", "submit", "status", *CONFIG)[0] == 0 and not Path("runs").exists()


def test_status_score_by_other_metric_is_ignored(workspace, run_cli):
    write("x", 0.9)
    write("y", 5.0, metric="log_loss")
    assert "pick 1: x" in run_cli("comp", "submit", "status", *CONFIG)[1]


def test_status_other_metric_or_missing_data_has_no_interval(workspace, run_cli):
    write("x", 0.9)
    run_cli("comp", "submit", "log", "x", "--public", "0.9")
    assert "its best" not in (out := run_cli("comp", "submit", "status", *CONFIG, "train.metric=log_loss")[1])
    assert "the noise of LB is unknown: log_loss" in out
    Path("input").rename("elsewhere")
    status, out, _ = run_cli("comp", "submit", "status", *CONFIG)
    assert status == 0 and "the noise of LB is unknown: input/cells is missing" in out
    assert Path("runs/submissions/cells.png").is_file()


def test_final_names_submission_and_warns(workspace, run_cli):
    path = write("x", 0.9)
    final = Path("submissions/FINAL")
    status, _, err = run_cli("comp", "submit", "final", "x")
    assert status == 0 and final.read_text() == "submissions/x.csv\n" and "which was never sent" in err
    run_cli("comp", "submit", "log", "x", "--sent")
    status, _, err = run_cli("comp", "submit", "final", str(path))
    assert (status, err) == (0, "") and "FINAL is x" in run_cli("comp", "submit", "status", *CONFIG)[1]
    path.write_text("other")
    assert "has changed since it was sent" in run_cli("comp", "submit", "status", *CONFIG)[1]
    path.unlink()
    assert "x.csv is missing" in run_cli("comp", "submit", "status", *CONFIG)[1]
    write("unrelated", competition="others")
    final.write_text("submissions/unrelated.csv\n")
    assert "names unrelated, which belongs to others" in run_cli("comp", "submit", "status", *CONFIG)[1]
    final.write_bytes(b"\xff")
    assert "which is not in the ledger" in run_cli("comp", "submit", "status", *CONFIG)[1]
    final.write_text("submissions/typo.csv\n")
    assert "names 'typo', which is not in the ledger" in run_cli("comp", "submit", "status", *CONFIG)[1]


def test_final_unknown_submission_is_refused(workspace, run_cli):
    write("x", 0.9)
    run_cli("comp", "submit", "final", "x")
    status, _, err = run_cli("comp", "submit", "final", "y", *CONFIG)
    assert status == 2 and err == "error: y is not in submissions/ledger.csv; available: x\n"
    assert Path("submissions/FINAL").read_text() == "submissions/x.csv\n"


def test_commands_broken_ledger_is_one_line(workspace, run_cli):
    write("x", 0.9)
    LEDGER.write_text(LEDGER.read_text() + "=======\n")
    for command in (["status"], ["log", "x", "--public", "0.9"], ["final", "x"]):
        status, _, err = run_cli("comp", "submit", *command, *CONFIG)
        assert status == 2 and "line 3 is not an event" in err and err.count("\n") == 1


def test_propose_picks_entry_with_only_an_id_is_ignored():
    assert propose_picks([LedgerEntry("x")], "accuracy", ImageCounts()) == []
