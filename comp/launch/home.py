"""The home of a run: the machine and directory where its command was started, as other machines see it."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from comp.launch.fold_mirror import Change, apply_changes, read_files
from comp.launch.project_files import Piece
from comp.records.base import Fold


class Home:
    """Serves the files of a project, takes the files of folds as they are made, and keeps messages for the command.

    It runs in a process of its own beside the command, so that a transfer does not stop the bar.
    """

    def __init__(self, directory: str):
        os.chdir(directory)
        self.messages: list[tuple[Fold, bytes]] = []
        self.stopping: set[Fold] = set()

    def read(self, pieces: list[Piece]) -> list[bytes]:
        return [piece.read() for piece in pieces]

    def read_fold(self, run_path: Path, fold: Fold) -> list[Change]:
        """Return the files that a fold's training begins or resumes with: those of its run, and its own."""
        run_files = [run_path / name for name in ("config.yaml", "run.json")]
        return [*((path, path.read_bytes()) for path in run_files), *read_files(run_path / f"fold{fold}")]

    def receive(self, fold: Fold, messages: list[bytes], changes: list[Change]) -> bool:
        """Take messages and changed files of a fold; return whether it is to stop."""
        apply_changes(changes)
        self.messages += [(fold, message) for message in messages]
        return fold in self.stopping

    def take_messages(self) -> list[tuple[Fold, bytes]]:
        """Return the messages since the last call."""
        messages, self.messages = self.messages, []
        return messages

    def stop(self, folds: Collection[Fold]) -> None:
        """Make these folds, and no others, save and stop."""
        self.stopping = set(folds)
