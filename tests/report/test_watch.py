from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from comp.report.source import find_source
from comp.report.watch import ReportServer
from tests.report.stored_runs import write_history, write_run


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[ReportServer]:
    monkeypatch.chdir(tmp_path)
    write_run("x", "single", folds=0)
    with ReportServer(lambda: find_source(["x"], device=None)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: ReportServer, path: str = "", host: str | None = None) -> str:
    request = urllib.request.Request(server.url + path, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_watch_page_is_another_after_an_epoch(server):
    page, version = get(server), get(server, "version")
    assert f'data-version="{version}"' in page and "connect-src 'self'" in page
    write_history(Path("runs/x/fold0/history.csv"), epochs=4)
    newer = get(server, "version")
    assert newer != version and f'data-version="{newer}"' in get(server)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1"])
def test_watch_refuses_another_host(server, host):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(server, host=host)


def test_watch_serves_this_machine_alone_and_no_file(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(server, "run.json")
