"""Gallery and grid of report.html in a real browser: what is shown, how it is chosen, and by keyboard alone."""

import itertools
import time

import pytest

from tests.report.many import seeds_of_prompts, task, written
from tests.report.pages import until

LONG = "a very long prompt that goes on and on about a fox, " * 8
PROMPTS = ["a whale", "<b>an owl</b> & a fox", LONG]
SIZES = [(512, 512), (672, 384)]


def plan():
    """72 images of 3 prompts, 2 sizes, 4 steps, 3 seeds; seeds are the innermost."""
    found = []
    for prompt, (width, height), steps, seed in itertools.product(PROMPTS, SIZES, (8, 20, 4, 100), (7, 10, 9)):
        shape = {"width": width, "height": height, "rendered_width": width, "rendered_height": height}
        found.append(task(len(found), prompt=prompt, steps=steps, seed=seed, **shape))
    return found


FAILED, MISSING = 9, 1
"""Every ninth failed: seed 9 of some; the second is not rendered yet."""


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    return written(tmp_path_factory.mktemp("small"), plan(), failed=FAILED, missing=(MISSING,)).as_uri()


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def axes(page):
    return page.evaluate("Object.values(gridNow().chosen).map(one => one && one.name)")


def cells(page):
    """Of every line of the grid in view: what its pictures are, by number in the plan."""
    return page.evaluate(
        "[...document.querySelectorAll('.grid-band .grid-line')].map("
        "line => [...line.querySelectorAll('.grid-cell')].map(cell => parseInt(cell.dataset.id ?? '-1', 16)))"
    )


def focused(page):
    return page.evaluate("parseInt(document.activeElement.dataset.id ?? '-1', 16)")


def test_the_grid_shows_what_varies_most_and_the_rest_as_tabs(report, page):
    page.goto(report)
    page.click("#as-grid")
    assert axes(page) == ["prompt", None, "steps", None]
    assert texts(page, ".grid-head .grid-value") == [
        "steps 4",
        "steps 8",
        "steps 20",
        "steps 100",
    ]  # numbers ascend
    assert texts(page, ".grid-band .grid-value")[:2] == PROMPTS[:2]
    assert [label.split("\n")[0] for label in texts(page, "#grid-tabs .grid-tab > span")] == ["seed", "size"]
    assert texts(page, "#grid-tabs [aria-pressed=true]") == ["7", "512x512"]
    assert cells(page)[0] == [6, 0, 3, 9]
    page.click("#grid-tabs button:has-text('9')")
    assert cells(page)[0] == [8, 2, 5, 11]
    assert page.inner_text("#count") == "12 here of 72"
    failed = page.locator(".grid-cell.failed").first
    assert "failed in decode: OutOfMemoryError: CUDA out of memory" in failed.inner_text()
    page.click("#grid-tabs button:has-text('10')")
    assert page.inner_text(".grid-cell.missing") == "not rendered yet"
    page.click("#swap")
    assert axes(page) == ["steps", None, "prompt", None]
    assert [row[0] for row in cells(page)] == [7, 1, 4, 10]
    page.reload()
    assert axes(page) == ["steps", None, "prompt", None]
    assert texts(page, "#grid-tabs [aria-pressed=true]") == ["10", "512x512"]
    assert page.said == []


def test_axes_within_axes(report, page):
    page.goto(report + "#show=grid&rows=prompt&rows2=seed&columns=size&columns2=steps&say=steps")
    assert texts(page, ".grid-head .grid-outer .grid-value") == ["512x512", "672x384"]
    assert texts(page, ".grid-head .grid-line:last-child .grid-value")[2:6] == [
        "steps 20",
        "steps 100",
        "steps 4",
        "steps 8",
    ]
    assert texts(page, ".grid-title")[:2] == PROMPTS[:2]
    assert texts(page, ".grid-head + .grid-band .grid-line .grid-value") == ["seed 7", "seed 9", "seed 10"]
    assert cells(page)[1] == [8, 2, 5, 11, 20, 14, 17, 23]
    assert texts(page, ".grid-line:has(.grid-cell) .grid-says")[:4] == ["4", "8", "20", "100"]
    assert not page.is_visible("#grid-tabs")
    page.select_option("#grid-rows", "steps")  # it was elsewhere: they change places
    assert axes(page) == ["steps", "seed", "size", "prompt"]
    page.select_option("#grid-columns2", "-")
    assert axes(page) == ["steps", "seed", "size", None]
    assert texts(page, "#grid-tabs button")[:2] == PROMPTS[:2]
    # Columns of landscapes beside squares: a frame for both, and no picture is squashed.
    shapes = page.evaluate(
        "[document.querySelector('.grid-band .grid-line .picture')].map("
        "frame => [frame.offsetWidth / frame.offsetHeight, getComputedStyle(frame.firstElementChild).objectFit])"
    )
    assert shapes == [[1, "contain"]]
    assert page.said == []


