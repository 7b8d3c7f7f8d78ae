"""The page of a run that goes on, watched in a real browser: pictures come, and nothing that one does is lost."""

import json
import re
import shutil
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from batch.base.text import done_about
from batch.cli.progress import Silent
from batch.records.kinds import Stage, Status
from batch.records.live import LiveStatus, RunState, SeatState, SeatStatus
from batch.records.receipts import Outcome
from batch.report.book import Book
from batch.run import growing
from batch.store import live
from batch.store.folder import RunFolder
from batch.store.receipts import Scan
from tests.fake_session import Fault
from tests.helpers import fake_run
from tests.report.pages import BROWSER, embedded, until

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


def four_done(manifest, work, seeds):
    """A run that goes on with four images done: its folder, book and status, and all outcomes."""
    fake_run(manifest(FORTY.replace("1..8", seeds)), seen=Silent(), out=work / "run")
    folder = RunFolder(work / "run")
    scan, tasks = folder.scan(), folder.tasks()
    book = Book(folder, tasks, Scan())
    done = [Outcome(key=task.id, status=Status.DONE, receipt=scan.receipts[task.id]) for task in tasks]
    book.take(done[:4])
    book.write(5.0, last=False)
    now = LiveStatus(
        state=RunState.RENDERING, name="night", pid=1, host="h", began=5.0, updated=time.time(), generation=1
    )
    live.write(folder.state, now, "me")
    return folder, book, now, done


def test_forty_images_are_watched(manifest, work, watching, page):
    run = started(manifest(FORTY), work / "run", *FAULTS)
    page.goto((work / "run" / "report.html").as_uri())
    until(page, "document.querySelectorAll('.card.done').length >= 3")
    assert page.inner_text("#state") == "Rendering"
    assert "done" not in page.inner_text("#verdict")  # the strip counts
    page.fill("#text", "seed status=done")
    seen = page.evaluate("document.querySelectorAll('.card').length")
    until(page, f"document.querySelectorAll('.card.done').length >= {seen} + 8")
    assert page.input_value("#text") == "seed status=done"
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
    until(page, "$('state').textContent === 'The run is over'")
    page.evaluate("scrollTo(0, 0)")
    page.fill("#text", "")
    assert page.evaluate("document.querySelectorAll('.card.done').length") == 39
    assert "a fault was asked for" in page.text_content("#failures")
    assert page.inner_text("#done") == "39 of 40 done"
    assert "39 of 40 done\n1 failed" in page.inner_text("#verdict")
    assert page.inner_text("#tab-failures") == "Failed 1"
    _, data = embedded((work / "run" / "report.html").read_text(encoding="utf-8"))
    assert page.evaluate("data.summary") == data["summary"]
    assert [image["id"] for image in page.evaluate("data.images")] == [image["id"] for image in data["images"]]
    assert page.said == []
    assert {url.split("/")[0] for url in page.asked} == {"file:"}
    assert HOSTILE in page.inner_text("#gallery")
    count = len(page.asked)
    page.wait_for_timeout(2_500)
    assert len(page.asked) == count  # it stands still


def test_each_device_has_a_line(manifest, work, page):
    folder, _, now, _ = four_done(manifest, work, "1..2")
    first = SeatStatus(
        number=0, label="cuda:0", state=SeatState.RENDERING, image="<b>fox", stage=Stage.DENOISE, part=3, parts=20
    )
    second = SeatStatus(number=1, label="node7 cuda:0", state=SeatState.LOADING)
    live.write(folder.state, replace(now, total=10, done=4, seats=(first, second)), "me")
    page.goto((folder.root / "report.html").as_uri())
    until(page, "!$('devices').hidden")
    assert page.inner_text("#doing") == "on 1 of 2 devices"
    page.click("#devices summary")
    lines = "[...$('devices-list').children].map(line => line.innerText.replace(/\\s+/g, ' '))"
    assert page.evaluate(lines) == ["cuda:0 <b>fox denoising 3 of 20", "node7 cuda:0 loading the model"]
    lost = replace(second, state=SeatState.GONE)
    live.write(folder.state, replace(now, updated=time.time() + 1, seats=(replace(first, part=9), lost)), "me")
    until(page, lines + "[0].endsWith('9 of 20')")
    assert page.evaluate(lines)[1] == "node7 cuda:0 lost"
    assert page.evaluate("$('devices').open") and page.inner_text("#doing") == "on 1 of 2 devices, 1 lost"
    live.write(folder.state, replace(now, updated=time.time() + 2, image="fox", stage=Stage.DECODE), "me")
    until(page, "$('devices').hidden")
    assert page.inner_text("#doing") == "decoding · fox"
    assert page.said == []


