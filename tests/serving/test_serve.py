"""python -m comp serve: the answers of predict, refusals in one sentence, and requests of this machine's page alone."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from comp.data.images import read_image
from comp.serving.model import open_model
from comp.serving.page import open_page
from comp.serving.server import PageServer
from tests.serving.load import memory_mb, send_at_rate
from tests.serving.uploads import FILES, LARGE, TOO_LARGE, encode

IMAGE = "input/tiny/train"


@pytest.fixture(scope="module")
def directory(served, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page")
    shutil.copytree(served, path, dirs_exist_ok=True)
    return path


@pytest.fixture(scope="module")
def server(directory) -> Iterator[PageServer]:
    """The page of a run, explained, in the directory of the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        with PageServer(lambda: open_page(open_model("anna", device="cpu"), "torch", "cpu")) as running:
            thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield running
            running.shutdown()
            thread.join()


def send(server: PageServer, method: str, path: str, body: bytes | None = None, **headers: str):
    """Return the status, the headers and the content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def post(server: PageServer, path: str, content: bytes, **headers: str) -> tuple[int, dict]:
    headers = {"Content_Type": "application/octet-stream", **headers}
    status, _, answer = send(server, "POST", path, content, **headers)
    return status, json.loads(answer)


def test_serve_answers_as_predict_does(server):
    path = sorted(Path(IMAGE).rglob("*.jpg"))[0]
    status, answer = post(server, "/answer", path.read_bytes())
    expected = server.page.model.predict([read_image(path)])[0]
    assert status == 200 and answer["answer"] == server.page.model.task.columns[expected.argmax()]
    shown = [value for _, value in answer["bars"]]
    assert len(shown) > 1 and shown == sorted(expected.tolist(), reverse=True)[: len(shown)]


def test_serve_finds_a_training_image_again_and_draws_its_heat_map(server):
    for path in sorted(Path(IMAGE).rglob("*.jpg"))[:3]:
        status, explanation = post(server, "/explanation?column=1", path.read_bytes())
        nearest = explanation["nearest"]
        assert status == 200 and explanation["heat"].startswith("data:image/jpeg;base64,")
        assert len(nearest) == 4 and (nearest[0]["id"], nearest[0]["label"]) == (path.name, path.parent.name)


def test_serve_warns_of_images_unlike_the_training_data(server):
    usual = [path.read_bytes() for path in sorted(Path(IMAGE).rglob("*.jpg"))]
    black = io.BytesIO()
    Image.new("RGB", (50, 50)).save(black, "PNG")
    warned = [bool(post(server, "/explanation?column=0", content)[1]["unlike"]) for content in usual[:12]]
    for strange in (encode("PNG"), black.getvalue()):
        assert post(server, "/explanation?column=0", strange)[1]["unlike"] == "colour and contrast"
    assert sum(warned) <= 1


def test_serve_warns_by_the_features_of_the_model_too(server):
    training, pixels = server.page.training, read_image(sorted(Path(IMAGE).rglob("*.jpg"))[0])
    near = replace(training, features=replace(training.features, own=training.features.own * 0))
    assert (training.nearest(pixels).unlike, near.nearest(pixels).unlike) == ("", "what the model sees")


@pytest.mark.parametrize("name", FILES)
def test_serve_refuses_with_one_sentence(server, name):
    content, sentence = FILES[name]
    status, answer = post(server, "/answer", content)
    assert (status, answer.get("error")) == ((200, None) if sentence is None else (422, sentence))
    if sentence is None:  # shown as it was encoded here
        assert answer["picture"].startswith("data:image/jpeg;base64,")
        assert ("percentile" in answer["rule"]) == name.startswith("16-bit")


def test_serve_does_not_read_a_file_that_is_too_large(server):
    with socket.create_connection(("127.0.0.1", server.server_port), 30) as connection:
        lines = [
            "POST /answer HTTP/1.1",
            f"Host: 127.0.0.1:{server.server_port}",
            "Content-Type: application/octet-stream",
            f"Content-Length: {len(LARGE)}",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()  # until the server closes it
    assert answer.startswith("HTTP/1.1 413") and TOO_LARGE in answer


def test_serve_answers_twenty_at_once_without_losing_one(server):
    content, statuses = encode("JPEG"), []
    threads = [threading.Thread(target=lambda: statuses.append(post(server, "/answer", content)[0])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "multipart/form-data"},
    ],
)
def test_serve_refuses_what_another_site_can_send(server, headers):
    headers = {"Content_Type": "application/octet-stream", **headers}
    assert send(server, "POST", "/answer", encode("PNG"), **headers)[0] == 403


def test_serve_page_is_of_this_machine_and_loads_nothing_else(server):
    assert server.server_address[0] == "127.0.0.1"
    for path in ("/", "/page.js", "/page.css"):
        status, headers, content = send(server, "GET", path)
        assert status == 200 and b"http" not in content
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert send(server, "GET", "/", Host="evil.example")[0] == 403
    for path in ("/../../run.json", "/run.json", "/static/page.html"):
        assert send(server, "GET", path)[0] == 404
    for path in ("/explanation", "/explanation?column=8", "/explanation?column=-1", "/other"):
        assert send(server, "POST", path, b"", Content_Type="application/octet-stream")[0] == 404


def test_serve_leaves_out_what_cannot_be_had_with_a_line(workspace, monkeypatch):
    model = open_model("submissions/anna.csv", device="cpu")
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    shutil.rmtree("input")
    [heat, nearest] = open_page(model, "torch", "cpu").notes
    assert heat.startswith("No heat maps: ") and "pip install" in heat
    assert nearest.startswith("No nearest training images: ")


def test_serve_by_onnx_needs_no_torch_and_says_what_is_left_out(workspace):
    page = open_page(open_model("anna", "onnx"), "onnx", "cpu")
    assert page.notes == ("Heat maps and nearest training images need torch, not onnx.",)
    assert page.answer(encode("JPEG"))["answer"] and page.describe()["is_explained"] is False


def test_serve_mistakes_are_one_line(workspace, run_cli):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, out, err = run_cli("comp", "serve", "anna", "--port", str(port))
    assert (status, out) == (2, "") and err == f"error: port {port} cannot be used; set another one with --port\n"
    status, out, err = run_cli("comp", "serve", "ana", "--port", "0")
    assert (status, out) == (2, "") and err.startswith("error: there is no run ana; did you mean anna?")


def test_predict_cam_writes_a_picture_per_image(workspace, run_cli):
    images = sorted(Path("input/tiny/test").iterdir())[:2]
    Path("again").mkdir()
    shutil.copy(images[1], f"again/{images[0].name}")
    arguments = [*map(str, images), "again", "--run", "both", "--device", "cpu", "--cam", "maps"]
    status, out, err = run_cli("comp", "predict", *arguments)
    assert (status, err) == (0, "") and "wrote 3 heat maps into maps" in out
    names = [f"{images[0].stem}.cam.jpg", f"{images[1].stem}.cam.jpg", f"{images[0].stem}-2.cam.jpg"]
    assert {path.name for path in Path("maps").iterdir()} == set(names)
    [first, second, third] = [read_image(Path("maps") / name) for name in names]
    assert first.shape == (256, 256, 3) and (second == third).all() and (first != third).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runtime", "onnx"], "error: --cam does not work with --runtime onnx; remove one of them"),
        (["--watch", "--csv", "a.csv"], "error: --cam does not work with --watch; remove one of them"),
        ([], "error: import of captum.attr halted; None in sys.modules; pip install -e '.[report]'"),
    ],
)
def test_predict_cam_mistakes_are_one_line(arguments, message, workspace, run_cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    status, out, err = run_cli(
        "comp", "predict", "input/tiny/test", "--run", "anna", "--device", "cpu", "--cam", "maps", *arguments
    )
    assert (status, out, err) == (2, "", f"{message}\n") and not Path("maps").exists()


@pytest.mark.slow
def test_serve_keeps_its_memory_and_loses_no_request(server):
    contents = [path.read_bytes() for path in Path(IMAGE).rglob("*.jpg")]
    send_at_rate(server.server_port, contents, 40)
    before = memory_mb(os.getpid())
    seconds, lost = send_at_rate(server.server_port, contents, 400)
    assert (len(seconds), lost) == (400, [])
    assert memory_mb(os.getpid()) - before < 20