def test_the_filter_reaches_the_grid(report, page):
    page.goto(report + "#show=grid")
    page.fill("#text", "seed:9 steps:8..20 -whale")
    assert texts(page, "#grid-tabs [aria-pressed=true]") == ["9", "512x512"]  # where the pictures are
    assert texts(page, "#grid-tabs [disabled]") == ["7", "10"]
    assert texts(page, ".grid-head .grid-value") == ["steps 8", "steps 20"]
    assert cells(page) == [[26, 29], [50, 53]]
    page.fill("#text", "name=image-2|image-29")
    assert cells(page) == [[2, 5], [26, 29]]
    assert page.evaluate("[...document.querySelectorAll('.grid-cell.dim')].map(cell => cell.dataset.id)") == [
        f"{number:016x}" for number in (5, 26)
    ]
    page.fill("#text", "nothing has these words")
    assert page.is_visible("#nothing")
    assert cells(page) == []
    page.fill("#text", "sted:3")
    assert 'There is no "sted"' in page.inner_text("#complaint")
    assert page.said == []


def test_selects_write_terms_and_read_them(report, page):
    page.goto(report)
    page.fill("#text", "owl")
    page.select_option("[aria-label='Filter by steps']", "20")
    page.select_option("[aria-label='Filter by status']", "done")
    assert page.input_value("#text") == "owl steps=20 status=done"
    page.select_option("[aria-label='Filter by steps']", "100")
    assert page.input_value("#text") == "owl status=done steps=100"
    page.fill("#text", "steps=8")
    assert page.input_value("[aria-label='Filter by steps']") == "8"
    assert page.input_value("[aria-label='Filter by status']") == ""
    page.select_option("[aria-label='Filter by steps']", "")
    assert (page.input_value("#text"), page.inner_text("#count")) == ("", "72 images")


def test_orders_of_the_gallery(report, page):
    page.goto(report)
    options = page.evaluate("[...$('sort').options].filter(option => !option.hidden).map(option => option.value)")
    assert {"", "total_s", "denoise_s", "pixels", "steps", "seed", "prompt", "file_bytes"} <= set(options)
    assert "guidance" not in options
    for key in ("total_s", "steps", "pixels"):
        for down in (False, True):
            page.select_option("#sort", key)
            if (page.get_attribute("#down", "aria-pressed") == "true") != down:
                page.click("#down")
            values = page.evaluate(f"visible.map(SORTS.get('{key}').of).filter(known).map(Number)")
            assert values == sorted(values, reverse=down), (key, down)
            drawn = page.evaluate("[...document.querySelectorAll('.card .picture')].map(one => one.dataset.id)")
            assert drawn == page.evaluate("visible.map(image => image.id)")[: len(drawn)]
    until(page, "location.hash === '#sort=pixels&down=1'")
    shapes = page.evaluate(
        "[...document.querySelectorAll('.card-frame')].map(one => one.offsetWidth / one.offsetHeight)"
    )
    assert {round(shape * 4) / 4 for shape in shapes} == {1.0, 1.75}


def test_the_grid_by_keyboard(report, page):
    page.goto(report + "#show=grid")
    page.focus("#text")
    page.keyboard.press("Escape")
    assert focused(page) == 6
    assert page.locator("#grid [tabindex='0']").count() == 1
    moves = {"ArrowRight": 0, "ArrowDown": 24, "ArrowUp": 0, "End": 9, "Home": 6}
    for key, number in moves.items():
        page.keyboard.press(key)
        assert focused(page) == number, key
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.closest('[role=rowheader]') !== null")
    page.keyboard.press("Enter")  # a long prompt opens whole
    assert page.inner_text("dialog[open] .whole").strip() == LONG.strip()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert focused(page) == 6
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "columnheader"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(page, "$('viewer').open")
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("shown[0].index") == 24
    page.keyboard.press("Escape")
    until(page, "parseInt(document.activeElement.dataset.id, 16) === 24")  # the one looked at last
    page.evaluate("mark(visible[0], 'rejected')")
    page.fill("#text", "-is:rejected")
    page.evaluate("reveal(data.images[0])")  # it has left: what comes after it has the focus
    assert focused(page) == 2
    assert page.evaluate("neighbour(data.images[0], 1, 0).index") == 2
    page.keyboard.press("g")
    assert page.is_visible("#gallery")
    page.keyboard.press("?")
    assert "Filter" in page.inner_text("dialog[open]")
    assert page.said == []


