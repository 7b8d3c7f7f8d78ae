"""A run rendered with four memory settings, and the same run on two cards."""

import shutil

import pytest

from batch.cli.main import main
from batch.store.folder import RunFolder
from tests.report.pages import BROWSER
from tests.report.two_cards import A100, A100_COSTS, MANIFEST, RTX, RTX_COSTS, on_card, repainted


def pytest_collection_modifyitems(items):
    """A module's pages are looked at in one process, which starts a Chromium and makes them once."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "job.yaml").write_text(MANIFEST, encoding="utf-8")
    assert main(["run", str(folder / "job.yaml"), "--out", str(folder / "run"), "--quiet"]) == 0
    for task in RunFolder(folder / "run").tasks():  # a part with edges of tiles is enough, and quicker
        repainted(folder / "run", task, lambda array: array[160:352, 160:352])
    return folder / "run"


@pytest.fixture
def cards(rendered, work):
    """The same run on two cards."""
    on_card(shutil.copytree(rendered, work / "rtx"), RTX, RTX_COSTS)
    on_card(shutil.copytree(rendered, work / "a100"), A100, A100_COSTS)
    return work


@pytest.fixture(scope="module")
def browser():
    """A Chromium; a test without one is skipped."""
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page of it, with what its console said and what it asked for."""
    made = browser.new_page(viewport={"width": 1200, "height": 800})
    made.said, made.asked = [], []
    made.on("console", lambda message: made.said.append(message.text))
    made.on("pageerror", lambda error: made.said.append(str(error)))
    made.on("request", lambda request: made.asked.append(request.url))
    yield made
    made.close()