def test_a_page_says_what_it_hears(manifest, work, page):
    """Paused, stopping, silent, and where nothing is heard: the words of the strip."""
    fake_run(manifest(FORTY.replace("1..8", "1")), seen=Silent(), out=work / "run")
    folder = RunFolder(work / "run")
    Book(folder, folder.tasks(), folder.scan()).write(5.0, last=False)
    now = LiveStatus(
        state=RunState.RENDERING, name="night", pid=1, host="h", began=5.0, updated=time.time(), image="<b>an owl",
        stage=Stage.DENOISE, part=3, parts=20, total=5, done=2, failed=1, per_hour=212.4, generation=1,
        ends_at=time.time() + 60, ends_from="judged by this run's images", image_left_s=42.0,
    )  # fmt: skip
    live.write(folder.state, now, "me")
    page.goto((folder.root / "report.html").as_uri())
    until(page, "!$('live').hidden")
    assert page.inner_text("#doing") == "denoising 3 of 20 · 42s to go · <b>an owl"
    assert page.inner_text("#rate") == "16.9 s/image"
    assert page.inner_text("#until") == ""
    assert page.inner_text("#ends").startswith("done about ")
    for left in (61, 1100, 3700, 20_000, 50_000, 200_000):  # as the terminal says it
        at, guessed = now.updated + left, left % 200 == 0
        told = done_about(left, datetime.fromtimestamp(now.updated).astimezone(), guessed=guessed)
        assert page.evaluate(f"clockAbout({at}, {json.dumps(guessed)})")[-5:] == told[-5:]
    assert page.inner_text("#failed") == "1 failed"
    limit = replace(now, ends_by="--until 04:27", ends_with=4, updated=now.updated + 0.5, done=6)
    live.write(folder.state, limit, "me")
    until(page, "$('ends').textContent.startsWith('stops at ')")
    assert page.inner_text("#ends").endswith(" with about 4 of 5 done")
    assert page.inner_text("#until").startswith("pictures up to ")  # it counts more than the page shows
    paused = replace(
        now, state=RunState.PAUSED, said="paused: from another terminal", updated=now.updated + 1, image="",
        stage=None, rest_s=1800.0, ends_at=None, per_hour=None,
    )  # fmt: skip
    live.write(folder.state, paused, "me")
    until(page, "$('state').textContent === 'Paused'")
    assert page.inner_text("#doing") == "from another terminal"
    assert page.inner_text("#ends") == "about 30m 00s once resumed"
    assert page.inner_text("#rate") == ""
    few = replace(paused, ends_by="--max-images", ends_with=4, resumed_s=35.0, updated=now.updated + 1.5)
    live.write(folder.state, few, "me")
    until(page, "$('ends').textContent.endsWith(' once resumed, stops with 4 of 5 done')")
    clock = replace(paused, ends_by="--until 04:27", ends_at=now.ends_at, updated=now.updated + 2)
    live.write(folder.state, clock, "me")
    until(page, "$('ends').textContent.endsWith(', paused or not')")
    assert page.inner_text("#ends").startswith("stops at ")
    stopping = replace(
        paused, state=RunState.STOPPING, said="stopping: <b>an owl is finished first", updated=now.updated + 2.5,
        image=now.image, stage=now.stage, rest_s=None,
    )  # fmt: skip
    live.write(folder.state, stopping, "me")
    until(page, "$('state').textContent === 'Stopping'")
    assert page.inner_text("#doing") == "<b>an owl is finished first · denoising 3 of 20 · 42s to go"
    page.set_viewport_size({"width": 240, "height": 800})
    assert page.evaluate("$('doing').offsetHeight > 30 && $('doing').scrollWidth <= $('doing').clientWidth")
    page.evaluate("heard -= 60_000")
    until(page, "$('state').textContent.startsWith('No sign of life since ')")
    live.write(folder.state, replace(now, updated=now.updated + 90), "me")
    until(page, "$('state').textContent === 'Rendering'", seconds=30)
    assert page.said == []


def test_an_open_picture_and_the_order_stay(manifest, work, page):
    """News come while one looks at a picture, has two picked and the gallery sorted."""
    folder, book, now, done = four_done(manifest, work, seeds="1..2")
    page.goto((folder.root / "report.html").as_uri())
    page.select_option("#sort", "total_s")
    page.click("#down")
    page.check(".card.done input >> nth=0")
    page.click(".card.done a.picture >> nth=1")
    assert page.evaluate("$('viewer').open && document.activeElement === viewer.stage")
    title = page.inner_text("#title")
    book.take(done[4:])
    book.write(5.0, last=False)
    live.write(folder.state, replace(now, generation=book.pieces, updated=now.updated + 1), "me")
    until(page, "document.querySelectorAll('.card.done').length === 10")
    assert page.evaluate("$('viewer').open && document.activeElement === viewer.stage")
    assert page.inner_text("#title") == title
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "picture"
    assert page.evaluate("document.querySelectorAll('.card input:checked').length") == 1
    times = page.evaluate(
        "[...document.querySelectorAll('.card')].map(card => card.querySelector('a').dataset.id)"
    )
    assert times == page.evaluate("visible.map(image => image.id)")
    costs = page.evaluate("visible.map(image => image.total_s)")
    assert costs == sorted(costs, reverse=True)
    assert page.said == []


