"""Reports that grow: in the end they are the same as one of the whole, and no more work than there is news."""

import json
import time
from dataclasses import replace

import pytest

from batch.cli.progress import Silent
from batch.plan.pins import Pins
from batch.records.kinds import Status
from batch.records.receipts import Outcome
from batch.records.tasks import Task
from batch.report.book import Book
from batch.report.sheet import axes, blocks, growing, layout
from batch.report.sheet.growing import Sheets
from batch.report.sheet.pages import pages_of
from batch.report.write import write_report
from batch.store import live
from batch.store.folder import RunFolder
from batch.store.job import Origin
from batch.store.receipts import Scan
from tests.fake_session import Fault
from tests.helpers import fake_run
from tests.report.pages import embedded

MANIFEST = """\
grid: {model: demo, prompt: [a fox, "=2+2", an <owl>, a Fuß], seed: 1..6, steps: 1, size: [512x512, 672x384]}
run: {min_free_disk: 1MB, retries: 1}
"""


@pytest.fixture
def night(manifest, work):
    """A run with failures, and the outcomes that made it."""
    fake_run(manifest(MANIFEST), Fault("error", seed=3), seen=Silent(), out=work / "run", engine="local")
    folder = RunFolder(work / "run")
    scan = folder.scan()
    done = [Outcome(key=key, status=Status.DONE, receipt=item) for key, item in scan.receipts.items()]
    failed = [Outcome(key=key, status=Status.FAILED, failure=item) for key, item in scan.failures.items()]
    return folder, [*done, *failed]


def written(folder):
    paths = [*folder.root.glob("contact_sheet*.jpg"), folder.root / "results.csv", folder.root / "report.html"]
    return {path.name: path.read_bytes() for path in paths}


def test_grown_by_outcomes_or_read_from_receipts_it_is_the_same(night):
    folder, outcomes = night
    write_report(folder)
    whole = written(folder)
    book = Book(folder, folder.tasks(), Scan())
    for start in range(0, len(outcomes), 7):
        book.take(outcomes[start : start + 7])
        book.write(1.5, last=False)
    assert written(folder).keys() == whole.keys()
    book.write()
    assert written(folder) == whole


def test_a_page_follows_from_any_generation(night):
    """What the page of one writing and the pieces after it hold is what a later page holds."""
    folder, outcomes = night
    book, pages = Book(folder, folder.tasks(), Scan()), []
    for start in range(0, len(outcomes), 16):
        book.take(outcomes[start : start + 16])
        book.write(1.5, last=False)
        pages.append(embedded((folder.root / "report.html").read_text(encoding="utf-8"))[1])
    written = [data["live"].pop("written") for data in pages]
    assert written == sorted(written) and abs(written[-1] - time.time()) < 60
    assert [data.pop("live") for data in pages] == [{"began": 1.5, "generation": n} for n in (1, 2, 3)]
    for start, page in enumerate(pages, start=1):
        data = dict(page)
        for number in range(start + 1, book.pieces + 1):
            news = piece(folder, number)
            for index, image in news.pop("images"):
                data["images"][index] = image
            assert news.pop("records").keys() <= {image["id"] for image in data["images"]}
            assert news.pop("generation") == number
            assert news.pop("written") == pytest.approx(written[number - 1], abs=30)
            data |= news
        assert data == pages[-1]
    assert len(piece(folder, 1)["images"]) == len(folder.tasks())
    assert len(piece(folder, 2)["images"]) < len(folder.tasks())


def piece(folder, number):
    text = (folder.state / "page" / f"{number:04d}.js").read_text()
    assert not set("<>&") & set(text)
    return json.loads(text.removeprefix("runBatchPiece(").removesuffix(");\n"))


def test_only_pages_that_changed_are_drawn_again(night, monkeypatch):
    folder, outcomes = night
    monkeypatch.setattr(growing, "PAPER", layout.Paper(height=800))
    drawn = []
    real = growing.draw_page
    monkeypatch.setattr(growing, "draw_page", lambda *args: drawn.append(args[1]) or real(*args))
    book = Book(folder, folder.tasks(), Scan())
    book.take(outcomes[:-1])
    book.write(1.5, last=False)
    assert len(drawn) >= 4
    drawn.clear()
    book.take(outcomes[-1:])
    book.write(1.5, last=False)
    assert 1 <= len(drawn) <= 2  # the first, which counts, and that of the image
    drawn.clear()
    (folder.root / "contact_sheet-2.jpg").write_bytes(b"somebody was here")
    book.settle(folder.scan())
    book.write()
    assert len(drawn) == 1


