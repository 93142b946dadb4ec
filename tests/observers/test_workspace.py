"""The team's view of W&B, with a stand-in for the library that saves it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from comp.errors import UserError
from comp.observers.workspace import check_workspaces, save_view
from comp.tables import HISTORY_COLUMNS

SUMMARY_KEYS = {"oof", "parameters", "seconds", "cv", "public"}


class Record(SimpleNamespace):
    """An object of the library: its arguments."""


class Workspace(Record):
    saved: dict = {}  # noqa: RUF012  address -> id and number of saves

    @classmethod
    def from_url(cls, url: str):
        if url not in cls.saved:
            raise ValueError("Workspace not found")
        return Record(_internal_id=cls.saved[url]["id"])

    def save(self):
        name = self._internal_name.removeprefix("nw-").removesuffix("-v")
        self.url = f"https://wandb.ai/{self.entity}/{self.project}?nw={name}"
        if self._internal_id:
            assert self._internal_id == self.saved[self.url]["id"]
        else:
            assert self.url not in self.saved, "a second view of the same name"
            self.saved[self.url] = {"id": f"id{len(self.saved)}", "saves": 0}
        self.saved[self.url] |= {"saves": self.saved[self.url]["saves"] + 1, "view": self}
        return self


@pytest.fixture
def library(monkeypatch):
    """The stand-in, in the place of wandb and wandb_workspaces."""
    Workspace.saved = {}
    package = ModuleType("wandb_workspaces")
    package.__spec__ = SimpleNamespace()
    package.workspaces = SimpleNamespace(
        Workspace=Workspace, Section=Record, WorkspaceSettings=Record, RunsetSettings=Record
    )
    panels = ("BarPlot", "ScatterPlot", "LinePlot", "RunComparer", "CustomChart", "WeavePanelSummaryTable")
    reports = SimpleNamespace(v2=SimpleNamespace(**dict.fromkeys(panels, Record)))
    package.reports = reports
    for name, module in (("", package), (".workspaces", package.workspaces), (".reports", reports)):
        monkeypatch.setitem(sys.modules, f"wandb_workspaces{name}", module)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", reports.v2)
    client = SimpleNamespace(Api=lambda: SimpleNamespace(default_entity="team"))
    monkeypatch.setitem(sys.modules, "wandb", client)
    return client


def test_dashboard_second_call_updates_the_view_that_the_first_has_made(library):
    assert save_view("cells") == save_view("cells") != save_view("others")
    assert sorted(view["saves"] for view in Workspace.saved.values()) == [1, 2]


def test_dashboard_panels_show_keys_that_runs_have(library):
    view = Workspace.saved[save_view("cells")]["view"]
    panels = [panel for section in view.sections for panel in section.panels]
    x_axes = {panel.x for panel in panels if hasattr(panel, "x")}
    metrics = {key for panel in panels for key in getattr(panel, "metrics", ())}
    curves = {key for panel in panels if isinstance(getattr(panel, "y", None), list) for key in panel.y}
    assert curves <= set(HISTORY_COLUMNS) and "val_score" in curves
    assert metrics | x_axes <= SUMMARY_KEYS | {"epoch"} and "oof" in metrics
    assert {panel.table_name for panel in panels if hasattr(panel, "table_name")} == {"per_class", "mistakes"}


def test_dashboard_failure_of_the_service_is_one_error(library, monkeypatch):
    def refuse(self):
        raise RuntimeError("not in your plan")

    monkeypatch.setattr(Workspace, "save", refuse)
    with pytest.raises(UserError, match=r"W&B did not save the view of team/cells: not in your plan; fill the project"):
        save_view("cells")
    monkeypatch.setattr(library, "Api", lambda: SimpleNamespace(default_entity=None))
    with pytest.raises(UserError, match="set WANDB_ENTITY"):
        save_view("cells")


def test_dashboard_without_library_says_what_to_install(monkeypatch, run_cli):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError):
        check_workspaces()
    status, out, err = run_cli("comp", "track", "dashboard")
    assert (status, out, err) == (
        2,
        "",
        "error: track dashboard needs wandb-workspaces; install it with pip install -e '.[team]'\n",
    )
