"""compare.html as a browser shows it: one page of two cards, with what somebody else's runs may hold."""

import shutil
from dataclasses import replace

import pytest

from batch.cli.main import main
from tests.report.pages import until
from tests.report.two_cards import A100, A100_COSTS, FULL, LARGE, RTX, RTX_COSTS, SMALL, moved, on_card, ran_out

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"a\" & 'b' {{ 7 * 7 }} \u202e\u05d0 "
SIZES = [(1280, 800, "light"), (390, 844, "dark")]

SMALLEST_TEXT = """Math.min(...[...document.querySelectorAll("text, p, td, th, li, figcaption")]
    .filter(text => text.getClientRects().length)
    .map(text => parseFloat(getComputedStyle(text).fontSize) * (text.ownerSVGElement?.getScreenCTM().a ?? 1)))"""
"""In pixels of the screen, however much a drawing is made smaller."""


@pytest.fixture(scope="module")
def compared(rendered, tmp_path_factory):
    """The page of a comparison."""
    folder = tmp_path_factory.mktemp("compared")
    on_card(shutil.copytree(rendered, folder / "rtx #1 %41"), RTX, RTX_COSTS)
    on_card(shutil.copytree(rendered, folder / "a100"), A100, A100_COSTS)
    for name in ("rtx #1 %41", "a100"):
        moved(folder / name, lambda task: replace(task, prompt=HOSTILE * 60) if task.prompt == "a fox" else task)
    ran_out(folder / "rtx #1 %41", FULL)
    runs = [str(folder / name) for name in ("rtx #1 %41", "a100")]
    assert main(["compare", *runs, "--out", str(folder / "out #1")]) == 0
    return folder / "out #1" / "compare.html"


@pytest.fixture
def opened(page, compared):
    page.goto(compared.as_uri())
    yield page
    assert page.said == []
    assert all(url.startswith(("file:", "data:image/")) for url in page.asked)


@pytest.mark.parametrize(("width", "height", "scheme"), SIZES)
def test_it_fits_and_says_the_answer_first(opened, width, height, scheme):
    opened.set_viewport_size({"width": width, "height": height})
    opened.emulate_media(color_scheme=scheme)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.locator(".headline").first.bounding_box()["y"] < height / 2
    assert f"On RTX 4070, {LARGE} is the fastest: 22.1 s an image" in opened.inner_text("#answer")
    (shown,) = filter(None, (svg.bounding_box() for svg in opened.locator(".plot svg").all()))
    assert shown["x"] + shown["width"] <= width
    assert opened.evaluate(SMALLEST_TEXT) >= 11


def test_texts_stay_texts(opened):
    assert "</script><script>alert(1)</script>" in opened.text_content("#differences")
    assert "{{ 7 * 7 }}" in opened.text_content("#differences")
    assert opened.locator("img[src='x']").count() == 0
    assert opened.title() == "rtx #1 %41 / a100 · run_batch compare"


def test_a_mark_says_its_figures_by_keyboard_and_by_mouse(opened):
    mark = opened.locator("svg.wide a[href='#setting-6']")
    mark.focus()
    caption = opened.locator(".caption")
    assert f"6: {LARGE} · NVIDIA A100-SXM4-40GB: 9.45 s, 7.50 GiB, PSNR" in caption.inner_text()
    opened.locator("svg.wide a[href='#setting-1']").hover()
    assert "out of memory while decoding" in caption.inner_text()
    mark.focus()
    opened.keyboard.press("Enter")
    until(opened, "location.hash === '#setting-6'")
    assert opened.locator("tr:target").inner_text().startswith("6*")


def test_a_finger_chooses_a_mark_before_it_leads_away(browser, compared):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(compared.as_uri())
    mark = page.locator("svg.narrow a[href='#setting-5'] .touch")
    mark.tap()
    assert "5: full · NVIDIA A100" in page.locator(".caption").inner_text()
    assert page.evaluate("location.hash") == ""
    mark.tap()
    assert page.evaluate("location.hash") == "#setting-5"
    context.close()


def test_a_table_is_sorted_by_its_heads(opened):
    def numbers():
        rows = opened.locator("#time tbody").nth(1).locator("tr:not(.head) th").all_inner_texts()
        return [row.strip("*") for row in rows]

    assert numbers() == ["5", "6", "7", "8"]
    head = opened.locator("#time thead button", has_text="total")
    for expected, order in ((["5", "6", "7", "8"], "ascending"), (["8", "7", "6", "5"], "descending")):
        head.press("Enter")
        assert numbers() == expected
        assert opened.locator("#time th[aria-sort]").get_attribute("aria-sort") == order


def test_the_worst_picture_over_its_reference(opened):
    opened.locator("#worst-3 button", has_text="Compare this part").click()
    assert opened.locator("dialog h2").inner_text() == f"3 · {SMALL}"
    until(opened, "document.querySelectorAll('dialog .layer img').length === 2")
    opened.keyboard.press("d")
    assert opened.get_attribute("dialog .stage", "data-how") == "difference"
    opened.keyboard.press("o")  # the files, beside the page
    until(opened, "[...document.querySelectorAll('dialog .layer img')].every(img => img.src.startsWith('file:'))")
    assert opened.evaluate("document.querySelector('dialog .layer img').naturalWidth") == 192
    opened.keyboard.press("ArrowRight")
    assert opened.locator("dialog h2").inner_text() == f"6 · {LARGE}"
    assert "image=6&view=whole&how=difference" in opened.url
    opened.go_back()
    until(opened, "!document.querySelector('dialog').open")
    until(opened, "document.activeElement.closest('article')?.id === 'worst-6'")


@pytest.mark.parametrize("view", ["constructor", "__proto__", "other"])
def test_a_view_that_there_is_not_is_the_part_where_they_differ(opened, compared, view):
    opened.goto("about:blank")
    opened.goto(f"{compared.as_uri()}#image=3&view={view}")
    assert opened.evaluate("pairHead.aloud.textContent").endswith(", Where they differ most")
    assert opened.evaluate("pairHead.views.crop.getAttribute('aria-pressed')") == "true"


def test_without_a_script_all_of_it_is_there(browser, compared):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(compared.as_uri())
    assert page.locator("#worst-3 img").count() == 6
    assert page.locator("svg.narrow a").count() == 8
    assert "9.45" in page.inner_text("#time")
    assert page.locator(".look button").count() == 0
    context.close()


@pytest.mark.parametrize("name", ["compare.csv", "compare.html"])
def test_what_is_no_comparison_is_not_written_over(cli, cards, name):
    out = cards / "out"
    out.mkdir()
    (out / name).write_text("somebody's own")
    found = cli("compare", "rtx", "--out", "out")
    assert found.code == 2
    assert f"{name} is no comparison of run_batch, and stays" in found.err
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, "somebody's own")]
    (out / name).unlink()
    assert [cli("compare", "rtx", "--out", "out").code for _ in range(2)] == [0, 0]
    (out / name).unlink()
    (out / name).mkdir()
    found = cli("compare", "rtx", "--out", "out")
    assert (found.code, "is a folder, and a file belongs there" in found.err) == (2, True)


@pytest.mark.parametrize("command", [("report", "run"), ("compare", "run", "--out", "run")])
def test_a_folder_that_is_read_only_is_named(cli, rendered, work, small_disk, monkeypatch, command):
    place, mount = small_disk
    mount("size=200m")
    shutil.copytree(rendered, place / "run")
    monkeypatch.chdir(place)
    mount("ro")
    found = cli(*command)
    assert found.code == 2
    assert "run cannot be written: Read-only file system" in found.err
    assert ".part" not in found.err