def test_the_gallery_by_keyboard(report, page):
    page.goto(report)
    page.focus(".card .picture")
    across = page.evaluate("across()")
    assert across == 4
    page.keyboard.press("ArrowDown")
    assert focused(page) == 4
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert focused(page) == 5  # above it is an image that is not there yet
    for key, number in {"End": 7, "ArrowLeft": 6, "Home": 4, "ArrowRight": 5}.items():
        page.keyboard.press(key)
        assert focused(page) == number, key
    assert page.locator("#gallery [tabindex='0']").count() == 4  # the picture, its marks, A/B: of one card
    for shown in ("grid", "gallery"):
        page.keyboard.press("g")
        assert (page.is_visible(f"#{shown}"), focused(page)) == (True, 5)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.press("Escape")
    assert focused(page) == 5
    page.keyboard.press("/")
    page.keyboard.type("?g/")
    assert page.input_value("#text") == "?g/"
    assert page.inner_text("#nothing").startswith("No picture matches the filter.")
    page.click("#clear-filter")
    assert page.inner_text("#count") == "72 images"


def test_pictures_have_names_and_choices_are_said(report, page):
    page.goto(report + "#show=grid&tabs=seed%3D9")
    failed = page.locator(".grid-cell.failed button").first
    assert failed.get_attribute("aria-label").startswith("a whale, seed 9, 512×512, steps 4: failed in decode")
    page.locator(".grid-cell a").first.focus()
    page.keyboard.press("c")
    assert texts(page, ".letter:visible") == ["A"]
    assert page.is_hidden("#compare") and "Choose B" in page.inner_text("#pair")
    until(page, "document.querySelector('.aloud').textContent === 'A chosen. Choose B.'")
    assert page.locator("#pair").bounding_box()["width"] < 720
    page.keyboard.press("Escape")
    assert page.is_hidden("#pair") and texts(page, ".letter:visible") == []
    page.keyboard.press("c")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("c")
    assert texts(page, ".letter:visible") == ["A", "B"]
    page.keyboard.press("p")
    until(page, "document.querySelector('.aloud').textContent === 'Picked. 1 picked, 0 rejected.'")
    page.fill("#text", "is:picked")
    page.locator(".grid-cell:not(.dim) a").focus()
    page.keyboard.press("p")  # nothing is left that could have the focus
    assert page.evaluate("document.activeElement.id") == "text"
    page.click("#compare")
    until(page, "$('viewer').open && shown.length === 2")
    assert page.said == []


def test_the_order_is_that_of_the_manifest(page, tmp_path):
    """Rendering goes by what is slow first."""
    tasks = [task(n, prompt="a", steps=steps, source="job.yaml:3") for n, steps in enumerate((30, 20, 8))]
    page.goto(written(tmp_path, tasks).as_uri())
    assert page.evaluate("visible.map(image => image.steps)") == ["8", "20", "30"]
    assert page.evaluate("data.timing.rows.map(row => row[data.timing.columns.indexOf('steps')])") == [8, 20, 30]


def test_seeds_of_their_own_are_counted(page, tmp_path):
    tasks = [task(n, prompt=f"prompt {n // 4}", seed=1000 * n + 1, steps=20) for n in range(48)]
    page.goto(written(tmp_path, tasks).as_uri() + "#show=grid")
    assert axes(page) == ["prompt", None, "nth", None]
    assert texts(page, ".grid-head .grid-value") == ["1. seed", "2. seed", "3. seed", "4. seed"]
    assert cells(page)[:2] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_styles_are_columns_of_their_prompts(page, tmp_path):
    def styled(prompt, style):
        return {"none": prompt, "oil": f"{prompt}, an oil painting", "ink": f"{prompt}, in ink"}[style]

    pairs = itertools.product([f"animal {n}" for n in range(5)], ["none", "oil", "ink"])
    tasks = [task(n, prompt=styled(p, s), style="" if s == "none" else s) for n, (p, s) in enumerate(pairs)]
    page.goto(written(tmp_path, tasks).as_uri() + "#show=grid")
    assert axes(page) == ["prompt", None, "style", None]
    assert texts(page, ".grid-head .grid-value") == ["style none", "style oil", "style ink"]
    assert texts(page, ".grid-band .grid-value")[1] == "animal 1"
    assert cells(page)[4] == [12, 13, 14]


