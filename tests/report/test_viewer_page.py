"""Pictures in the viewer of report.html: how near, where, and how two of them compare."""

import io
import itertools
import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from batch.report.write import write_report
from batch.store.folder import RunFolder
from tests.fake_session import Fault
from tests.helpers import Seen, fake_run
from tests.report.pages import BROWSER, embedded, until

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

NAMES = ["plain", "twin", "nearly", "half", "wide", "tiff", "gone", "failed"]
"""A picture; the same pixels; one that differs by 1; half the size; other proportions; three without a picture."""

MANIFEST = f"""\
name: looked at
grid: {{model: demo, prompt: {json.dumps(NAMES)}, seed: 1, steps: 20, size: 512x512}}
output: {{name: "{{prompt}}"}}
run: {{min_free_disk: 1MB, retries: 1}}
"""

DOT = (300, 200)
"""Of "nearly": where it differs."""


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """A run whose pictures were changed by hand, by name; its page is as it was."""
    folder = tmp_path_factory.mktemp("looked at") / "run #1"
    path = folder.parent / "job.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    fake_run(path, Fault("error", stage="decode", prompt="failed"), seen=Seen(), out=folder)
    scan = RunFolder(folder).scan()
    files = {receipt.task.prompt: folder / receipt.file.path for receipt in scan.receipts.values()}
    pixels = np.random.default_rng(7).integers(0, 255, (512, 512, 3), dtype=np.uint8)
    for name in ("plain", "twin", "tiff"):
        Image.fromarray(pixels).save(files[name])
    Image.fromarray(pixels[::2, ::2]).save(files["half"])
    Image.fromarray(pixels[:256]).save(files["wide"])
    x, y = DOT
    pixels[y, x, 1] += 1
    Image.fromarray(pixels).save(files["nearly"])
    files["gone"].unlink()
    renamed = files["tiff"].with_suffix(".tiff")
    Image.open(files["tiff"]).save(renamed)
    page = folder / "report.html"
    page.write_text(page.read_text(encoding="utf-8").replace(files["tiff"].name, renamed.name), encoding="utf-8")
    return folder


def embedded_ids(folder):
    return [image["id"] for image in embedded((folder / "report.html").read_text(encoding="utf-8"))[1]["images"]]


@pytest.fixture
def see(looked_at, page):
    """Open names of pictures in the viewer, and wait until they are decoded."""
    return lambda *names, **more: seen(page, looked_at, *names, **more)


def seen(page, folder, *names, how=""):
    report = folder / "report.html"
    ids = {image["prompt"]: image["id"] for image in embedded(report.read_text(encoding="utf-8"))[1]["images"]}
    chosen = dict(zip(("image", "with"), (ids[name] for name in names), strict=False)) | {"how": how}
    page.goto("about:blank")
    page.goto(f"{report.as_uri()}#{'&'.join(f'{key}={value}' for key, value in chosen.items() if value)}")
    until(page, "!document.querySelector('.layer img[src*=thumbs]')")


def box(page, which=0):
    """Left, top, width and height of a picture on the page."""
    return page.evaluate(
        "which => { const box = document.querySelectorAll('.layer img')[which].getBoundingClientRect();"
        " return [box.left, box.top, box.width, box.height]; }",
        which,
    )


def stage(page):
    found = page.locator(".stage").bounding_box()
    return found["x"], found["y"], found["width"], found["height"]


def under(page, x, y, which=0):
    """Which part of a picture lies at a point."""
    left, top, width, height = box(page, which)
    return [(x - left) / width, (y - top) / height]


def shot(page, dots=1):
    """The stage as it is seen, from its first whole row on, with the place of the first picture in it."""
    x, y, width, height = (math.ceil(value * dots) for value in stage(page))
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    left, top, *_ = box(page)
    return pixels[y : y + height - 1, x : x + width], (round(left * dots) - x, round(top * dots) - y)


