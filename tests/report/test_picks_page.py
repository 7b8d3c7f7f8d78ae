"""Marks on the page, what becomes of them, and the details of an image, in a real browser."""

import json
import re
import shlex
import shutil

import pytest

from batch.base.errors import UserError
from batch.cli.main import main
from batch.plan.pins import Pins
from batch.run.limits import Limits
from batch.store.folder import RunFolder
from batch.store.job import Origin
from batch.upkeep import picks
from batch.upkeep.albums import Album
from tests.fake_session import Fault
from tests.helpers import Seen, fake_run, grid, images, plan, receipts_of
from tests.report.pages import until

HOSTILE = "</script><script>alert(1)</script> \"1984\" & 'b' — #1: {a}, \u202eleft\u202c\x7f \U0001f98a\ttab\nline"

WRITTEN = json.dumps(HOSTILE.replace("\U0001f98a", "FOX")).replace("FOX", "\U0001f98a")  # YAML knows no pairs

MANIFEST = f"""\
name: night
styles: {{ink: "{{prompt}}, in ink", plain: "{{prompt}}"}}
grid:
  model: demo
  prompt: [{WRITTEN}, "1984", "no: yes"]
  negative_prompt: [fog, "- x"]
  style: [ink, plain]
  seed: [18446744073709551615, 7]
  size: [512x512, 300x200]
  steps: 1
  scheduler: dpm++(flow_shift=6, use_karras_sigmas=false)
  extra.complex_human_instruction: [["Be brief:", "Prompt: "]]
  extra.sigmas: [null, [1.0, 0.5]]
resize: true
output: {{format: webp, quality: 70}}
"""
"""Of its images the first few are rendered or fail, the others are missing."""


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    folder = tmp_path_factory.mktemp("night")
    (folder / "job.yaml").write_text(MANIFEST, encoding="utf-8")
    faults = (Fault("oom-torch", stage="decode", prompt="1984, in ink"), Fault("error", prompt="1984"))
    limits = Limits(max_images=9)
    fake_run(folder / "job.yaml", *faults, seen=Seen(), out=folder / "run", engine="local", limits=limits)
    return folder / "run"


