"""A fold's files on another machine are written at home too, in an order that a kill may cut anywhere."""

from __future__ import annotations

import pickle
from pathlib import Path

from comp.launch.away import HomeConnection
from comp.launch.fold_mirror import FoldMirror, apply_changes
from comp.launch.home import Home


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def contents(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_fold_mirror_sends_each_change_once_in_order_and_removals_last(tmp_path, monkeypatch):
    away, home = tmp_path / "away", tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    mirror, fold = FoldMirror(away, Path("runs/x/fold0")), away / "runs/x/fold0"
    assert mirror.changes() == []
    for name in ("weights.pt", "snapshots/epoch1.pt", "resume.pt", "fold.json", ".lock", ".fold.json.7.tmp"):
        write(fold / name, f"first {name}")
    changes = mirror.changes()
    names = ["weights.pt", "epoch1.pt", "resume.pt", "fold.json"]
    assert [path.name for path, _ in changes] == names and mirror.changes() == []
    apply_changes(changes)
    write(fold / "fold.json", "second, and longer")
    (fold / "resume.pt").unlink()
    changes = mirror.changes()
    assert changes == [(Path("runs/x/fold0/fold.json"), b"second, and longer"), (Path("runs/x/fold0/resume.pt"), None)]
    apply_changes(changes)
    files = {name: text for name, text in contents(fold).items() if not name.startswith(".")}
    assert contents(home / "runs/x/fold0") == files


def test_home_connection_sends_files_and_lines_and_learns_to_stop(tmp_path, monkeypatch):
    away = tmp_path / "away"
    write(tmp_path / "runs/x/run.json", "{}")
    write(tmp_path / "runs/x/config.yaml", "name: x")
    write(tmp_path / "runs/x/fold1/resume.pt", "at home")
    monkeypatch.chdir(tmp_path)
    home = Home(str(tmp_path))
    connection = HomeConnection(1, lambda method, *arguments: getattr(home, method)(*arguments))
    assert not connection.poll()
    assert {str(path) for path, _ in home.read_fold(Path("runs/x"), 1)} == {
        *("runs/x/run.json", "runs/x/config.yaml", "runs/x/fold1/resume.pt")
    }
    connection.follow(FoldMirror(away, Path("runs/x/fold1")))
    write(away / "runs/x/fold1/resume.pt", "newer")
    home.stop([1])
    connection.send(("line", "stdout", "epoch 1"))
    assert Path("runs/x/fold1/resume.pt").read_text() == "at home"
    connection.send(("end", None))
    assert Path("runs/x/fold1/resume.pt").read_text() == "newer"
    messages = [(fold, pickle.loads(message)) for fold, message in home.take_messages()]
    assert messages == [(1, ("line", "stdout", "epoch 1")), (1, ("end", None))]
    assert home.take_messages() == []
    connection.exchanged_at = 0.0
    assert connection.poll()
