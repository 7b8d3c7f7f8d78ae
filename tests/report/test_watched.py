"""The page of a run that goes on, watched in a real browser: pictures come, and nothing that one does is lost."""

import threading
import time
from pathlib import Path

import pytest

from batch.cli.progress import Silent
from batch.run import growing
from tests.fake_session import Fault
from tests.helpers import fake_run
from tests.report.pages import BROWSER, embedded

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

HOSTILE = "</script><script>alert(1)</script> & <b>bold</b>"

FORTY = f"""\
name: night
grid: {{model: demo, prompt: [a fox, "{HOSTILE}", a whale, an owl, a pond], seed: 1..8, steps: 20, size: 512x512}}
run: {{min_free_disk: 1MB, retries: 1}}
"""

FAULTS = (Fault("slow", seconds=0.12), Fault("error", stage="decode", seed=3, prompt="a whale"))


@pytest.fixture
def watching(monkeypatch):
    """Reports as often as can be."""
    monkeypatch.setattr(growing, "SOON_S", 0.2)
    monkeypatch.setattr(growing, "EVERY_S", 0.5)
    monkeypatch.setattr(growing, "SHARE", 2)


@pytest.fixture
def page():
    """A page of Chromium, with what its console said and what it asked for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        made = browser.new_page(viewport={"width": 1200, "height": 800})
        made.said, made.asked = [], []
        made.on("console", lambda message: made.said.append(message.text))
        made.on("pageerror", lambda error: made.said.append(str(error)))
        made.on("request", lambda request: made.asked.append(request.url))
        yield made
        browser.close()


def started(path: Path, folder: Path, *faults, stop=None) -> threading.Thread:
    """A run in the background, with its page there."""
    run = threading.Thread(
        target=fake_run, args=(path, *faults), kwargs={"seen": Silent(), "out": folder, "stop": stop}
    )
    run.start()
    while not (folder / "report.html").exists():
        assert run.is_alive()
        time.sleep(0.02)
    return run


def until(page, expression, seconds=20):
    """Playwright's own way would need a page that lets it run texts as scripts."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, (expression, page.inner_text("body")[:1000], page.said)
        page.wait_for_timeout(50)


def test_forty_images_are_watched(manifest, work, watching, page):
    run = started(manifest(FORTY), work / "run", *FAULTS)
    page.goto((work / "run" / "report.html").as_uri())
    until(page, "document.querySelectorAll('.card.done').length >= 3")
    assert page.inner_text("#state") == "Rendering"
    page.select_option("#filters select[aria-label='Filter by status']", "done")
    page.fill("#text", "seed")
    seen = page.evaluate("document.querySelectorAll('.card').length")
    until(page, f"document.querySelectorAll('.card.done').length >= {seen} + 8")
    assert page.input_value("#text") == "seed"
    assert page.evaluate("selects.status.value") == "done"
    assert page.evaluate("document.activeElement.id") == "text"
    page.evaluate("document.querySelector('.card.done .picture').scrollIntoView({block: 'center'})")
    page.evaluate("window.first = document.querySelector('.card.done')")
    before = page.evaluate("[generation, first.getBoundingClientRect().top, scrollY]")
    assert before[2] > 0
    until(page, f"generation > {before[0]}")
    until(page, "run.state === 'ended'")
    assert abs(page.evaluate("first.getBoundingClientRect().top") - before[1]) < 2
    run.join()
    assert page.inner_text("#state") == "The run is over"
    page.evaluate("scrollTo(0, 0)")
    page.fill("#text", "")
    page.select_option("#filters select[aria-label='Filter by status']", "")
    assert page.evaluate("document.querySelectorAll('.card.done').length") == 39
    assert "a fault was asked for" in page.inner_text("#failures")
    assert page.inner_text("#done") == "39 of 40 done"
    _, data = embedded((work / "run" / "report.html").read_text(encoding="utf-8"))
    assert page.evaluate("data.summary") == data["summary"]
    assert [image["id"] for image in page.evaluate("data.images")] == [image["id"] for image in data["images"]]
    assert page.said == []
    assert {url.split("/")[0] for url in page.asked} == {"file:"}
    assert HOSTILE in page.inner_text("#gallery")
    count = len(page.asked)
    page.wait_for_timeout(2_500)
    assert len(page.asked) == count  # it stands still