def test_what_lies_under_the_pointer_stays_there(see, page):
    see("plain")
    x, y, width, height = stage(page)
    assert box(page)[2:] == pytest.approx([min(width, height)] * 2)
    page.mouse.move(x + width / 2, y + height / 2)
    page.mouse.wheel(0, -400)  # beyond the edges: a picture that is narrower than the stage stays in its middle
    until(page, f"document.querySelector('.layer img').getBoundingClientRect().width > {width}")
    at = (x + width / 2 + 110, y + height / 2 - 130)
    before = under(page, *at)
    page.mouse.move(*at)
    page.mouse.wheel(0, -400)
    until(page, f"document.querySelector('.layer img').getBoundingClientRect().width > {width * 2}")
    assert under(page, *at) == pytest.approx(before, abs=2e-3)
    part = page.inner_text(".percent")
    page.mouse.down()
    page.mouse.move(at[0] - 40, at[1] + 25, steps=3)
    page.mouse.up()
    assert under(page, at[0] - 40, at[1] + 25) == pytest.approx(before, abs=2e-3)
    assert page.inner_text(".percent") == part
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.layer img').alt === 'twin'")
    until(page, "!document.querySelector('.layer img[src*=thumbs]')")
    assert under(page, at[0] - 40, at[1] + 25) == pytest.approx(
        before, abs=2e-3
    )  # the next one, at the same place
    for _ in range(20):
        page.mouse.wheel(0, 900)
    until(page, "document.querySelector('.percent').textContent === '100%'")  # never smaller, since it is small
    for _ in range(30):
        page.mouse.wheel(0, -900)
    until(page, "document.querySelector('.percent').textContent === '1600%'")
    assert page.said == []
    assert {url.split(":")[0] for url in page.asked} <= {"file", "about"}


@pytest.mark.parametrize("dots", [1, 2])
def test_one_to_one_is_one_to_one(looked_at, browser, dots):
    page = browser.new_page(viewport={"width": 700, "height": 611}, device_scale_factor=dots)
    seen(page, looked_at, "plain")
    page.keyboard.press("1")
    assert page.inner_text(".percent") == "100%"
    pixels, (left, top) = shot(page, dots)
    name = page.evaluate("document.querySelector('.layer img').src.split('/').pop()")
    part = np.asarray(Image.open(looked_at / "images" / name))[100:400, 100:400]
    found = [
        (x, y)
        for x, y in itertools.product((-1, 0, 1), repeat=2)  # where a box begins between two pixels
        if np.array_equal(pixels[top + y + 100 : top + y + 400, left + x + 100 : left + x + 400], part)
    ]
    assert len(found) == 1
    page.close()


def test_all_of_it_by_keyboard(see, page):
    see("plain")
    start = box(page)
    page.keyboard.press("+")
    page.keyboard.press("+")
    near = box(page)
    assert near[2] == pytest.approx(start[2] * 2.25)
    page.keyboard.press("Shift+ArrowRight")
    assert box(page)[0] < near[0]
    page.keyboard.press("0")
    assert box(page) == start
    page.keyboard.press("c")
    assert page.evaluate("shown.map(image => image.prompt)") == ["plain", "twin"]
    page.keyboard.press("ArrowRight")
    assert page.evaluate("shown.map(image => image.prompt)") == ["plain", "nearly"]  # A stays
    page.keyboard.press("w")
    page.keyboard.press("b")
    assert "how=side" in page.evaluate("location.hash")
    assert page.evaluate("shown.map(image => image.prompt)") == ["nearly", "plain"]
    page.keyboard.press("c")
    assert page.evaluate("shown.length") == 1
    page.keyboard.press("i")
    assert page.is_visible(".inside")
    page.keyboard.press("Escape")
    assert not page.evaluate("$('viewer').open")
    assert page.evaluate("document.activeElement.dataset.id === data.images[2].id")
    until(page, "location.hash === ''")
    assert page.said == []


