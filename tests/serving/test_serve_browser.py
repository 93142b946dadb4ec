"""The local page in a real browser: what a person reads after dropping good, damaged and hostile files."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from comp.serving.model import open_model
from comp.serving.page import open_page
from comp.serving.server import PageServer
from tests.serving.browser import Browser, open_browser
from tests.serving.uploads import FILES, LARGE, TOO_LARGE, encode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium"),
]
# What a person sees of each card: its title, the refusal, the answer, and its pictures that could be drawn.
CARDS = """
return [...document.querySelectorAll("article")].map((card) => ({
  name: card.querySelector("h2").innerText,
  refusal: card.querySelector(".refusal")?.innerText ?? null,
  answer: card.querySelector(".answer")?.innerText ?? null,
  confidence: card.querySelector(".confidence")?.innerText ?? null,
  captions: [...card.querySelectorAll(".pictures figcaption")].map((caption) => caption.innerText),
  nearest: card.querySelectorAll(".nearest img").length,
  drawn: [...card.querySelectorAll("img")].every((image) => image.naturalWidth > 0),
  warning: card.querySelector(".warning")?.innerText ?? null,
}));
"""


@pytest.fixture
def page(workspace) -> Iterator[tuple[Browser, PageServer]]:
    with PageServer(lambda: open_page(open_model("anna", device="cpu"), "torch", "cpu")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with open_browser() as browser:
                browser.open(server.url)
                browser.wait("return document.getElementById('name').innerText === 'anna'")
                yield browser, server
        finally:
            server.shutdown()
            thread.join()


def upload(browser: Browser, files: dict[str, bytes]) -> dict[str, dict]:
    """Choose files on the page, wait for their answers, and return the cards by title."""
    Path("uploads").mkdir(exist_ok=True)
    for name, content in files.items():
        (Path("uploads") / name).write_bytes(content)
    browser.upload("#choose", [Path("uploads").resolve() / name for name in files])
    browser.wait("return document.body.dataset.state === 'done'")
    return {card["name"]: card for card in browser.run(CARDS)}


def test_page_in_a_browser_answers_ten_files_of_every_kind(page):
    browser, server = page
    files = {name: content for name, (content, _) in FILES.items() if name != "good.webp"} | {"huge.jpg": LARGE}
    assert len(files) == 10
    cards = upload(browser, files)
    assert list(cards) == list(files)
    for name, card in cards.items():
        sentence = TOO_LARGE if name == "huge.jpg" else FILES[name][1]
        assert card["refusal"] == sentence, name
        if sentence is None:
            assert card["answer"] in server.page.model.task.columns and "confidence" in card["confidence"]
            assert card["captions"] == ["the image", f"bright: where “{card['answer']}” comes from"]
            assert card["nearest"] == 4 and card["drawn"]
            assert card["warning"].startswith("Unlike the training data in colour and contrast")
    assert browser.run("return document.title") == "anna: predict"  # no file ran a script
    assert "percentiles" in browser.run("return document.body.innerText")
    assert not [message for message in browser.log() if "status of 422" not in message]  # nothing was blocked


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_page_in_a_browser_takes_ten_at_a_time_and_fits_its_width(width, scheme, page):
    browser, _ = page
    browser.screen(width, 900, scheme)
    cards = upload(browser, {f"{number}.png": encode("PNG", 40 + number) for number in range(12)})
    assert list(cards) == [f"{number}.png" for number in range(10)]
    message = "The first 10 of 12 files are answered; drop the other 2 next."
    assert browser.run("return document.getElementById('message').innerText") == message
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 28)")