def test_charts_follow_and_keep_what_one_looks_at(manifest, work, page):
    folder, book, now, done = four_done(manifest, work, seeds="1..2")
    page.goto((folder.root / "report.html").as_uri() + "#part=costs")
    page.click("#times summary")
    page.locator("#plot").focus()
    page.keyboard.press("ArrowRight")
    said = page.inner_text("#readout")
    assert page.evaluate("bars.length") == 4
    book.take(done[4:])
    book.write(5.0, last=False)
    live.write(folder.state, replace(now, generation=book.pieces, updated=now.updated + 1), "me")
    until(page, "bars.length === 10")
    assert page.evaluate("document.activeElement.id") == "plot"
    assert page.inner_text("#readout") == said
    until(page, "document.querySelectorAll('#times tbody tr').length === 10")
    assert page.is_hidden("#tab-failures")  # what is to come is no news
    assert page.said == []


def test_a_page_without_its_run_folder_is_whole(manifest, work, page):
    fake_run(manifest(FORTY.replace("1..8", "1")), seen=Silent(), out=work / "run")
    folder = RunFolder(work / "run")
    page.goto((work / "run" / "report.html").as_uri())
    assert page.evaluate("[document.querySelectorAll('.card.done').length, $('live').hidden]") == [5, True]
    assert not [url for url in page.asked if ".run" in url]
    assert re.search(r"script-src 'sha256-[^' ]+'\"", (work / "run" / "report.html").read_text(encoding="utf-8"))
    Book(folder, folder.tasks(), folder.scan()).write(5.0, last=False)
    shutil.rmtree(folder.state)  # copied without it, while the run went on
    page.goto((work / "run" / "report.html").as_uri())
    until(page, "!$('live').hidden", seconds=30)
    assert "nothing is heard of it here" in page.inner_text("#live")
    assert page.evaluate("document.querySelectorAll('.card.done').length") == 5
    count = len(page.asked)
    page.wait_for_timeout(2_500)
    assert len(page.asked) == count


def test_a_page_goes_on_with_the_next_run(manifest, work, page):
    """Of a run that was killed; what the next one writes first is whole."""
    fake_run(manifest(FORTY.replace("1..8", "1")), seen=Silent(), out=work / "run")
    folder = RunFolder(work / "run")
    tasks, scan = folder.tasks(), folder.scan()
    Book(folder, tasks, Scan()).write(5.0, last=False)
    now = LiveStatus(
        state=RunState.RENDERING, name="night", pid=1, host="h", began=5.0, updated=time.time(), generation=1
    )
    live.write(folder.state, now, "me")
    page.goto((folder.root / "report.html").as_uri())
    until(page, "!$('live').hidden")
    assert page.evaluate("document.querySelectorAll('.card.missing').length") == 5
    live.forget_pieces(folder.state)
    live.write(folder.state, replace(now, began=9.0, generation=0, updated=now.updated + 1), "me")
    book = Book(folder, tasks, scan)
    book.write(9.0)
    live.write(
        folder.state, replace(now, began=9.0, state=RunState.ENDED, generation=1, updated=now.updated + 2), "me"
    )
    until(page, "$('state').textContent === 'The run is over'")
    assert page.evaluate("document.querySelectorAll('.card.done').length") == 5
    assert page.said == []


def test_the_grid_fills(manifest, work, page):
    """News come while one stands in the grid: the cell with the focus and those that are as before stay."""
    folder, book, now, done = four_done(manifest, work, seeds="1..4")
    page.goto((folder.root / "report.html").as_uri() + "#show=grid")
    until(page, "!$('live').hidden")
    assert page.evaluate("document.querySelectorAll('.grid-cell.missing').length") == 16
    page.focus(".grid-cell.done a")
    page.evaluate(
        "[window.first, window.before] = [document.activeElement, document.querySelectorAll('.done')[3]]"
    )
    for end in (12, 20):
        book.take(done[end - 8 : end])
        book.write(5.0, last=False)
        live.write(folder.state, replace(now, generation=book.pieces, updated=now.updated + end), "me")
        until(page, f"document.querySelectorAll('.grid-cell.done').length === {end}")
        assert page.evaluate("document.activeElement.dataset.id === first.dataset.id")
        if end == 12:
            assert page.evaluate("first.isConnected && before.isConnected")
            page.fill("#text", "is:done")  # from now on columns come as they are done
            page.evaluate("document.querySelector(`.picture[data-id='${first.dataset.id}']`).focus()")
    assert page.evaluate(
        "[...document.querySelectorAll('.grid-cell')].map(cell => cell.dataset.id).sort()"
    ) == sorted(task.id for task in folder.tasks())
    assert page.evaluate("document.querySelectorAll('#grid [tabindex=\"0\"]').length") == 1
    assert page.said == []