def test_extra_arguments_are_axes_of_their_own(page, tmp_path):
    pairs = itertools.product([0.5, 1.0, 10.0], [(1.0, 0.5), (1.0, 0.25)])
    tasks = [task(n, prompt="a", extra=(("eta", e), ("sigmas", s))) for n, (e, s) in enumerate(pairs)]
    page.goto(written(tmp_path, tasks).as_uri() + "#show=grid")
    assert axes(page) == ["extra.eta", None, "extra.sigmas", None]
    assert cells(page) == [[0, 1], [2, 3], [4, 5]]


def test_images_that_no_axis_tells_apart_share_a_cell(page, tmp_path):
    tasks = [task(n, prompt=f"p {n % 3}", seed=n // 3 % 2) for n in range(18)]
    page.goto(written(tmp_path, tasks).as_uri() + "#show=grid")
    assert texts(page, ".grid-more") == ["+2"] * 6
    page.focus(".grid-cell a")
    page.keyboard.press("Enter")
    until(page, "$('viewer').open")
    seen = []
    for _ in range(5):
        seen.append(page.evaluate("shown[0].index"))
        page.keyboard.press("ArrowRight")
    assert seen == [0, 6, 12, 3, 9]


def test_on_a_phone(report, browser):
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(report)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    small = page.evaluate(
        "[...document.querySelectorAll('#pictures :is(button, select, a, label, [type=search])')]"
        ".filter(one => one.offsetParent && Math.min(one.offsetWidth, one.offsetHeight) < 24)"
        ".map(one => one.outerHTML)"
    )
    assert small == []
    page.goto(report + "#show=grid&columns=seed&columns2=steps")
    page.reload()
    page.evaluate("scrollTo(300, 600)")
    kept = "#bar, h1, .grid-head .grid-corner, .grid-band .grid-value"  # in view, whatever is scrolled
    assert page.evaluate("[scrollX, innerWidth]") == [300, 390]  # scrolled, and not zoomed out
    lefts = page.evaluate(
        "kept => [...document.querySelectorAll(kept)].map(one => one.getBoundingClientRect().left)", kept
    )
    assert len(lefts) > 4 and len(set(lefts)) == 1
    page.close()


def test_many_images_are_there_soon(page, tmp_path):
    """1,000, on a machine that has other things to do; benchmarks/page.py measures more of them, and exactly."""
    prompts, most_s = 25, 3.0
    path = written(tmp_path, seeds_of_prompts(prompts, 40), failed=20).as_uri()
    for end, there in (("", ".card"), ("#show=grid", ".grid-cell")):
        start = time.monotonic()
        page.goto("about:blank")
        page.goto(path + end)
        assert page.locator(there).count() >= 40
        assert page.locator(there).count() < 1500  # what is far below is not drawn yet
        assert time.monotonic() - start < most_s
    start = time.monotonic()
    page.fill("#text", "seed:3 -is:failed")
    assert page.locator(".grid-cell").count() > 0
    assert time.monotonic() - start < most_s
    page.evaluate("set({find: '', rows: '-', columns: 'seed', columns2: 'prompt'})")
    assert page.locator(".grid-cell").count() == 400
    assert f"The first 400 of {prompts * 40} columns" in page.inner_text("#complaint")
    assert page.said == []


def test_the_way_back_leads_from_part_to_part_and_from_view_to_view(report, page):
    page.goto(report)
    page.type("#text", "fox")  # no letter is a step
    page.click("#as-grid")
    page.click("#tab-failures")
    page.go_back()
    until(page, "!$('pictures').hidden && !$('grid').hidden")
    page.go_back()
    until(page, "!$('gallery').hidden && get('find') === 'fox'")
    page.go_back()
    until(page, "location.href === 'about:blank'")