def test_rows_without_pictures_are_a_line(tmp_path, night):
    outcomes = night[1]
    receipt = next(item.receipt for item in outcomes if item.receipt)
    some = [task_of(prompt, seed, size) for size in (512, 768) for prompt in range(1632) for seed in range(4)]
    many = RunFolder(tmp_path / "many")
    many.begin("many", "render", Origin(), some, Pins())
    done = {task.id: replace(receipt, task=task) for task in (some[0], some[1], some[4])}
    written = Sheets(many, some).write(Scan(receipts=done))
    assert [path.name for path in written] == ["contact_sheet.jpg"]
    small, large = blocks.begun_of(tables(some), lambda task: task.id in done)
    assert (said(small), heads(small)) == (["p0", "p1"], ["seed 0", "seed 1"])
    assert small.left == "1630 prompts and 2 seeds of this table not rendered yet"
    assert (large.rows, large.left) == ([], "1632 prompts of this table not rendered yet")


def test_seeds_without_pictures_are_a_line():
    some = [task_of(prompt, seed, 512) for prompt in range(3) for seed in range(9_001)]
    made = tables(some)
    (found,) = blocks.begun_of(made, lambda task: task.prompt == "p1" and task.seed in range(4, 11))
    assert (said(found), heads(found)) == (["p1"], [f"seed {seed}" for seed in range(4, 11)])
    assert found.left == "2 prompts and 8994 seeds not rendered yet"
    (page,) = pages_of([found], layout.Paper())
    assert [table.block.left for shelf in page for table in shelf.tables] == [found.left]
    (whole,) = blocks.begun_of(made, lambda task: True)
    assert (said(whole), len(whole.columns), whole.left) == (["p0", "p1", "p2"], 9_001, "")


def test_pictures_far_apart_make_no_table_of_holes():
    some = [task_of(prompt, seed, 512) for prompt in range(100) for seed in range(100)]
    (found,) = blocks.begun_of(tables(some), lambda task: task.source == f"x:{task.seed}")
    assert (len(found.rows), found.columns, found.counted) == (100, [(1,)], True)
    assert said(found)[7] == "seed 7 · p7"
    assert found.left == "9900 images not rendered yet"


def test_seeds_of_each_prompt_are_counted_as_images():
    some = [task_of(prompt, 10 * prompt + seed, 512) for prompt in range(9) for seed in range(4)]
    (found,) = blocks.begun_of(tables(some), lambda task: task.seed in (10, 12, 20))
    assert (found.columns, found.left) == ([(1,), (2,)], "33 images not rendered yet")
    assert said(found) == ["seed 10, 12 · p1", "seed 20 · p2"]


def test_many_blocks_without_pictures_are_one_line():
    some = [task_of(prompt, seed, 64 * size) for size in range(1, 4) for prompt in range(9) for seed in range(15)]
    some = [replace(task, steps=steps) for task in some for steps in range(1, 6)]
    found = blocks.begun_of(tables(some), lambda task: (task.width, task.steps) == (64, 1))
    assert [(block.title, block.left) for block in found[1:]] == [
        ("14 more settings", "1890 images not rendered yet")
    ]
    assert len(list(pages_of(found, layout.Paper()))) == 1


def tables(tasks):
    return blocks.blocks_of(tasks, axes.choose(axes.axes_of(tasks)))


def said(block) -> list[str]:
    """What stands beside the rows."""
    return [block.label(row) for row in block.rows]


def heads(block) -> list[str]:
    """What stands above the columns."""
    return [" · ".join(block.names.columns[key]) for key in block.columns]


def task_of(prompt, seed, size) -> Task:
    return Task(
        id=f"{size:04x}{prompt:06x}{seed:06x}", model="demo", dtype="float32", prompt=f"p{prompt}", seed=seed,
        width=size, height=size, rendered_width=size, rendered_height=size, steps=1, guidance=1.0,
        source=f"x:{prompt}",
    )  # fmt: skip


def test_pieces_of_the_run_before_are_forgotten(tmp_path):
    live.write_piece(tmp_path, 7, "{}", "me")
    assert (tmp_path / "page" / "0007.js").read_text() == "runBatchPiece({});\n"
    live.forget_pieces(tmp_path)
    assert list((tmp_path / "page").iterdir()) == []