@pytest.fixture(scope="module")
def tabs(browser):
    """Opens pages that share one browser's storage and clipboard."""
    context = browser.new_context(
        viewport={"width": 1200, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    said = []

    def opened(night, script=""):
        page = context.new_page()
        page.said = said
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        if script:
            page.add_init_script(script)
        page.goto((night / "report.html").as_uri())
        return page

    yield opened
    context.close()
    assert said == []


@pytest.fixture
def page(tabs, night):
    """The page of the run, with no mark."""
    page = tabs(night)
    page.evaluate("localStorage.clear()")
    page.reload()
    yield page
    page.close()


def counts(page):
    return [page.text_content(f"[data-shows={word}]").split()[0] for word in ("picked", "rejected", "unmarked")]


def ids(page, mark):
    return {image["id"] for image in page.evaluate(f"data.images.filter(image => markOf(image.id) === '{mark}')")}


def test_marks_by_key_and_button_in_every_tab_and_after_a_reload(tabs, night, page):
    cards = page.locator(".card")
    cards.nth(0).locator("a.picture").focus()
    page.keyboard.press("p")
    cards.nth(1).locator("[data-puts=rejected]").click()
    assert cards.nth(0).locator("[data-puts=picked]").get_attribute("aria-pressed") == "true"
    assert counts(page) == ["1", "1", "94"]
    page.keyboard.press("p")  # the focus is on a button of the second
    other = tabs(night)
    assert counts(other) == ["2", "0", "94"]
    other.locator(".card").nth(0).locator("a.picture").focus()
    other.keyboard.press("p")
    other.locator(".card").nth(1).locator("a.picture").click()
    other.keyboard.press("x")
    other.keyboard.press("u")
    other.keyboard.press("x")
    other.keyboard.press("Escape")
    other.focus("#text")
    other.keyboard.type("pxu")  # words, not marks
    until(page, "markOf(data.images[0].id) === '' && markOf(data.images[1].id) === 'rejected'")
    assert counts(page) == counts(other) == ["0", "1", "95"]
    assert cards.nth(1).locator("[data-puts=rejected]").get_attribute("aria-pressed") == "true"
    other.close()
    page.reload()
    assert counts(page) == ["0", "1", "95"]
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("text=Clear")
    assert counts(page) == ["0", "0", "96"]


def test_what_is_marked_is_shown_alone_and_the_focus_goes_on(page):
    for place, key in ((0, "p"), (2, "p"), (3, "x")):
        page.locator(".card").nth(place).locator("a.picture").focus()
        page.keyboard.press(key)
    names = page.evaluate("[0, 1, 2, 3].map(at => data.images[at].name)")
    shown = "visible.map(image => image.name)"
    page.click("[data-shows=picked]")
    assert page.evaluate(shown) == [names[0], names[2]]
    page.click("[data-shows=unmarked]")
    assert page.evaluate(f"{shown}.length") == 93
    assert page.evaluate(f"{shown}[0]") == names[1]
    page.click("[data-shows=rejected]")
    assert page.evaluate(shown) == [names[3]]
    assert page.get_attribute("[data-shows=rejected]", "aria-pressed") == "true"
    page.click("[data-shows=picked]")
    page.locator(".card").nth(0).locator("[data-puts=picked]").click()
    assert page.evaluate(shown) == [names[2]]
    assert page.evaluate("document.activeElement.dataset.id === visible[0].id")
    page.click("[data-shows=picked]")
    assert page.evaluate(f"{shown}.length") == 96
    assert not page.is_visible("#picks-now")
    page.mouse.wheel(0, 3000)
    until(page, "document.querySelector('#picks-now').innerText.startsWith('✓ 1 picked')")
    page.locator(".card a.picture").nth(0).click()
    assert "1 picked" in page.inner_text("#viewer")


PICKS = {
    "some of each kind": [0, 1, 3, 7, 40, 77, 95],
    "a product": "data.images.flatMap((image, at) => image.style === 'ink' && image.width === 512 ? [at] : [])",
    "all": "data.images.map((image, at) => at)",
    "one": [90],
}


def pick(page, which):
    page.evaluate("places => mark(data.images.filter((image, at) => places.includes(at)), 'picked')", which)
    return ids(page, "picked")


@pytest.mark.parametrize("which", PICKS)
def test_the_copied_manifest_renders_the_same_pictures(page, night, cli, work, which):
    """Texts with quotes and letters that YAML does not print, seeds of 64 bits, resampled sizes, lists."""
    places = PICKS[which] if isinstance(PICKS[which], list) else page.evaluate(PICKS[which])
    picked = pick(page, places)
    page.click("#picks-bar >> text=Copy manifest")
    until(page, "document.querySelector('#picks-bar [role=status]').textContent.includes('copied')")
    text = page.evaluate("navigator.clipboard.readText()")
    (work / "final.yaml").write_text(text, encoding="utf-8")
    assert {task.id for task in plan(work / "final.yaml").tasks} == picked
    assert ("include:" in text) == (which == "some of each kind")
    if which != "all":
        with page.expect_download() as file:
            page.click("#picks-bar >> text=Download picks.txt")
        file.value.save_as(work / "picks.txt")
        words = shlex.split(page.inner_text(".picks-then code"))
        outcome = cli(*words[words.index("manifest") : -1], "same.yaml")
        assert outcome.code == 0, outcome.err
        assert {task.id for task in plan(work / "same.yaml").tasks} == picked
        page.evaluate("mark(data.images, '')")
        page.set_input_files("#picks-bar input[type=file]", work / "picks.txt")
        until(page, "document.querySelector('#picks-bar [role=status]').textContent.includes('picked')")
        assert ids(page, "picked") == picked


def load(page, text):
    """Give a list to the page; what it says of it."""
    said = "document.querySelector('#picks-bar [role=status]').textContent"
    page.evaluate("document.querySelector('#picks-bar [role=status]').textContent = ''")
    held = {"name": "picks.txt", "mimeType": "", "buffer": text.encode()}
    page.set_input_files("#picks-bar input[type=file]", held)
    until(page, f"{said} !== ''")
    return page.evaluate(said)


def test_an_image_that_a_list_names_often_is_picked_once(page):
    first, second = page.evaluate("data.images.slice(0, 2)")
    lines = [first["name"], first["id"], first["name"], f"- {second['name']}", second["id"][:8]]
    assert load(page, "".join(f"{line}\n" for line in lines)) == "2 picked"
    assert ids(page, "picked") == {first["id"], second["id"]}


def test_lines_that_name_none_or_several_are_told(page):
    first, second = (image["id"] for image in page.evaluate("data.images.slice(0, 2)"))
    assert load(page, f"# a\x1b[1mb\n{first}\nnone\n\x1b[2J\n{first}-{second}\n") == (
        "1 picked; 2 lines name no image here, such as none; "
        f"1 line names several images, such as {first}-{second}"
    )


@pytest.fixture
def moved(night, work):
    """The run with two pictures of one name in two folders, one of an odd name, and one in images/images/."""
    run = shutil.copytree(night, work / "a run's")
    first, second, third, fourth, *_ = images(run)
    for path, place in ((first, "a/fav.webp"), (second, "b/fav.webp"), (third, "my fav #1 \u00e9.webp"),
                        (fourth, f"images/{fourth.name}")):  # fmt: skip
        (run / "images" / place).parent.mkdir(exist_ok=True)
        path.rename(run / "images" / place)
    assert main(["report", str(run)]) == 0
    return run


def lines_of(run, path):
    """A picture as terminals, file managers and people write it."""
    full, inner, name = str(path), path.relative_to(run).as_posix(), path.name
    windows = inner.replace("/", "\\")
    yield from (
        full,
        inner,
        name,
        path.stem,
        f"./{inner}",
        f"images/../{inner}",
        f"//{inner}",
        inner.upper(),
        "C:/b/" + inner,
    )
    yield from (f'"{full}"', f"'{inner}'", f'"{inner}', shlex.quote(full), re.sub(r"([ '\"#])", r"\\\1", full))
    yield from (
        path.as_uri(),
        f"file://localhost{full}",
        f"file://{full}",
        f"file:///C:/{inner}",
        f"file://{inner}?a#b",
    )
    yield from (windows, f"C:\\b\\{windows}", f".\\{windows}", f"\\\\server\\b\\{windows}", f'"{windows}"')
    yield from (f"-rw-r--r-- 1 u u 138378 Nov 29 14:24 {name}", f"- {name}", f"* {inner}", f"{name} (1).jpg")
    yield from (
        f"{name}\tgood",
        f"{name} # good # best",
        f"{full} #1",
        f"{name}#",
        f"{path.stem}.png",
        f"b/{path.stem} - copy.jpg",
    )
    yield from (
        f"file:{name}%",
        f"%{name}",
        f"{name}/",
        f"{name}/x",
        f"\u00a0{name}\u3000",
        name.replace("\u00e9", "e\u0301"),
    )


NO_IMAGE = (
    ".", "..", "/", "images", "images/", "../..", ".png", "images/.png", "\\", "a\\", '"', "''", '""', "%", "#\t",
    "a #", "file:", "file://", "file:///", "file:///%", "file:///%ff%fe", "constructor", "__proto__",
    "toString.png", "0" * 8, "x" * 5_000,
)  # fmt: skip


def test_the_page_reads_a_line_as_the_command_does(tabs, moved, work):
    album = Album.opened(moved)
    keys = [key for image in receipts_of(moved)[:3] for key in (image.task.id, image.task.id[:8], image.task.name)]
    paths = [path for path in images(moved) if path.is_file()]
    lines = [*NO_IMAGE, *keys, "-".join(keys[:4]), *(line for path in paths for line in lines_of(moved, path))]

    def read(line):
        (work / "picks.txt").write_text(line, encoding="utf-8")
        try:
            return [key for _, key in picks.read_picks(work / "picks.txt", [album])]
        except UserError as error:
            return "several" if "may be" in str(error) else "none"

    page = tabs(moved)
    reads = page.evaluate(
        """lines => lines.map(namer()).map(found => found.size === 1 ? [...found].map(image => image.id)
           : found.size ? "several" : "none")""",
        [line.strip() for line in lines],
    )
    page.close()
    assert list(zip(lines, reads, strict=True)) == [(line, read(line)) for line in lines]
    assert {"none", "several"} < {str(one) for one in reads}


def test_the_manifest_of_a_measurement_is_one(tabs, work):
    """Of a run in which nothing was rendered: the page knows its plan."""
    (work / "job.yaml").write_text(
        "kind: measure\nrepeats: 2\n" + grid(model="demo", prompt=["a", "b"], steps=1, memory=["full", "tiled"])
    )
    tasks = plan(work / "job.yaml").tasks
    folder = RunFolder(work / "run")
    with folder.hold():
        folder.begin("job", "measure", Origin(), tasks, Pins())
    assert main(["report", "run"]) == 0
    page = tabs(work / "run")
    page.evaluate("mark(data.images.filter(image => image.prompt === 'a'), 'picked')")
    (work / "again.yaml").write_text(page.evaluate("manifestText(data.images.filter(image => markOf(image.id)))"))
    page.close()
    assert {task.id for task in plan(work / "again.yaml").tasks} == {
        task.id for task in tasks if task.prompt == "a"
    }


def test_where_the_browser_keeps_and_copies_nothing(tabs, night):
    """As Safari does with a page from disk."""
    denied = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied'); }});"
    page = tabs(night, denied + "Object.defineProperty(navigator, 'clipboard', {value: undefined});")
    page.locator(".card").nth(0).locator("[data-puts=picked]").click()
    assert counts(page)[0] == "1"
    assert "keeps no marks" in page.inner_text("#picks-bar [role=status]")
    for name, held, said in (
        ("noise.bin", bytes(range(256)), "noise.bin is no list of picks: it is not text."),
        ("large.txt", b"x\n" * (4 * 2**20 + 1), "large.txt is no list of picks: it has more than 8 MiB."),
        ("other.txt", b"elsewhere.png\n", "0 picked; 1 line names no image here, such as elsewhere.png"),
    ):
        page.set_input_files("#picks-bar input[type=file]", {"name": name, "mimeType": "", "buffer": held})
        until(page, f"document.querySelector('#picks-bar [role=status]').textContent === {said!r}")
    page.click("#picks-bar >> text=Copy manifest")
    until(page, "document.querySelector('#picks-bar [role=status]').textContent.includes('copied')")
    reader = tabs(night)
    assert reader.evaluate("navigator.clipboard.readText()").startswith("# ")
    reader.close()
    page.evaluate("document.execCommand = () => false")
    page.click("#picks-bar >> text=Copy manifest")
    assert "grid:" in page.input_value(".by-hand textarea")
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('.by-hand')")
    page.close()


def test_details_hold_all_of_a_receipt_as_text(page, night):
    (first, *_) = page.evaluate("data.images")
    page.locator(".card a.picture").first.click()
    page.keyboard.press("i")
    text = page.text_content(".details")
    receipt = next(item for item in receipts_of(night) if item.task.id == first["id"])
    for value in (receipt.task.prompt, receipt.task.negative_prompt, receipt.file.sha256,
                  str(receipt.task.seed), receipt.started_at[:4], receipt.machine.device, "denoise"):  # fmt: skip
        assert value in text, value
    assert page.locator(".details script, .details img").count() == 0
    page.click(".details >> text=Copy prompt")
    until(page, "document.querySelector('.details [role=status]').textContent === 'Prompt: copied'")
    assert page.evaluate("navigator.clipboard.readText()") == receipt.task.prompt
    page.keyboard.press("i")
    assert not page.is_visible(".details")


def test_details_of_what_failed_say_why_and_how_to_try_again(page, night):
    for failure in RunFolder(night).scan().failures.values():
        page.evaluate(
            "id => document.body.append(details(data.images.find(image => image.id === id)))", failure.task.id
        )
        text = page.text_content("body > .details:last-child")
        for said in (failure.error.message, f"at: {failure.error.stage}", "attempts: ", "--retry-"):
            assert said in text