def test_keys_are_heard_whatever_was_clicked(see, page):
    see("nearly")
    page.click("[aria-label^=Previous]")
    page.click("[aria-label^=Previous]")
    assert page.is_disabled("[aria-label^=Previous]")
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".place") == "2 of 8"
    page.keyboard.press("c")
    page.click("[data-how=flip]")
    page.keyboard.press(" ")
    assert page.is_visible(".label.b")
    page.keyboard.press("c")  # the button that has the focus goes
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".place") == "3 of 8"


def test_the_way_back_closes_it(looked_at, page):
    page.goto((looked_at / "report.html").as_uri())
    page.click(".picture >> nth=1")
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".place") == "3 of 8"
    page.go_back()
    until(page, "!$('viewer').open")
    until(page, "location.hash === ''")
    assert page.evaluate("document.activeElement.dataset.id === data.images[2].id")
    page.goto((looked_at / "report.html").as_uri() + "#image=nobody")
    until(page, "$('astray').innerText.includes('no picture of the id that the address names (nobody)')")
    page.go_back()
    until(page, "$('astray').innerText === ''")
    page.click(".picture >> nth=0")
    page.click("[aria-label^=Close]")
    until(page, "location.hash === ''")
    assert not page.evaluate("$('viewer').open")


def test_focus_stays_in_it(see, page):
    see("plain", "nearly")
    for _ in range(25):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "$('viewer').contains(document.activeElement) || document.activeElement === document.body"
        )


def fingers(session, kind, *points):
    places = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(points)]
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})


def test_hands_on_a_phone(looked_at, browser):
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.said = []
    seen(page, looked_at, "plain")
    x, y, width, height = stage(page)
    assert height > 844 * 0.6
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    middle = (x + width / 2, y + height / 2)
    hand = context.new_cdp_session(page)

    def sweep(dx, dy=0):
        fingers(hand, "touchStart", middle)
        for part in (0.3, 0.6, 1):
            fingers(hand, "touchMove", (middle[0] + dx * part, middle[1] + dy * part))
        fingers(hand, "touchEnd")

    sweep(-120)
    until(page, "shown[0].prompt === 'twin'")
    sweep(120, 10)
    until(page, "shown[0].prompt === 'plain'")
    until(page, "!document.querySelector('.layer img[src*=thumbs]')")
    x, y, width, height = stage(page)  # its caption may take another line
    middle = (x + width / 2, y + height / 2)
    before = under(page, *middle)
    fingers(hand, "touchStart", (middle[0] - 30, middle[1]), (middle[0] + 30, middle[1]))
    for spread in (50, 70, 90):
        fingers(hand, "touchMove", (middle[0] - spread, middle[1]), (middle[0] + spread, middle[1]))
    fingers(hand, "touchEnd")
    until(page, f"document.querySelector('.layer img').getBoundingClientRect().width > {width * 2.9}")
    assert under(page, *middle) == pytest.approx(before, abs=2e-3)
    left = box(page)[0]
    sweep(-100)  # near, it moves the picture
    assert page.evaluate("shown[0].prompt") == "plain"
    assert box(page)[0] == pytest.approx(left - 100, abs=1)
    for _ in range(2):
        page.touchscreen.tap(*middle)
    until(page, "document.querySelector('.stage').classList.contains('fitted')")
    for _ in range(2):
        page.touchscreen.tap(*middle)
    until(page, "document.querySelector('[aria-label^=\"1:1\"]').getAttribute('aria-pressed') === 'true'")
    assert page.said == []
    context.close()


def test_what_has_no_picture_says_why(see, page):
    see("plain")
    for name, words in {"tiff": "This browser cannot show TIFF", "gone": "moved, removed or damaged"}.items():
        page.evaluate(f"look([data.images[{NAMES.index(name)}]])")
        until(page, "!document.querySelector('.viewer-note').hidden")
        note = page.inner_text(".viewer-note")
        assert words in note and "this is the thumbnail (384 px)" in note and note.endswith("Open the file")
        assert page.get_attribute(".viewer-note a", "href").startswith("images/")
        assert box(page)[2:] == pytest.approx([stage(page)[3]] * 2)  # enlarged, and as a whole
    page.keyboard.press("ArrowRight")
    assert page.evaluate("shown[0].prompt") == "failed"
    assert "a fault was asked for" in page.inner_text(".no-picture")
    assert "--retry-failed" in page.inner_text(".no-picture")
    assert not page.is_visible(".viewer-note")
    page.evaluate("look([data.images[0], data.images[7]])")
    assert page.get_attribute(".stage", "data-how") == "side"


