"""Texts and numbers of somebody else's run folder in what people open: tables and pages."""

import re
from collections import Counter
from graphlib import TopologicalSorter
from importlib import resources

import pandas as pd
import pytest

from batch.report import table
from batch.report.compare.scale import scale
from batch.report.page import data as pages
from batch.report.page.document import bundle
from tests.hostile import pipe

TEXTS = [name for name, kind in table.COLUMNS.items() if kind == table.TEXT]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_of_a_table_is_run(begin, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(table.as_file([table.line(dict.fromkeys(TEXTS, f"{begin}cmd|' /C calc'!A0") | {"seed": 1})]))
    found = table.read(path).iloc[0]
    assert {name for name in TEXTS if not found[name].startswith("'")} == set()
    assert found.seed == 1


def test_what_is_no_text_stays_as_it_is():
    frame = pd.DataFrame([{"a": -1.5, "b": "-x", "c": None, "d": "a=b", "e": pd.NA}])
    assert table.as_csv(frame) == b"a,b,c,d,e\n-1.5,'-x,,a=b,\n"


def test_a_table_in_any_script_opens_in_excel(tmp_path):
    path, mark = tmp_path / "x.csv", b"\xef\xbb\xbf"
    row = {"task_id": "a", "prompt": "ein Fuß, 画", "style": "Öl", "seed": 2**64 - 1}
    path.write_bytes(table.as_file([table.line(row)]))
    assert path.read_bytes().startswith(mark + b"task_id,")
    for data in (path.read_bytes(), path.read_bytes().removeprefix(mark)):  # as it is, and as it was
        path.write_bytes(data)
        found = table.read(path)
        assert list(found.columns) == list(table.COLUMNS)
        assert found.iloc[0][list(row)].to_dict() == row
    plain = table.as_file([table.line(row | {"prompt": "a", "style": "oil"})])
    assert plain.startswith(b"task_id,")


def test_half_characters_are_written():
    assert table.as_csv(pd.DataFrame([{"a": "half \ud800"}])) == b"a\nhalf \\ud800\n"


def test_numbers_that_no_column_holds_are_left_out(tmp_path):
    sound = {"task_id": "a", "seed": 2**64 - 1, "steps": 3, "width": 8}
    path = tmp_path / "x.csv"
    path.write_bytes(table.as_file(map(table.line, [sound, sound | {"seed": -1, "steps": 2**63}])))
    frame = table.read(path)
    assert list(frame.seed) == [2**64 - 1, pd.NA]
    assert list(frame.steps) == [3, pd.NA]
    assert list(frame.width) == [8, 8]


def test_seconds_without_end_have_a_scale():
    for values in ([float("inf")], [1.0, float("inf")], [0.0, float("inf")], [0.0], []):
        found = scale(values, 0, 100)
        assert found.ticks[0] < found.ticks[-1]
        assert all(0 <= found.at(value) <= 100 for value in (*values, *found.ticks))


def test_every_address_of_the_page_stays_in_its_folder():
    text = bundle("main")
    given = re.findall(r"\b(?:src|href)(?:: | = )(\S+)", text)
    # "#" is a place in the page, blob a file that the page has made.
    assert given and all(item.startswith(("path(", '"#"')) or item == "blob," for item in given), given


def test_scripts_import_in_no_circle_and_share_no_name():
    folder = resources.files("batch.report.page").joinpath("scripts")
    texts = {item.name: item.read_text(encoding="utf-8") for item in folder.iterdir()}
    imported = {name: set(re.findall(r'from "\./([\w.]+)"', text)) for name, text in texts.items()}
    order = list(TopologicalSorter(imported).static_order())  # raises where there is a circle
    assert set(order) == texts.keys()
    given = {
        name: re.findall(r"^export .*?(?:function|class|const|let) ([\w$]+)", text, re.M)
        for name, text in texts.items()
    }
    for name, text in texts.items():
        for names, other in re.findall(r'^import \{ ([^}]*) \} from "\./([\w.]+)";$', text, re.M):
            assert set(names.split(", ")) <= set(given[other]), (name, other)
    declared = re.findall(
        r"^(?:export )?(?:async )?(?:function|class|const|let) ([\w$]+)", "\n".join(texts.values()), re.M
    )
    assert [name for name, count in Counter(declared).items() if count > 1] == []
    template = resources.files("batch.report.page").joinpath("report.html.jinja").read_text(encoding="utf-8")
    assert [name for name, count in Counter(re.findall(r' id="(\w[\w-]*)"', template)).items() if count > 1] == []


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("images/a fox #1.png", "images/a%20fox%20%231.png"),
        ("javascript:alert(1)", "javascript%3Aalert(1)"),
        ("//example.org/x", "example.org/x"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("\\\\host\\x", "%5C%5Chost%5Cx"),
    ],
)
def test_an_address_is_below_the_page(name, address, page):
    (function,) = re.findall(r"^const path = (.*);$", bundle("main"), re.MULTILINE)
    assert page.evaluate(f"({function})({name!r})") == address


def test_a_thumbnail_that_is_a_pipe_is_none(tmp_path):
    from batch.report.sheet.cells import _thumbnail

    assert _thumbnail(pipe(tmp_path / "x.webp"), (8, 8)) is None


def test_nothing_ends_the_script_that_holds_the_data():
    page = pages.page({"a": "</script><!-- <script> & \u2028 \ud800"}, [], {})
    assert page.count("</script>") == pages.page({"a": ""}, [], {}).count("</script>")
    assert page.encode()
