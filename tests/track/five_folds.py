"""A five-fold run, its submission and its score on the leaderboard, written without any training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.duplicates import group_ids
from comp.data.folds import make_folds, write_folds
from comp.data.scan import scan
from comp.files import file_sha256
from comp.metrics import score
from comp.prediction.tables import oof_table
from comp.prediction.validation import write_validation
from comp.prediction_file import write_oof
from comp.records.blend import BlendMember, BlendSpec, MemberRecord, OofSummary
from comp.records.metrics import EpochOof, KeptOof, OofScores, RunMetrics, RunScores
from comp.records.run import GitState, ProcessInfo, RunRecord
from comp.records.submission import FoldsFile, InputHashes, SubmissionManifest
from comp.runs import RUNS, Run
from comp.schema import Config, Data, Log, Submit
from comp.stats import bootstrap_interval, score_report
from comp.submit.competition import from_config
from comp.submit.sample import fill_table, load_sample
from comp.submit.write import write_submission

EPOCHS = 3


def write_five_folds(name: str, root: Path, wandb: str = "off") -> Run:
    """Write the folds and a run `name` of the dataset at `root`; its predictions are wrong for every fifth image."""
    dataset = scan(str(root))
    config = Config(name=name, data=Data(root=str(root)), log=Log(wandb=wandb), submit=Submit(kaggle="cells"))
    write_folds(config.folds_file, make_folds(dataset, group_ids(dataset.train, []), 5, 42), dataset, 5, 42)
    split = pd.read_csv(config.folds_file).set_index("image")["fold"]
    record = RunRecord(
        seed=42,
        metric="accuracy",
        higher_is_better=True,
        classes=dataset.classes,
        folds=(0, 1, 2, 3, 4),
        folds_file=str(config.folds_file),
        folds_sha256=file_sha256(config.folds_file),
        image_list_sha256=dataset.image_list_sha256,
        parameters=10,
        name=name,
        created="2026-11-30T12:00:00+0000",
        precision="fp32",
        git=GitState("0" * 40, False),
    )
    run = Run(RUNS / name, config, record)
    run.path.mkdir(parents=True)
    (run.path / "config.yaml").write_text(config.to_yaml())
    predictions = np.full((len(dataset.train), len(dataset.classes)), 0.01, np.float32)
    wrong = np.arange(len(predictions)) % 5 == 0
    answers = (dataset.targets + wrong) % len(dataset.classes)
    confidence = np.linspace(0.5, 0.9, len(answers))
    predictions[np.arange(len(answers)), answers] = confidence
    predictions /= predictions.sum(1, keepdims=True)
    tables = []
    for fold in record.folds:
        rows = [row for row, image in enumerate(dataset.train) if split[image.id] == fold]
        tables.append(oof_table([dataset.train[row] for row in rows], fold, predictions[rows], dataset.classes))
        _write_fold(run, fold, [dataset.train[row] for row in rows], predictions[rows])
    oof = pd.concat(tables)
    write_oof(run.path / "predictions" / "identity" / "oof.npz", oof, dataset.classes)
    targets, probabilities = run.task.to_arrays(oof.set_index("image"))
    _write_metrics(run, targets, probabilities)
    record.write(run.path / "run.json")
    return run


def _write_fold(run: Run, fold: int, images: list, predictions: np.ndarray) -> None:
    directory = run.fold_dir(fold)
    directory.path.mkdir()
    command = f"train.py -c {Path.home()}/secret-place/x.yaml data.root={run.config.data.root}"
    process = ProcessInfo(command, "cpu", "a processor", 1, "secret-host", 1, {"python": "3.11"})
    directory.mark_running(process)
    directory.weights_path.write_bytes(f"weights of fold {fold}".encode())
    rows = [
        f"{epoch},{4 * epoch},0.001,{1 / epoch},{1.1 / epoch},{epoch / 4},2.0,50.0,0.1,0.5\n"
        for epoch in range(1, EPOCHS + 1)
    ]
    header = "epoch,step,lr,train_loss,val_loss,val_score,seconds,images_per_second,peak_memory_gb,val_seconds\n"
    (directory.path / "history.csv").write_text(header + "".join(rows))
    hashes = write_validation(directory, images, fold, run.classes, predictions, predictions)
    directory.mark_ended(
        "done",
        epochs=EPOCHS,
        kept="last",
        seconds=6.0,
        validation_sha256=hashes,
        weights_sha256=file_sha256(directory.weights_path),
    )


def _write_metrics(run: Run, targets: np.ndarray, probabilities: np.ndarray) -> None:
    value, interval = score("accuracy", targets, probabilities), bootstrap_interval("accuracy", targets, probabilities)
    scores = RunScores(
        mean=value,
        sd=0.0,
        per_fold={"best": (value,) * 5, "last": (value,) * 5},
        oof=OofScores(KeptOof(value, interval, False), EpochOof(value), EpochOof(value)),
        best_minus_last=0.0,
        report=score_report(targets, probabilities, run.classes),
    )
    RunMetrics(run.name, "accuracy", "last", (0, 1, 2, 3, 4), True, scores).write(run.path / "metrics.json")


def write_submission_of(run: Run) -> Path:
    """Write a submission of the run, as infer.py does after its prediction."""
    dataset = scan(run.config.data.root)
    metrics = RunMetrics.read(run.path / "metrics.json")
    kept = metrics.scores.oof.kept
    weights = {str(fold): run.fold_dir(fold).read_record().weights_sha256 for fold in run.record.folds}
    manifest = SubmissionManifest(
        command=f"infer.py {run.path.resolve()}",
        competition=from_config(run.config),
        classes=run.classes,
        blend=BlendSpec("mean", (BlendMember(run.name, ("identity",), 1.0, 1.0),)),
        members=(MemberRecord(run.name, str(run.path), "torch", weights),),
        folds=FoldsFile(run.record.folds_file, run.record.folds_sha256),
        images=InputHashes(dataset.image_list_sha256, "0", None),
        oof=OofSummary("accuracy", kept.score, kept.interval, kept.score, 0.5, 0.1, (kept.score,) * 5, 48),
    )
    answers = np.eye(len(run.classes))[np.arange(len(dataset.test)) % len(run.classes)]
    predictions = pd.DataFrame(answers, [image.id for image in dataset.test], list(run.classes))
    table = fill_table(load_sample(dataset), predictions, dataset)
    return write_submission(run.name, table, manifest)


def retrain_fold(run: Run, fold: int) -> None:
    """Give a fold other weights, as a training from scratch would."""
    directory = run.fold_dir(fold)
    directory.weights_path.write_bytes(b"others")
    record = directory.read_record()
    replace(record, weights_sha256=file_sha256(directory.weights_path)).write(directory.path / "fold.json")