def test_a_page_alone_says_where_its_pictures_are(looked_at, page, work):
    """Copied without them; and a picture that is torn says so, beside others."""
    shutil.copy(looked_at / "report.html", work / "report.html")
    page.goto((work / "report.html").as_uri() + f"#image={embedded_ids(looked_at)[0]}")
    until(page, "!document.getElementById('alone').hidden")
    until(page, "document.querySelector('.viewer-note').textContent.includes('and there is no thumbnail')")
    folder = shutil.copytree(looked_at, work / "torn")
    next(folder.glob("images/plain*")).write_bytes(b"torn")
    write_report(RunFolder(folder))
    page.goto((folder / "report.html").as_uri())
    until(page, "document.querySelector('.card .reason')")
    assert page.inner_text(".card .reason") == (
        "torn: it is no whole picture: it is no image that can be read here. The same command renders it again."
    )
    until(page, "document.querySelector('.card img').naturalWidth > 0")
    assert page.is_hidden("#alone")
    assert page.evaluate("document.querySelector('#verdict .bad[href*=torn]').textContent") == "1 torn"


def test_a_picture_that_comes_is_shown_and_one_that_is_there_stays(see, page):
    """What the news of a run that goes on do to an open viewer."""
    see("plain")
    page.keyboard.press("+")
    page.evaluate("window.view = document.querySelector('.layer img'); window.file = data.images[1].file")
    near = box(page)
    page.evaluate("data.images[0].total_s = 99; caption()")
    assert page.evaluate("view.isConnected") and box(page) == near
    page.evaluate("delete data.images[1].file; data.images[1].status = 'missing'; look([data.images[1]])")
    assert "not rendered yet" in page.inner_text(".no-picture")
    page.evaluate("data.images[1].file = file; caption()")
    until(page, "document.querySelector('.layer img')?.src.includes('/images/')")
    assert box(page) == near
    assert page.said == []


def test_the_border_is_dragged_and_moved_by_keys(see, page):
    see("plain", "half")  # of another size, in the same proportions: they lie over each other
    assert box(page, 0) == pytest.approx(box(page, 1))
    border = page.locator(".border")
    x, y, width, _ = stage(page)
    page.mouse.move(x + width / 2, y + 100)
    page.mouse.down()
    page.mouse.move(x + width / 4, y + 140, steps=3)
    page.mouse.up()
    assert border.get_attribute("aria-valuenow") == "25"
    page.keyboard.press("ArrowRight")
    assert border.get_attribute("aria-valuenow") == "26"
    page.keyboard.press("1")
    assert box(page, 0) == pytest.approx(box(page, 1))
    over = page.evaluate("getComputedStyle(document.querySelector('.over')).clipPath")
    assert over == "inset(0px 0px 0px 26%)"
    assert page.said == []


def test_flip_says_what_one_sees(see, page):
    see("plain", "wide", how="flip")  # of other proportions: never over each other
    assert page.get_attribute(".stage", "data-how") == "side"
    assert "side by side only" in page.inner_text(".viewer-note")
    for which, (rows, columns) in enumerate([(512, 512), (256, 512)]):
        assert box(page, which)[2] / box(page, which)[3] == pytest.approx(columns / rows)
    see("plain", "half", how="flip")
    assert page.is_visible(".label.a") and not page.is_visible(".label.b")
    assert "plain" in page.inner_text(".label.a")
    page.keyboard.press(" ")
    assert page.is_visible(".label.b") and "half" in page.inner_text(".label.b")
    assert page.evaluate("getComputedStyle(document.querySelector('.over')).opacity") == "1"
    x, y, width, height = stage(page)
    page.mouse.click(x + width / 2, y + height / 2)
    assert page.is_visible(".label.a")


