"""The team's saved view of a W&B project; the only file that imports wandb_workspaces."""

from __future__ import annotations

import hashlib
import importlib.util
from typing import Any

from comp.errors import UserError, shorten

NAME = "comp: out of fold, training, mistakes, submissions"
COLUMNS = ("group", "jobType", "summary:oof", "summary:oof_low", "summary:oof_high", "summary:cv", "summary:public")


def check_workspaces() -> None:
    """Raise a UserError unless the library of saved views is installed."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("track dashboard needs wandb-workspaces; install it with pip install -e '.[team]'")


def save_view(project: str) -> str:
    """Create the view of a project, or update it, and return its address. The whole team has one and the same."""
    import wandb
    import wandb_workspaces.workspaces as ws

    entity = wandb.Api().default_entity
    if not entity:
        raise UserError("W&B names no team for this login; set WANDB_ENTITY to your user or team")
    key = hashlib.sha256(f"comp {project}".encode()).hexdigest()[:11]
    view: Any = ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=make_sections(),
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=50),
        runset_settings=ws.RunsetSettings(pinned_columns=list(COLUMNS)),
    )
    view._internal_name = f"nw-{key}-v"  # the library draws a name: each call would add a view
    try:
        view._internal_id = _find_view_id(entity, project, key)
        return str(view.save().url)
    except Exception as error:  # of any kind: the service has many
        raise UserError(
            f"W&B did not save the view of {entity}/{project}: {shorten(' '.join(str(error).split()), 200)}; fill "
            f"the project first with python -m comp track sync, and check that your plan has saved views"
        ) from None


def _find_view_id(entity: str, project: str, key: str) -> str:
    """Return the id of the view that was saved before; empty if there is none."""
    import wandb_workspaces.workspaces as ws

    try:
        view: Any = ws.Workspace.from_url(f"https://wandb.ai/{entity}/{project}?nw={key}")
    except ValueError:  # there is none
        return ""
    return str(view._internal_id)


def make_sections() -> list[Any]:
    """Return the sections of the view, with the keys that `comp.track` writes."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    confusion = wr.CustomChart(
        query={"summaryTable": {"tableKey": "confusion_table"}},
        chart_name="wandb/confusion_matrix/v1",
        chart_fields={"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
    )
    return [
        ws.Section(
            name="Out of fold",
            is_open=True,
            panels=[
                wr.BarPlot(title="OOF score", metrics=["oof"]),
                wr.ScatterPlot(title="OOF score by parameters", x="parameters", y="oof", log_x=True),
                wr.ScatterPlot(title="OOF score by training time (s)", x="seconds", y="oof", log_x=True),
                wr.RunComparer(diff_only=True),
            ],
        ),
        ws.Section(
            name="Training",
            is_open=True,
            panels=[
                wr.LinePlot(title=title, x="epoch", y=list(keys))
                for title, keys in (
                    ("Validation score", ["val_score"]),
                    ("Loss", ["train_loss", "val_loss"]),
                    ("Learning rate", ["lr"]),
                    ("Images per second", ["images_per_second"]),
                )
            ],
        ),
        ws.Section(
            name="Mistakes",
            is_open=True,
            panels=[
                confusion,
                wr.WeavePanelSummaryTable(table_name="per_class"),
                wr.WeavePanelSummaryTable(table_name="mistakes"),
            ],
        ),
        ws.Section(
            name="Submissions",
            panels=[
                wr.ScatterPlot(title="Public score by CV", x="cv", y="public"),
                wr.BarPlot(title="Public score", metrics=["public"]),
            ],
        ),
    ]
