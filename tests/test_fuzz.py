"""Whatever a file or an argument holds, reading it gives a value or a UserError of one line, and nothing else.

Each check draws a valid content and changes it, or draws any content. The default run tries some examples of each, the
same ones every time; `-m slow` tries thousands.
"""

from __future__ import annotations

import copy
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import comp.records
from comp import config as configs
from comp.checkpoints import save_checkpoint
from comp.cli import format_error
from comp.data.folds import make_folds, parse_folds, read_folds, write_folds
from comp.data.scan import scan
from comp.errors import UserError
from comp.files import read_json
from comp.prediction_file import read_predictions, write_predictions
from comp.records.base import Record
from comp.records.checkpoint import FoldCheckpoint, HistoryRow
from comp.records.weights import ModelSpec, read_weights
from comp.schema import Config, flatten
from comp.study.study_file import read_study
from comp.submit import ledger
from comp.submit.sample import check_sample, load_sample
from comp.tables import read_csv
from comp.yaml12 import read_yaml, render_yaml

Draw = Callable[[st.SearchStrategy], Any]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([0, -1, 1, 2**63, -(2**63), 10**30, 1e308, "", "full", "0", "..", "/", "a\0b", "\ud800", "nan"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TEXT = st.text(max_size=60) | st.text("abc01,.:;=-_/{}[]()!&*<>|#%@`\"' \n\r\t\0\ufeff", max_size=60)


def survive(read: Callable[[], object]) -> Any:
    """Return the value that `read` returns, or None for a UserError, whose line must be of a moderate length."""
    try:
        return read()
    except UserError as error:
        assert 0 < len(format_error(error)) < 2000
        return None


def places(content: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value in nested maps and lists."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def mutate(draw: Draw, content: Any, values: st.SearchStrategy = JSON) -> Any:
    """Return a copy of nested maps and lists in which one to three values were replaced, dropped or added."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from([(), *places(content)])) or [None]
        if key is None:
            return draw(values)
        parent = content
        for part in path:
            parent = parent[part]
        change = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
        if change == "replace":
            parent[key] = draw(values)
        elif change == "drop":
            del parent[key]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = draw(values)
        else:
            parent.insert(0, draw(values))
    return content


def mutate_bytes(draw: Draw, content: bytes) -> bytes:
    """Return bytes of which one to three parts were replaced, dropped or repeated."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + 40)))
        new = draw(st.one_of(st.binary(max_size=8), TEXT.map(lambda text: text.encode(errors="replace"))))
        content = content[:start] + draw(st.sampled_from([b"", new, content[start:end] * 3])) + content[end:]
    return content


def record_types() -> list[type[Record]]:
    """Return every record of the kit."""
    for module in pkgutil.iter_modules(comp.records.__path__, "comp.records."):
        importlib.import_module(module.name)
    types, records = [Record], []
    while types:
        records += (subclasses := types.pop().__subclasses__())
        types += subclasses
    own = {record for record in records if record.__module__.startswith("comp.")}
    return sorted(own, key=lambda kind: kind.__name__)


RECORDS = record_types()
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
st.register_type_strategy(float, NUMBERS)
st.register_type_strategy(int, INTEGERS)


def valid_record(draw: Draw, kind: type[Record]) -> Record:
    extra = {"kwargs": st.dictionaries(st.text(max_size=5), st.booleans(), max_size=2)} if kind is ModelSpec else {}
    extra |= {"schema": st.just(1)} if "schema" in kind.__dataclass_fields__ else {}  # type: ignore[attr-defined]
    return draw(st.builds(kind, **extra))


def check_record(draw: Draw, folder: Path) -> None:
    kind = draw(st.sampled_from(RECORDS))
    record = valid_record(draw, kind)
    content = mutate(draw, record.to_dict())
    read = survive(lambda: kind.from_dict(content, "record.json"))
    if read is not None:
        assert isinstance(read, kind) and survive(lambda: kind.from_dict(read.to_dict(), "record.json")) == read


def check_record_file(draw: Draw, folder: Path) -> None:
    kind, path = draw(st.sampled_from(RECORDS)), folder / "record.json"
    path.write_bytes(mutate_bytes(draw, json.dumps(valid_record(draw, kind).to_dict()).encode()))
    survive(lambda: kind.read(path))


def check_json(draw: Draw, folder: Path) -> None:
    path = folder / "a.json"
    path.write_bytes(
        draw(TEXT | st.lists(st.sampled_from(list('[]{}:,"1e-NaInfity.\\u')), max_size=40).map("".join)).encode()
    )
    content = survive(lambda: read_json(path))
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def check_yaml(draw: Draw, folder: Path) -> None:
    path = folder / "a.yaml"
    path.write_bytes(draw(TEXT).encode(errors="surrogatepass"))
    content = survive(lambda: read_yaml(path))
    json.dumps(content, allow_nan=False)
    if content:
        path.write_text(render_yaml(content), encoding="utf-8")
        assert read_yaml(path) == content


CONFIG = Config(name="x").model_dump(exclude={"name"})
KEYS = list(flatten(CONFIG))


def use(config: Config) -> None:
    """Derive from a config what every program derives."""
    configs_text = config.to_yaml()
    json.dumps([config.identity(), str(config.folds_file), config.dataset], allow_nan=False)
    assert configs_text.encode() and configs.check_name(config.name)


def check_config(draw: Draw, folder: Path) -> None:
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump(mutate(draw, CONFIG)), encoding="utf-8", errors="replace")
    for config in survive(lambda: configs.load(path)) or ():
        use(config)
        path.write_text(config.to_yaml(), encoding="utf-8")
        assert configs.load(path)[0].model_dump(exclude={"name"}) == config.model_dump(exclude={"name"})


def check_overrides(draw: Draw, folder: Path) -> None:
    value = TEXT | JSON.map(json.dumps) | SCALARS.map(str)
    pair = st.builds("{}={}".format, st.sampled_from([*KEYS, "model.kwargs.a", "model", ".", "..", "a.", "\0"]), value)
    overrides = draw(st.lists(pair | TEXT, min_size=1, max_size=3))
    (folder / "a.yaml").write_text("train: {epochs: 2}\n")
    name = draw(st.none() | TEXT)
    for config in survive(lambda: configs.load(folder / "a.yaml", overrides, name)) or ():
        use(config)


def check_study(draw: Draw, folder: Path) -> None:
    (folder / "base.yaml").write_text("train: {epochs: 2}\n")
    content = {
        "base": str(folder / "base.yaml"),
        "fixed": {"train.epochs": 3},
        "folds": "0..1",
        "confirm": 2,
        "space": {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "augment.policy": ["paper", "heavy"]},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(mutate(draw, content)), encoding="utf-8", errors="replace")
    survive(lambda: read_study(folder / "study.yaml"))


def check_table(draw: Draw, folder: Path) -> None:
    path = folder / "oof.csv"
    path.write_bytes(mutate_bytes(draw, b'image,label,fold,a,b\nx,a,0,0.25,0.75\n"y,z",b,1,1,0\n'))
    survive(lambda: read_csv(path, ["image", "label"]))
    stored = survive(lambda: read_predictions(path, ["a", "b"]))
    table = stored and stored.table
    assert table is None or table[["a", "b"]].to_numpy(float).shape == (len(table), 2)


def check_prediction_file(draw: Draw, folder: Path) -> None:
    path, sound = folder / "oof.npz", folder / "sound.npz"
    if not sound.exists():
        table = pd.DataFrame({"image": ["x", "y,z"], "label": ["a", "b"], "fold": 0, "a": [0.25, 1], "b": [0.75, 0]})
        write_predictions(sound, table, ["a", "b"])
    path.write_bytes(mutate_bytes(draw, sound.read_bytes()))
    stored = survive(lambda: read_predictions(path, ["a", "b"]))
    assert stored is None or stored.table[["a", "b"]].to_numpy().tolist() == [[0.25, 0.75], [1, 0]]


def check_folds(draw: Draw, folder: Path) -> None:
    dataset, path = scan("input/tiny"), folder / "tiny.csv"
    if not (folder / "split.csv").exists():
        groups = {image.id: image.id for image in dataset.train}
        write_folds(folder / "split.csv", make_folds(dataset, groups, 3, 42), dataset, 3, 42)
    for suffix in (".csv", ".json"):
        path.with_suffix(suffix).write_bytes((folder / f"split{suffix}").read_bytes())
    if draw(st.booleans()):
        path.write_bytes(mutate_bytes(draw, path.read_bytes()))
    else:
        record = path.with_suffix(".json")
        record.write_bytes(mutate_bytes(draw, record.read_bytes()))
    table = survive(lambda: read_folds(path, dataset))
    if table is not None:
        for text in (None, "0..2", draw(TEXT)):
            survive(lambda text=text: parse_folds(text, table))


def check_sample_file(draw: Draw, folder: Path) -> None:
    dataset = scan("input/tiny")
    csv_path, json_path = dataset.root / "sample_submission.csv", dataset.root / "sample_submission.json"
    original = csv_path.read_bytes()
    rows = [line.split(",") for line in original.decode().split()[1:]]
    try:
        if draw(st.booleans()):
            csv_path.write_bytes(mutate_bytes(draw, original))
        else:
            csv_path.unlink()
            records: Any = [{"id": id, "label": label} for id, label in rows]
            content = mutate(draw, draw(st.sampled_from([records, dict(rows)])))
            json_path.write_bytes(json.dumps(content).encode())
        survive(lambda: check_sample(load_sample(dataset), dataset))
    finally:
        json_path.unlink(missing_ok=True)
        csv_path.write_bytes(original)


LEDGER = (
    ",".join(ledger.COLUMNS)
    + "\nx,2026-11-21T12:57:55+00:00,written,tiny,submissions/x.csv,ab,,accuracy,0.9,0.8,0.95,,,\n"
    + "x,2026-11-21T12:58:55,sent,tiny,submissions/x.csv,ab,a note,accuracy,,,,,,\n"
    + "x,2026-11-21T12:59:55+02:00,scored,tiny,submissions/x.csv,ab,,accuracy,,,,0.91,0.9,3\n"
)


def check_ledger(draw: Draw, folder: Path) -> None:
    path = folder / "ledger.csv"
    path.write_bytes(mutate_bytes(draw, LEDGER.encode()))
    events = survive(lambda: ledger.read(path))
    for entry in ledger.latest_entries(events or ()).values():
        assert entry.id


ROW = HistoryRow(1, 6, 0.1, 1.25, 0.75, 0.5, 2.5, 100.0, 0.5, 0.25).to_dict()
RESULT = {"row": ROW, "probabilities": torch.rand(4, 2), "weights": {"w": torch.rand(3)}}
RESUME = {
    "fit": {
        "model": {"w": torch.ones(3)},
        "optimizer": {"state": {0: {"step": torch.tensor(6.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "scaler": {"scale": 1.0},
        "ema": {"w": torch.ones(3)},
        "step": 6,
        "updates": 6,
        "history": [ROW],
        "loss_sum": 0.5,
        "images": 8,
        "seconds": 1.5,
    },
    "best": RESULT,
    "last": RESULT,
}
WEIGHTS = {
    "recipe": ModelSpec("m", {}, ("a", "b"), (0.5,) * 3, (0.2,) * 3, 24, "squash", None, "fp32").to_dict(),
    "run": "x",
    "fold": 0,
    "epoch": 2,
    "state_dict": {"w": torch.ones(3)},
}
TENSORS = st.sampled_from(
    [
        torch.ones(2),
        torch.ones(2, 2),
        torch.ones(1, dtype=torch.int64),
        torch.ones(2, device="meta"),
        torch.tensor(True),
    ]
)


def check_checkpoint(draw: Draw, folder: Path) -> None:
    path = folder / "a.pt"
    read, content = draw(
        st.sampled_from([(FoldCheckpoint.read, RESUME), (lambda path: read_weights(path, None), WEIGHTS)])
    )
    save_checkpoint(path, content)
    assert read(path)
    if draw(st.booleans()):
        changed = mutate(draw, content, JSON | TENSORS)
        assume(isinstance(changed, dict))
        torch.save({"kit": "comp", "schema": 1, **changed}, path)
    else:
        path.write_bytes(mutate_bytes(draw, path.read_bytes()))
    survive(lambda: read(path))


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}
del CHECKS["sample"]  # the function of the kit


@pytest.mark.parametrize("examples", [25, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", CHECKS)
def test_reading_any_content_gives_a_value_or_a_user_error(kind, examples, workspace):
    folder = workspace / "fuzz"
    folder.mkdir()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        CHECKS[kind](data.draw, folder)

    check()


def test_record_types_are_all_found():
    names = {record.__name__ for record in RECORDS}
    assert {"RunRecord", "HistoryRow", "BundleRecord", "ModelSpec", "LatencyRecord"} <= names and len(names) > 25