def test_two_side_by_side_move_as_one(see, page):
    see("plain", "half", how="side")
    x, y, width, height = stage(page)
    page.mouse.move(x + width * 0.75 + 60, y + height / 2 + 40)
    page.mouse.wheel(0, -600)
    until(page, "!document.querySelector('.stage').classList.contains('fitted')")
    first, second = box(page, 0), box(page, 1)
    assert second[0] - first[0] == pytest.approx(width / 2 + 1, abs=1.01)
    assert second[1:] == pytest.approx(first[1:], abs=1.01)


def test_a_difference_is_seen_to_the_pixel(see, page):
    page.set_viewport_size({"width": 901, "height": 700})
    see("plain", "twin", how="difference")
    page.evaluate(
        "document.activeElement.blur(); document.querySelectorAll('.label').forEach(label => label.remove())"
    )
    page.fill("[aria-label='Amplify the difference']", "6")
    quiet = np.s_[:-60, 5:-5]  # the note lies below
    assert box(page)[0] % 1 != 0  # fitted, an edge lies between two pixels of the screen
    assert not shot(page)[0][quiet].any()
    page.keyboard.press("1")
    assert not shot(page)[0][quiet].any()
    see("plain", "nearly", how="difference")
    page.keyboard.press("1")
    page.evaluate(
        "document.activeElement.blur(); document.querySelectorAll('.label').forEach(label => label.remove())"
    )
    page.fill("[aria-label='Amplify the difference']", "6")
    pixels, (left, top) = shot(page)
    found = [tuple(int(value) for value in place) for place in np.argwhere(pixels[quiet].any(axis=2))]
    assert found == [(DOT[1] + top, DOT[0] + left - 5)]
    assert list(pixels[DOT[1] + top, DOT[0] + left]) == [0, 64, 0]
    assert page.said == []


def test_only_neighbours_are_read_ahead(looked_at, page, work):
    shutil.copytree(looked_at, work / "run")
    page.goto((work / "run" / "report.html").as_uri())
    page.click(".picture >> nth=1")
    until(page, "!document.querySelector('.layer img[src*=thumbs]')")
    page.wait_for_timeout(100)
    asked = [url.split("/")[-1].split("-")[0] for url in page.asked if "/images/" in url]
    assert asked[0] == "twin" and sorted(asked) == ["nearly", "plain", "twin"]


SIZES = """\
name: sizes
grid: {model: demo, prompt: one, seed: 1, steps: 2, size: 512x512}
include:
  - {size: 512x256}
  - {size: 256x256, steps: 4}
resize: true
output: {name: "{width}x{height}"}
run: {min_free_disk: 1MB}
"""


def test_what_can_lie_over_it_is_compared_first(page, tmp_path):
    (tmp_path / "job.yaml").write_text(SIZES, encoding="utf-8")
    fake_run(tmp_path / "job.yaml", seen=Seen(), out=tmp_path / "run")
    page.goto((tmp_path / "run" / "report.html").as_uri())
    page.evaluate("look([data.images.find(image => image.pixels === '512×512')])")
    page.keyboard.press("c")
    until(page, "shown.length === 2")
    assert page.evaluate("shown.map(image => image.pixels)") == ["512×512", "256×256"]  # 512×256 differs in less
    # Where nothing else is of its prompt, the same goes for what stands beside it.
    page.keyboard.press("c")
    page.evaluate("data.images.forEach((image, index) => { image.prompt = String(index); })")
    page.evaluate("visible.sort((a, b) => a.width - b.width || b.height - a.height)")
    page.keyboard.press("c")
    until(page, "shown.length === 2")
    assert page.evaluate("shown.map(image => image.pixels)") == ["512×512", "256×256"]
    assert page.said == []
