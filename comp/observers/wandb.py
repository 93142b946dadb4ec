"""Weights & Biases as a mirror of the run directory: live, by an observer, and later, from the same plain data."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comp.errors import UserError
from comp.files import file_exists, read_json, write_json
from comp.observers.tracked import RunIdentity, TrackedRun
from comp.observers.wandb_media import log_artifact, log_confusion, log_table
from comp.records.base import Fold
from comp.records.checkpoint import HistoryRow

if TYPE_CHECKING:  # commands that train nothing do not wait for torch
    import wandb

    from comp.engine.fit import Step


class WandbSession:
    """A W&B run that is open: a new one, or the one of this identity again, which then continues.

    Each epoch has its own step, and W&B keeps the first value of a step: what is written again is not there twice.
    """

    def __init__(self, identity: RunIdentity, config: Mapping[str, Any], mode: str, system_metrics: bool = False):
        import wandb

        self.identity, self.mode = identity, mode
        identity.directory.mkdir(parents=True, exist_ok=True)
        self.run: wandb.Run = wandb.init(
            project=identity.project,
            group=identity.group,
            job_type=identity.job_type,
            name=identity.name,
            id=identity.id,
            resume="allow",
            mode=mode,  # type: ignore[arg-type]  # config and environment allow only W&B's own modes
            dir=str(identity.directory.resolve()),  # W&B takes a relative one as below that of its service
            config=dict(config),
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_disable_stats=not system_metrics,
                # no paths, host and user names: the config has what matters of the machine
                x_disable_meta=True,
                x_save_requirements=False,
                disable_git=True,
                disable_code=True,
                host="-",
                program=Path(sys.argv[0]).name,
            ),
        )
        self.run.define_metric("*", step_metric="epoch")
        self.first_step = self.run.step

    def log_epoch(self, row: HistoryRow) -> None:
        """Log an epoch, unless an earlier process has."""
        if row.epoch >= self.first_step:
            values = {key: value for key, value in row.to_dict().items() if value is not None}
            self.run.log(values, step=row.epoch, commit=True)
            self.first_step = row.epoch + 1

    def write(self, content: TrackedRun) -> None:
        """Write everything that the W&B run does not have yet."""
        directory = self.identity.directory
        self.run.config.update(dict(content.config), allow_val_change=True)
        for row in content.history:
            self.log_epoch(row)
        step = content.history[-1].epoch + 1 if content.history else 0
        if content.confusion and step >= self.first_step:
            log_confusion(self.run, content.confusion, step, directory)
        self.run.summary.update(dict(content.summary))
        for key, table in content.tables.items():
            log_table(self.run, key, table, directory)
        for artifact in content.used:
            log_artifact(self.run, artifact, used=True)
        for artifact in content.logged:
            log_artifact(self.run, artifact, used=False)

    def close(self, failed: bool) -> None:
        """End the W&B run; online, when everything is sent."""
        self.run.finish(exit_code=int(failed))
        if self.mode == "online":
            shutil.rmtree(self.identity.directory / "artifacts", ignore_errors=True)


def write_run(content: TrackedRun, mode: str) -> bool:
    """Write a W&B run; return whether it was necessary: the same content is written once."""
    if is_written(content, mode):
        return False
    session = WandbSession(content.identity, content.config, mode)
    try:
        session.write(content)
    except BaseException:
        session.close(failed=True)
        raise
    session.close(content.failed)
    mark_written(content, mode)
    return True


def is_written(content: TrackedRun, mode: str) -> bool:
    """Return whether exactly this content was written before: online, or offline if that is the mode."""
    file = _marker(content.identity)
    try:
        written = read_json(file) if file_exists(file) else None
    except UserError:  # damaged: it is written again
        return False
    return isinstance(written, dict) and written.get(content.identity.id) in (
        [content.fingerprint(), "online"],
        [content.fingerprint(), mode],
    )


def mark_written(content: TrackedRun, mode: str) -> None:
    """Record that this content was written."""
    write_json(_marker(content.identity), {content.identity.id: [content.fingerprint(), mode]})


def _marker(identity: RunIdentity) -> Path:
    return identity.directory / f"written-{identity.id}.json"


class WandbObserver:
    """The W&B run of a fold, while it is trained. When W&B fails, training continues after one warning.

    `describe` returns the content of the finished fold, from its files.
    """

    def __init__(self, identity: RunIdentity, config: Mapping[str, Any], mode: str, describe: Callable[[], TrackedRun]):
        self.mode, self.describe = mode, describe
        self.session: WandbSession | None = None
        self._try(lambda: self._start(identity, config))

    def _start(self, identity: RunIdentity, config: Mapping[str, Any]) -> None:
        self.session = WandbSession(identity, config, self.mode, system_metrics=True)

    def log_step(self, event: Step, images: int) -> None:
        """Ignore steps: W&B gets the rows of history.csv."""

    def log_epoch(self, fold: Fold, row: HistoryRow) -> None:
        """Log the row that history.csv gets."""
        if session := self.session:
            self._try(lambda: session.log_epoch(row))

    def log_end(self) -> None:
        """Write what `comp track sync` would, and end the W&B run."""
        if session := self.session:
            self._try(lambda: self._finish(session))

    def close(self) -> None:
        """End the W&B run, on the way out of an error as a crashed one."""
        failed = sys.exc_info()[0] is not None
        if session := self.session:
            self._try(lambda: session.close(failed))
        self.session = None

    def _finish(self, session: WandbSession) -> None:
        content = self.describe()
        session.write(content)
        session.close(content.failed)
        mark_written(content, self.mode)
        self.session = None

    def _try(self, action: Callable[[], object]) -> None:
        if not try_wandb(action, "is off for this fold"):
            self.session = None


def try_wandb(action: Callable[[], object], consequence: str) -> bool:
    """Return whether an action succeeds; print a warning if it does not. W&B must never end a training."""
    try:
        action()
    except Exception as error:  # of any kind
        text = " ".join(str(error).split())[:200]
        print(f"warning: W&B failed and {consequence}: {type(error).__name__}: {text}", file=sys.stderr)
        return False
    return True
