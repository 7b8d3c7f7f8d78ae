"""Nothing that axe-core finds fault with on the pages: every part, light and dark, on a screen and on a phone."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe

from batch.cli.main import main
from batch.cli.progress import Silent
from batch.store import events
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.fake_session import Fault
from tests.helpers import fake_run, happen
from tests.report.pages import BROWSER, until

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

SIZES = {"screen": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}

PARTS = ("pictures", "failures", "costs", "happened")

HOSTILE = '<b>"a"</b> & \u202e' + "word " * 60

JOB = f"""\
name: night
grid: {{model: demo, prompt: [a fox, {json.dumps(HOSTILE)}], seed: 1..3, steps: 2, size: [512x512, 672x384]}}
run: {{min_free_disk: 1MB, retries: 1}}
"""

FAULTS = (
    Fault("error", stage="decode", seed=3),
    Fault("oom-torch", stage="denoise", seed=2, prompt="a fox"),
    Fault("nan", stage="decode", seed=1, prompt="a fox"),
)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A run in which much went wrong, and another in which nothing did."""
    root = tmp_path_factory.mktemp("axe")
    (root / "job.yaml").write_text(JOB, encoding="utf-8")
    fake_run(root / "job.yaml", *FAULTS, seen=Silent(), out=root / "bad", engine="local")
    folder = RunFolder(root / "bad", "me-1")
    log, task = EventLog(folder), folder.tasks()[0]
    log.write(happen("the worker died", "worker-died", task=task.id, data={"log": "line\n" * 60}))
    for number in range(20):
        log.write(happen(f"out of memory, number {number}", "out-of-memory", task=task.id))
    fake_run(root / "job.yaml", seen=Silent(), out=root / "good", engine="local")
    fake_run(root / "job.yaml", *FAULTS, seen=Silent(), out=root / "bad", engine="local")
    assert (folder.state / events.FILE).is_file()
    return root


READERS = [("screen", "light"), ("phone", "dark")]
"""No colour depends on the size, and no size on the colours."""


@pytest.fixture(params=READERS, ids="-".join)
def opened(browser, request):
    """Opens a page as it is shown to one reader; says what it has said that is wrong."""
    size, scheme = request.param
    context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.said = []
    page.on("pageerror", lambda error: page.said.append(str(error)))
    yield page
    assert page.said == []
    context.close()


def faults(page) -> list[str]:
    """Above minor, with the elements; and whatever makes the page wider than its window."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    said = [
        f"{item['impact']} {item['id']}: {[node['html'][:200] for node in item['nodes'][:3]]}"
        for item in found
        if item["impact"] != "minor"
    ]
    return [*said, *([f"{wide} pixels wider than the window"] if wide > 0 else [])]


@pytest.mark.parametrize("run", ["bad", "good"])
def test_every_part_of_the_page(night, opened, run):
    found = {}
    for part in PARTS:
        opened.goto(f"{(night / run / 'report.html').as_uri()}#part={part}")
        if opened.is_hidden(f"#{part}"):  # nothing failed
            continue
        for summary in opened.locator(f"#{part} summary:visible").all():
            summary.click()
        found[part] = faults(opened)
    assert {part: said for part, said in found.items() if said} == {}
    assert len(found) == len(PARTS) - (run == "good")


def test_what_opens_over_the_page(night, opened):
    """The viewer with one picture, with two, and with what is known of it; the grid; the help: by their keys."""
    opened.goto((night / "good" / "report.html").as_uri())
    found = {}
    for name, keys in {"viewer": "", "details": "i", "pair": "c"}.items():
        if name == "viewer":
            opened.locator(".card a.picture").first.focus()
            opened.keyboard.press("Enter")
            until(opened, "$('viewer').open")
        for key in keys:
            opened.keyboard.press(key)
        found[name] = faults(opened)
    opened.keyboard.press("Escape")
    opened.goto((night / "good" / "report.html").as_uri() + "#show=grid")
    opened.reload()
    found["grid"] = faults(opened)
    opened.keyboard.press("?")
    found["help"] = faults(opened)
    assert {part: said for part, said in found.items() if said} == {}


def test_the_page_of_a_comparison(night, opened):
    if not (night / "both").exists():
        assert main(["compare", str(night / "bad"), str(night / "good"), "--out", str(night / "both")]) == 0
    opened.goto((night / "both" / "compare.html").as_uri())
    assert faults(opened) == []
