"""The contact sheet: which axes make its table, what a page holds, and the sheets that `report` is asked for."""

import itertools
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from batch.base.errors import ForeignFolder, UserError
from batch.cli.progress import Silent
from batch.manifest.axes import AXES
from batch.records.receipts import TextTokens
from batch.records.tasks import Task
from batch.report.compare.runs import read_runs
from batch.report.compare.settings import by_setting
from batch.report.lettering.lines import paragraph
from batch.report.order import place_by
from batch.report.sheet import axes, drawing, growing, layout
from batch.report.sheet.axes import axes_of, choose
from batch.report.sheet.blocks import begun_of, blocks_of
from batch.report.sheet.cells import PAPER, draw_cell
from batch.report.sheet.chosen import Choice, stem_of
from batch.report.sheet.drawing import said_before
from batch.report.sheet.growing import Sheets
from batch.report.sheet.heading import Heading, totals
from batch.report.sheet.pages import pages_of
from batch.report.sheet.show import Page, showing
from batch.store import inside
from batch.store.folder import RunFolder
from tests.fake_session import Fault
from tests.helpers import fake_run
from tests.report.pages import embedded

MANIFEST = """\
name: axes
grid: {model: demo, prompt: [a fox, 富士山], seed: 0..2, steps: [2, 1], size: [672x384, 512x512]}
run: {min_free_disk: 1MB, retries: 1}
"""


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A run of two prompts, three seeds of which one fails, two steps, two sizes."""
    root = tmp_path_factory.mktemp("sheets")
    (root / "job.yaml").write_text(MANIFEST, encoding="utf-8")
    fake_run(root / "job.yaml", Fault("error", seed=1), seen=Silent(), out=root / "run", engine="local")
    return root / "run"


@pytest.fixture
def run(rendered, work):
    shutil.copytree(rendered, work / "run")
    return RunFolder(work / "run")


def tasks_of(**values) -> list[Task]:
    """All combinations of some values."""
    plain = Task(
        model="demo", dtype="float32", prompt="a", seed=0, width=512, height=512, rendered_width=512,
        rendered_height=512, steps=1, guidance=1.0,
    )  # fmt: skip
    rows = itertools.product(*values.values())
    return [replace(plain, id=f"{n:016x}", **dict(zip(values, row, strict=True))) for n, row in enumerate(rows)]


def arranged(tasks, *, rows=(), columns=()):
    """The names of the axes down, across, and from table to table."""
    found = choose(axes_of(tasks), rows, columns)
    return tuple([axis.name for axis in some] for some in (found.rows, found.columns, found.blocks))


def shown(tasks, **chosen):
    """Of each table its title, what stands above the columns, and what stands beside the rows."""
    made = blocks_of(tasks, choose(axes_of(tasks), **chosen))
    return [
        (block.title, [" / ".join(block.names.columns[key]) for key in block.columns if block.headed()],
         [block.label(row, above) for above, row in itertools.pairwise([None, *block.rows])])
        for block in made
    ]  # fmt: skip


def test_every_axis_of_a_manifest_may_be_one_of_a_sheet():
    assert tuple(AXES) == axes.ORDER


@pytest.mark.parametrize(
    ("values", "table"),
    [
        ({"prompt": "abcd", "seed": range(3), "width": (512, 672)}, (["prompt"], ["seed"], ["size"])),
        ({"steps": range(1, 5), "guidance": (1.0, 2.0, 3.0)}, (["steps"], ["guidance"], [])),
        ({"guidance": (1.0, 2.0, 3.0), "steps": range(1, 4)}, (["steps"], ["guidance"], [])),
        ({"prompt": "ab", "seed": range(9)}, (["prompt"], ["seed"], [])),
        ({"prompt": "ab", "seed": range(9), "steps": range(1, 4)}, (["seed"], ["steps"], ["prompt"])),
        ({"seed": range(5)}, (["seed"], [], [])),
        ({"prompt": "a"}, ([], [], [])),
        ({"model": "xy", "prompt": "ab"}, (["prompt"], ["model"], [])),
        ({"extra": ((), (("eta", 1),), (("eta", 1.0),)), "seed": range(2)}, (["extra.eta"], ["seed"], [])),
    ],
)
def test_the_two_axes_with_the_most_values_make_the_table(values, table):
    assert arranged(tasks_of(**values)) == table


def test_an_axis_that_another_one_decides_is_said_along_with_it():
    zipped = [replace(task, guidance=task.steps / 2) for task in tasks_of(prompt="abc", steps=(1, 2))]
    assert arranged(zipped) == (["prompt"], ["steps"], [])
    assert shown(zipped) == [("", ["guidance 0.5 · steps 1", "guidance 1 · steps 2"], ["a", "b", "c"])]
    own = [replace(task, steps=ord(task.prompt)) for task in tasks_of(prompt="abc", seed=(1, 2))]
    assert shown(own) == [("", ["seed 1", "seed 2"], ["steps 97 · a", "steps 98 · b", "steps 99 · c"])]


def test_axes_may_be_chosen_and_stand_in_levels():
    tasks = tasks_of(prompt="ab", seed=(1, 2, 3), steps=(5, 6), guidance=(1.0, 2.0))
    assert arranged(tasks, rows=["steps"]) == (["steps"], ["seed"], ["prompt", "guidance"])
    assert arranged(tasks, columns=["prompt"]) == (["seed"], ["prompt"], ["steps", "guidance"])
    assert arranged(tasks, rows=["prompt", "seed"], columns=["steps", "guidance"])[2] == []
    ((_, columns, rows),) = shown(tasks, rows=["prompt", "seed"], columns=["steps", "guidance"])
    assert columns[:2] == ["steps 5 / guidance 1", "steps 5 / guidance 2"]
    assert rows[:4] == ["a · seed 1", "seed 2", "seed 3", "b · seed 1"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("steps", "steps does not differ between the images of this run; what does: prompt (2 values), seed (3"),
        ("sed", "did you mean 'seed'?"),
        ("cfg", "'cfg' is no axis of this run; what differs"),
    ],
)
def test_a_wrong_axis_says_which_there_are(name, said):
    with pytest.raises(UserError, match=re.escape(said)):
        arranged(tasks_of(prompt="ab", seed=range(3)), rows=[name])


def test_styles_are_an_axis_where_every_prompt_has_every_style():
    plain = tasks_of(prompt=("a fox", "a whale"), style=("", "oil", "ink"))
    ends = {"": "", "oil": ", in oil", "ink": ", in ink"}
    tasks = [replace(task, prompt=task.prompt + ends[task.style], negative_prompt=task.style) for task in plain]
    assert shown(tasks) == [("", ["style none", "style oil", "style ink"], ["a fox", "a whale"])]
    assert shown(tasks[1:])[0][2][0] == "a fox, in oil"  # a hole: prompts are as they were rendered
    without = [task for task in tasks if task.style]
    assert shown(without) == [("", ["style oil", "style ink"], ["a fox, in", "a whale, in"])]


def test_what_goes_along_with_prompts_is_an_axis_where_it_is_named():
    plain = tasks_of(prompt=("a fox", "a whale"), style=("", "oil"), seed=(1, 2))
    tasks = [replace(task, prompt=f"{task.prompt} {task.style}".strip()) for task in plain]
    tasks = [replace(task, negative_prompt=task.style and "photo") for task in tasks]
    assert shown(tasks, columns=["negative_prompt"])[0][1] == [
        "style none · negative prompt none", "style oil · negative prompt photo"
    ]  # fmt: skip
    tasks += [replace(tasks[0], id="f" * 16, prompt="a heart")]  # not in every style, so prompts are whole
    whole = ["a fox", "a fox oil", "a whale", "a whale oil"]
    assert shown(tasks) == [("", ["seed 1", "seed 2"], whole), ("", ["seed 1"], ["a heart"])]
    assert shown(tasks, rows=["prompt"], columns=["style"])[:2] == [
        ("seed 1", ["style none"], ["a fox", "a whale", "a heart"]), ("seed 1", ["style oil"], whole[1::2])
    ]  # fmt: skip
    assert arranged(tasks, rows=["prompt"], columns=["seed", "style"]) == (["prompt"], ["seed", "style"], [])
    assert arranged(tasks, rows=["negative_prompt"])[0] == ["negative_prompt"]
    with pytest.raises(
        UserError, match=re.escape("prompt (5 values), negative_prompt (2 values), style (2 values)")
    ):
        arranged(tasks, rows=["steps"])


def test_seeds_that_belong_to_prompts_have_no_columns_of_their_own():
    own = [replace(task, seed=10 * ord(task.prompt) + task.seed) for task in tasks_of(prompt="abcde", seed=(1, 2))]
    assert shown(own)[0][2][:2] == ["seed 971, 972 · a", "seed 981, 982 · b"]
    one = [task for task in own if task.seed % 10 == 1]
    assert shown(one)[0] == ("", [], [f"seed {10 * ord(p) + 1} · {p}" for p in "abcde"])
    more = [replace(task, steps=steps) for task in own for steps in (1, 2, 3)]
    assert arranged(more) == (["prompt", "seed"], ["steps"], [])
    halves = [task for task in tasks_of(prompt="abcdef", seed=range(4)) if (task.prompt < "d") == (task.seed < 2)]
    assert [(columns, rows) for _, columns, rows in shown(halves)] == [
        (["seed 0", "seed 1"], ["a", "b", "c"]), (["seed 2", "seed 3"], ["d", "e", "f"])
    ]  # fmt: skip


def test_values_stand_as_in_the_manifest_whatever_is_rendered_first(run):
    assert run.origin().order == {"size": ("672x384", "512x512"), "steps": ("2", "1")}
    tasks = sorted(run.tasks(), key=place_by(run.origin().order))
    found = {axis.name: list(axis.values.values()) for axis in axes_of(tasks)}
    assert (found["size"], found["steps"]) == (["672x384", "512x512"], ["2", "1"])
    unknown = {axis.name: list(axis.values.values()) for axis in axes_of(sorted(run.tasks(), key=place_by({})))}
    assert (unknown["size"], unknown["steps"]) == (["672x384", "512x512"], ["1", "2"])  # small before large
    timing = embedded((run.root / "report.html").read_text(encoding="utf-8"))[1]["timing"]
    rows = [dict(zip(timing["columns"], row, strict=True)) for row in timing["rows"]]
    assert [row["steps"] for row in rows if row["size"] == "672x384"] == [2, 1]
    compared = [group.setting for group in by_setting(read_runs([run.root]))]
    assert [setting.steps for setting in compared if setting.size == "672x384"] == [2, 1]


def test_the_heading_counts_and_times(run):
    said = totals(run.tasks(), run.scan())
    assert re.fullmatch(
        r"16 of 24 images · 8 failed · "
        r"images took [\d.]+s together · median [\d.]+s an image · \d{4}-\d\d-\d\d",
        said,
    )


# Layout


def test_nothing_is_cut_off_and_nothing_overlaps():
    """Every picture and label has its place on its page, whatever the table."""
    for tasks in (
        tasks_of(prompt="ab", seed=range(40)), tasks_of(prompt=[f"p{n}" for n in range(300)], seed=(1, 2)),
        tasks_of(seed=range(100)), tasks_of(prompt="abc", width=(64, 512, 2048), steps=range(1, 9)),
    ):  # fmt: skip
        held = 0
        for page in pages_of(blocks_of(tasks, choose(axes_of(tasks))), layout.Paper()):
            width, height = drawing.page_size(page, Heading(name="x"), layout.Paper())
            assert width <= 16_000 and height <= 5_000
            assert width < 4 * height
            for shelf in page:
                for table, left in shelf.placed():
                    places = table.places()
                    assert left + table.width + layout.MARGIN <= width
                    assert len({(place.left, place.top) for place in places}) == len(places)
                    assert all(place.top + place.height <= table.height for place in places)
                    assert sum(table.widths) + table.label < table.one
                    held += sum((row, key) in table.block.cells for row in table.block.rows for key in
                                table.block.columns)  # fmt: skip
        assert held == len(tasks)


def test_long_tables_stand_side_by_side_and_wide_ones_go_on_below():
    (page,) = pages_of(blocks(tasks_of(prompt="ab", seed=range(20))), layout.Paper())
    assert [len(shelf.tables[0].block.columns) for shelf in page] == [10, 10]
    (page,) = pages_of(blocks(tasks_of(steps=range(1, 5), guidance=(1.0, 2.0, 3.0))), layout.Paper())
    assert [table.side for shelf in page for table in shelf.tables] == [1]
    (page,) = pages_of(blocks(tasks_of(prompt=[f"p{n}" for n in range(30)], seed=(1, 2))), layout.Paper())
    assert page[0].tables[0].side == 3
    many = tasks_of(steps=(1, 2, 3), guidance=(1.0, 2.0, 3.0), memory="ab", dtype="xy")
    (page,) = pages_of(blocks(many), layout.Paper())
    assert [len(shelf.tables) for shelf in page] == [2, 2]


LONG = (
    "green hills under a blue sky with a yellow sun, intricate, elegant, highly detailed, digital painting, " * 3
)


@pytest.mark.parametrize("paper", [layout.Paper(), layout.Paper(cell=48), layout.Paper(fixed=True, width=1754)])
@pytest.mark.parametrize("begun", [4, 96])
def test_words_above_and_below_a_table_end_before_the_next_one(paper, begun):
    tasks = tasks_of(prompt=(LONG, "a fox"), seed=(7, 2**32 - 1), width=(512, 288), steps=(2, 4), dtype="ab")
    named = blocks_of(tasks, choose(axes_of(tasks), ["dtype"], ["steps"]))
    shelves = list(itertools.chain(*pages_of(begun_of(named, lambda task: task in tasks[:begun]), paper)))
    assert max(len(shelf.tables) for shelf in shelves) > 1
    for table in (table for shelf in shelves for table in shelf.tables if len(shelf.tables) > 1):
        letters = table.letters
        assert all(line.width(letters.title) <= table.width for line in table.title)
        assert paragraph(table.block.left).width(letters.text) <= table.width
    for shelf in shelves:
        assert len({table.top for table in shelf.tables if table.heights}) < 2  # pictures beside one another
        titles = ["".join(line.text for line in table.title) for table in shelf.tables]
        assert len(set(titles)) == len(titles), titles


def test_the_title_of_a_table_alone_goes_on_beyond_its_pictures():
    (block,) = blocks(tasks_of(seed=(1, 2), steps=(1, 2)))
    (((table,),),) = [
        [shelf.tables for shelf in page] for page in pages_of([replace(block, texts=LONG)], layout.Paper())
    ]
    assert table.width < max(line.width(table.letters.title) for line in table.title) <= table.letters.narrowest


def test_pages_that_are_set_otherwise_are_drawn_again(run):
    tasks = tasks_of(seed=(1, 2), steps=(1, 2), width=(64, 512))
    some = [shelf.tables[0] for page in pages_of(blocks(tasks), layout.Paper(target=9)) for shelf in page]
    shelves = [[layout.TableShelf(tables=tuple(some))], [layout.TableShelf(tables=(one,)) for one in some]]
    beside, below = (
        showing(Page(number=1, heading=Heading(name="x"), shelves=each), run.scan()) for each in shelves
    )
    assert beside != below


def blocks(tasks):
    return blocks_of(tasks, choose(axes_of(tasks)))


def test_a_line_of_pictures_says_what_they_share_once_and_first():
    """Pictures go on to the right, so that one tells no more than what it differs in from the one at its left."""
    tasks = tasks_of(prompt="ab", seed=range(12))
    (page,) = pages_of(blocks_of(tasks, choose(axes_of(tasks), ["prompt", "seed"])), layout.Paper())
    assert labels(page[0].tables[0]) == [
        ["a · seed 0", *(f"seed {n}" for n in range(1, 8))],
        ["a · seed 8", "seed 9", "seed 10", "seed 11", "b · seed 0", "seed 1", "seed 2", "seed 3"],
        ["b · seed 4", *(f"seed {n}" for n in range(5, 12))],
    ]


def test_a_table_beside_another_says_all_in_its_first_row():
    tasks = tasks_of(prompt="ab", seed=range(12), steps=(1, 2))
    (page,) = pages_of(blocks_of(tasks, choose(axes_of(tasks), ["prompt", "seed"], ["steps"])), layout.Paper())
    (table,) = page[0].tables
    found = dict(
        zip(((place.left, place.top) for place in table.places()), itertools.chain(*labels(table)), strict=True)
    )
    firsts = [text for (_, top), text in found.items() if top == table.top]
    assert table.side > 1 and all(" · seed" in text for text in firsts)
    assert len([text for text in found.values() if " · seed" in text]) <= table.side + 1


def labels(table):
    """What stands at the pictures of a table, line by line where they follow one another."""
    found = [table.block.label(row, key) for row, key in zip(table.block.rows, said_before(table), strict=True)]
    return [found[start : start + table.side] for start in range(0, len(found), table.side)]


def test_rows_not_begun_are_counted_by_their_axis():
    (found,) = begun_of(blocks(tasks_of(steps=range(1, 6), guidance=(1.0, 2.0))), lambda task: task.steps < 3)
    assert found.left == "3 rows not rendered yet"
    (found,) = begun_of(blocks(tasks_of(width=(64, 128, 256), steps=(1, 2))), lambda task: task.width == 64)
    assert found.left == "2 sizes not rendered yet"


# Files


def test_pages_sort_and_are_renamed_without_being_drawn_again(run, monkeypatch):
    monkeypatch.setattr(growing, "PAPER", layout.Paper(height=700))
    drawn = []
    real = growing.draw_page
    monkeypatch.setattr(growing, "draw_page", lambda *args: drawn.append(args[1]) or real(*args))
    sheets, scan = Sheets(run, run.tasks()), run.scan()
    shutil.copy(run.root / "contact_sheet.jpg", run.root / "contact_sheet-007.jpg")  # of another numbering
    (run.root / "contact_sheet-best.jpg").write_bytes(b"somebody's own")
    assert [path.name for path in sheets.write(scan)] == [f"contact_sheet-{n}.jpg" for n in range(1, 5)]
    count = len(drawn)
    monkeypatch.setattr(
        growing.files, "page_name", lambda stem, number, pages, suffix: f"{stem}-0{number}.{suffix}"
    )
    assert [path.name for path in sheets.write(scan)] == [f"contact_sheet-0{n}.jpg" for n in range(1, 5)]
    assert len(drawn) == count
    left = sorted(path.name for path in run.root.glob("contact_sheet*"))
    assert left == [*(f"contact_sheet-0{n}.jpg" for n in range(1, 5)), "contact_sheet-best.jpg"]


def test_numbers_are_as_wide_as_the_last_one():
    names = [growing.files.page_name("s", number, 120, "jpg") for number in (1, 20, 120)]
    assert names == ["s-001.jpg", "s-020.jpg", "s-120.jpg"]
    assert growing.files.page_name("s", 1, 1, "png") == "s.png"


def test_a_file_says_whose_it_is(run, cli):
    with Image.open(Sheets(run, run.tasks()).write(run.scan())[0]) as image:
        assert owner(image) == ("axes", run.id())
    for kind, suffix in (("png", "png"), ("webp", "webp"), ("jpeg", "jpg")):
        assert cli("report", "run", "--format", kind, "--cell", "64").code == 0
        with Image.open(run.root / f"contact_sheet-prompt-by-seed-64px.{suffix}") as image:
            image.load()
            assert image.format == kind.upper()
            assert (
                (image.text["Title"], image.text["Run"]) == ("axes", run.id()) if kind == "png" else owner(image)
            )
    assert cli("report", "run", "--format", "pdf").code == 0
    data = (run.root / "contact_sheet-prompt-by-seed.pdf").read_bytes()
    assert data.startswith(b"%PDF-1.4") and data.endswith(b"%%EOF\n")
    assert (b"\xfe\xff" + "axes".encode("utf-16-be")).hex().upper().encode() in data
    assert (b"\xfe\xff" + f"run {run.id()}".encode("utf-16-be")).hex().upper().encode() in data


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "pdf"])
def test_files_of_a_users_own_are_kept(run, cli, suffix):
    """Only what says that it is of this run is written over or removed."""
    kind = {"jpg": "jpeg"}.get(suffix, suffix)
    wanted = ("report", "run", "--format", kind, "--rows", "seed", "--cell", "48")
    assert "warning" not in (cli(*wanted).err + cli(*wanted).err)
    (place,) = run.root.glob(f"contact_sheet-*-48px.{suffix}")
    beside = place.with_stem(f"{place.stem}-7")
    place.write_text("mine")
    shutil.copy(next((run.root / "images").rglob("*.png")), beside)
    before = beside.read_bytes()
    said = cli(*wanted)
    assert (said.code, place.stat().st_size > 1_000, beside.read_bytes()) == (0, True, before)
    assert f"{place.name} carried no mark of this run; it is in" in said.err
    assert [path.read_text() for path in run.root.glob(f"trash/*/{place.name}")] == ["mine"]
    assert suffix == "pdf" or f"{beside.name} carries no mark of this run, and stays" in said.err
    (run.root / "contact_sheet.jpg").write_text("mine too")
    (run.root / "contact_sheet-02.jpg").write_text("and mine")
    said = cli("report", "run")
    assert "contact_sheet.jpg carried no" in said.err and "contact_sheet-02.jpg carries no" in said.err
    assert (run.root / "contact_sheet-02.jpg").read_text() == "and mine"


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({}, "prompt-by-seed"),
        ({"rows": ("prompt", "seed")}, "by-prompt-seed"),
        ({"columns": ("prompt", "seed")}, "image-by-prompt-seed"),
        ({"columns": ("prompt",)}, "seed-by-prompt"),
        ({"cell": 256}, "prompt-by-seed"),
        ({"cell": 64}, "prompt-by-seed-64px"),
        ({"cell": 256, "format": "pdf"}, "prompt-by-seed-256px"),  # not what fills the pages
        ({"cell": 256, "format": "pdf", "pages": "one"}, "prompt-by-seed"),
    ],
)
def test_no_two_arrangements_have_one_name(chosen, name):
    choice = Choice(**chosen)
    matrix = choose(axes_of(tasks_of(prompt="ab", seed=range(3))), choice.rows, choice.columns)
    assert stem_of(matrix, choice) == f"contact_sheet-{name}"


def test_sheets_of_one_axis_or_none_keep_their_names():
    names = [stem_of(choose(axes_of(tasks)), Choice()) for tasks in (tasks_of(seed=(1, 2)), tasks_of(prompt="a"))]
    assert names == ["contact_sheet-by-seed", "contact_sheet-by-image"]


def owner(image):
    exif = image.getexif()
    return exif[0x010E], exif.get_ifd(0x8769)[0xA420]


def test_a_pdf_is_whole(run, cli):
    """Pages, and a table that says where each part begins."""
    wanted = ("--rows", "seed", "--columns", "prompt", "--cell", "400")
    assert cli("report", "run", "--format", "pdf", *wanted).code == 0
    data = (run.root / "contact_sheet-seed-by-prompt-400px.pdf").read_bytes()
    pages = int(re.search(rb"/Count (\d+)", data)[1])
    assert pages == data.count(b"/Type /Page ") > 1
    assert data.count(b"[0 0 841.92 595.20]") == pages  # A4, landscape
    table = int(re.search(rb"startxref\n(\d+)\n", data)[1])
    assert data[table:].startswith(b"xref")
    places = [int(place) for place in re.findall(rb"(\d{10}) 00000 n ", data[table:])]
    assert [data[place:].split(b" ", 1)[0] for place in places] == [b"%d" % n for n in range(1, len(places) + 1)]


def test_a_pdf_of_some_pages_leaves_the_whole_one(run, cli):
    wanted = ("--format", "pdf", "--rows", "seed", "--columns", "prompt", "--cell", "400")
    stem = "contact_sheet-seed-by-prompt-400px"
    assert cli("report", "run", *wanted).code == 0
    whole = (run.root / f"{stem}.pdf").read_bytes()
    last = int(re.search(rb"/Count (\d+)", whole)[1])
    assert last > 3
    for pages, name, count in (
        ("2", "-p2", 1), ("2-3", "-p2-3", 2), (f"2-{last + 7}", f"-p2-{last}", last - 1), (f"1-{last}", "", last),
    ):  # fmt: skip
        assert f"{stem}{name}.pdf" in cli("report", "run", *wanted, "--pages", pages).out
        assert (run.root / f"{stem}{name}.pdf").read_bytes().count(b"/Type /Page ") == count
        assert (run.root / f"{stem}.pdf").read_bytes() == whole
    inside.check(run.root)


def test_a_pdf_of_one_page_leaves_the_one_for_print(run, cli):
    wanted = ("--format", "pdf", "--cell", "64")
    for more, name in (((), "-64px"), (("--pages", "one"), "-64px-one")):
        assert cli("report", "run", *wanted, *more).out.count(f"by-seed{name}.pdf") == 1


def test_pictures_fill_the_pages_of_a_pdf(run, cli):
    """They grow as long as that takes no more pages; none beyond its own size."""
    found = {}
    for cell in ("192", ""):
        assert cli("report", "run", "--format", "pdf", *(["--cell", cell] if cell else [])).code == 0
        suffix = f"-{cell}px" if cell else ""
        found[cell] = (run.root / f"contact_sheet-prompt-by-seed{suffix}.pdf").read_bytes()
    assert found["192"].count(b"/Type /Page ") == found[""].count(b"/Type /Page ")
    assert len(found[""]) > 1.1 * len(found["192"])


def test_another_sheet_stands_beside_that_of_the_run(run, cli):
    usual = (run.root / "contact_sheet.jpg").read_bytes()
    wanted = ("--rows", "steps", "--columns", "seed", "--columns", "size")
    said = cli("report", "run", *wanted, "--cell", "300").out
    path = run.root / "contact_sheet-steps-by-seed-size-300px.jpg"
    assert path.name in said
    with Image.open(path) as image:
        wide = image.width
    assert (run.root / "contact_sheet.jpg").read_bytes() == usual
    assert cli("report", "run").code == 0
    assert path.is_file()  # made once, and of the moment that its heading tells
    assert (
        cli("report", "run", "--rows", "steps", "--columns", "seed", "--columns", "size", "--cell", "48").code == 0
    )
    with Image.open(run.root / "contact_sheet-steps-by-seed-size-48px.jpg") as image:
        assert image.width < wide


def test_pages_are_chosen(run, cli, monkeypatch):
    def paper(choice):
        return layout.Paper(cell=choice.cell, height=9_000 if choice.one_page else 700)

    monkeypatch.setattr("batch.report.sheet.chosen._paper", paper)
    wanted = ("--rows", "prompt", "--rows", "steps", "--columns", "seed", "--cell", "128")
    stem = "contact_sheet-prompt-steps-by-seed-128px"
    shutil.copy(run.root / "contact_sheet.jpg", run.root / f"{stem}-9.jpg")  # of another numbering
    assert cli("report", "run", *wanted, "--pages", "2").code == 0
    assert [path.name for path in run.root.glob(f"{stem}*")] == [f"{stem}-2.jpg"]
    with Image.open(run.root / f"{stem}-2.jpg") as image:
        second = np.asarray(image)
    outcome = cli("report", "run", *wanted, "--pages", "1-9")
    assert (outcome.code, "warning: --pages 1-9: the sheet has 2 pages" in outcome.err) == (0, True)
    assert "warning: --pages" not in cli("report", "run", *wanted, "--pages", "1-2").err
    assert sorted(path.name for path in run.root.glob(f"{stem}*")) == [f"{stem}-1.jpg", f"{stem}-2.jpg"]
    with Image.open(run.root / f"{stem}-2.jpg") as image:
        assert np.array_equal(second, np.asarray(image))
    assert cli("report", "run", *wanted, "--pages", "one").code == 0
    assert [path.name for path in run.root.glob(f"{stem}*")] == [f"{stem}.jpg"]


def test_large_cells_are_made_of_the_pictures_themselves(run):
    receipt = next(item for item in run.scan().receipts.values() if item.task.width == 672)
    run.thumb_path(receipt.task.id).unlink()
    page = Image.new("RGB", (700, 400))
    draw_cell(page, (5, 5), (672, 384), receipt.task, run, run.scan(), layout.Letters())
    with Image.open(run.root / receipt.file.path) as picture:
        assert np.array_equal(np.asarray(page)[5 : 5 + 384, 5 : 5 + 672], np.asarray(picture))
    assert layout.picture_size(672, 384, 8192) == (672, 384)  # none is enlarged
    usual = layout.Letters()
    assert [layout.letters_for(cell).text // usual.text for cell in (48, 256, 512, 8192)] == [1, 1, 2, 4]
    assert layout.picture_size(64, 32, 256) == (256, 128)  # save for small ones


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rows", "dtype"], "dtype does not differ"),
        (["--rows", "seed", "--columns", "seed"], "seed cannot go down and across"),
        (["--pages", "3"], "--pages 3: the sheet has 1 page"),
        (["--pages", "0"], "0 names no pages"),
        (["--pages", "5-2"], "5-2 names no pages"),
        (["--cell", "9"], "48<=x<=8192"),
        (["--format", "gif"], "'gif' is not one of"),
    ],
)
def test_what_cannot_be_had_is_said(run, cli, options, said):
    outcome = cli("report", "run", *options)
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err


def test_pages_too_large_for_a_format_are_refused(run, cli, monkeypatch):
    monkeypatch.setattr("batch.report.sheet.chosen.A4", (500, 400))
    outcome = cli("report", "run", "--format", "pdf", "--cell", "600")
    assert outcome.code == 2
    assert "more than the 500x400 that an A4 page has at 150 dpi; choose a smaller --cell than 600" in outcome.err
    monkeypatch.setattr("batch.report.sheet.chosen.ONE_PIXELS", 1_000)
    outcome = cli("report", "run", "--pages", "one")
    assert outcome.code == 2 and "one page would have" in outcome.err
    monkeypatch.setitem(growing.files.FORMATS, "webp", replace(growing.files.FORMATS["webp"], side=900))
    outcome = cli("report", "run", "--format", "webp", "--pages", "one")
    assert outcome.code == 2
    assert "too many for one page of webp; choose a smaller --cell than 256" in outcome.err


def test_of_a_run_with_nothing_there_is_no_sheet(run, cli):
    shutil.rmtree(run.state / "receipts")
    shutil.rmtree(run.state / "failures")
    outcome = cli("report", "run", "--format", "png")
    assert outcome.code == 2 and "nothing is rendered yet" in outcome.err


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_sheets_are_not_written_through_links(run):
    for name in ("contact_sheet-01.jpg", "contact_sheet-steps-by-seed-2.webp", "contact_sheet-by-image.pdf"):
        (run.root / name).symlink_to(run.root / "results.csv")
        with pytest.raises(ForeignFolder, match=re.escape(name)):
            inside.check(run.root)
        (run.root / name).unlink()
    (run.root / "contact_sheet-best.jpg").symlink_to(run.root / "results.csv")  # whatever else a user keeps there
    inside.check(run.root)


@pytest.mark.parametrize("size", [(256, 256), (64, 128), (48, 48)])
def test_a_mark_stays_on_its_picture(run, size):
    receipt = next(iter(run.scan().receipts.values()))
    scan, page = run.scan(), Image.new("RGB", (300, 300), "black")
    marked = replace(receipt, degraded_from="full", texts=(TextTokens(tokens=20, read=9),))
    assert marked.cut
    scan = replace(scan, receipts={**scan.receipts, receipt.task.id: marked})
    draw_cell(page, (20, 20), size, receipt.task, run, scan, layout.Letters())
    assert page.getbbox() == (19, 19, 21 + size[0], 21 + size[1])


def test_a_white_picture_has_an_edge(run):
    receipt = next(iter(run.scan().receipts.values()))
    Image.new("RGB", (384, 384), "white").save(run.thumb_path(receipt.task.id))
    page = Image.new("RGB", (200, 200), PAPER)
    draw_cell(page, (20, 20), (100, 100), receipt.task, run, run.scan(), layout.Letters())
    pixels = np.asarray(page).astype(int)
    assert pixels[70, 70].min() > 250 and pixels[70, 19].max() < 230 and pixels[70, 120].max() < 230
    assert tuple(pixels[70, 18]) == PAPER
