"""Tables of spreadsheets: what those do to numbers and texts is read as meant, or refused in words."""

import datetime
import io
import json
import zipfile

import openpyxl
import pytest

from batch.manifest.limits import UNPACKED
from batch.manifest.tables import read_table
from tests.helpers import plan
from tests.manifest.test_grids import values

LOST = "rounded a long number"
DATE = "made a date of it"


def error(cli, path):
    outcome = cli("plan", path)
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    return outcome.err


CELLS = {
    "a seed with its digits gone": ("seed", "6.68788E+18", LOST),
    "one that is whole again": ("seed", "1.23457E+11", LOST),
    "one with a comma": ("seed", '"6,68788E+18"', LOST),
    "among others": ("seed", "1|6.68788E+18", LOST),
    "steps": ("steps", "2.5E+01", LOST),
    "a range that is a date": ("seed", "05. Jan", DATE),
    "another": ("steps", "5-Jan", DATE),
    "with a year": ("seed", "01.05.2026", DATE),
    "a guidance": ("guidance", "04. Mai", DATE),
    "a fraction": ("guidance", "Feb 01", DATE),
    "a time": ("size", "05:12:00", DATE),
    "thousands": ("steps", '"1,024"', "as one number that is 1024"),
    "with points": ("steps", "1.024", "as one number that is 1024"),
    "with a blank that does not break": ("size", "1\u00a0024", "as one number that is 1024"),
    "a comma between commas": (
        "guidance",
        '"4,5"',
        "that is 4.5, with a point, but several values are a list: [4, 5]",
    ),
    "percent": ("guidance", "450%", "without a percent sign, 450 or 4.5"),
    "curly quotes": ("seed", "“3”", "straight quotes"),
    "a word of theirs": ("extra.clean_caption", "WAHR", "write true or false"),
    "a formula of none": ("prompt", "#NAME?", "apostrophe"),
    "a narrow column": ("negative_prompt", "#####", "too narrow"),
    "in Spanish": ("seed", "#¡REF!", "formula without"),
}


@pytest.mark.parametrize("name", CELLS)
def test_what_a_spreadsheet_has_spoilt_is_said(work, cli, name):
    column, cell, says = CELLS[name]
    row = {"model": "demo", "prompt": "a"} | {column: cell}
    (work / "t.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n", encoding="utf-8")
    said = error(cli, work / "t.csv")
    assert f"{work / 't.csv'}:2: " in said
    assert says in said


def test_a_hash_is_a_letter_of_prompts(work):
    (work / "t.csv").write_text("model,prompt\ndemo,#selfie!\ndemo,# a\ndemo,#1\n")
    assert values(plan(work / "t.csv"), "prompt") == {("#selfie!",), ("# a",), ("#1",)}


@pytest.mark.parametrize("seed", ["6.68788e18", "9007199254740993.0", "1e300"])
def test_a_seed_beyond_a_float_is_refused(work, cli, manifest, seed):
    (work / "t.jsonl").write_text(f'{{"model": "demo", "prompt": "a", "seed": {seed}}}\n')
    assert LOST in error(cli, work / "t.jsonl")
    assert LOST in error(cli, manifest(f"grid: {{model: demo, prompt: a, seed: {seed}}}\n"))


def test_whole_floats_and_long_seeds_are_seeds(work):
    rows = [
        '{"model": "demo", "prompt": "a", "seed": 4.0}',
        f'{{"model": "demo", "prompt": "a", "seed": {2**64 - 1}}}',
    ]
    (work / "t.jsonl").write_text("\n".join(rows))
    assert values(plan(work / "t.jsonl"), "seed") == {(4,), (2**64 - 1,)}


def test_a_seed_of_fifteen_digits_and_zeros_is_told(work, cli):
    (work / "t.csv").write_text("model,prompt,seed\ndemo,a,6687885123456780000\ndemo,b,6687885123456780000\n")
    outcome = cli("plan", work / "t.csv")
    assert outcome.code == 0
    assert outcome.err.count("t.csv:2: seed: 6687885123456780000 ends in zeros") == outcome.err.count("zeros") == 1


@pytest.mark.parametrize("begin", ["sep=;\n", '"sep=;"\n# shots\n', ""])
def test_semicolons_and_decimal_commas(work, cli, begin):
    text = f"{begin}model;prompt;guidance;extra.eta;seed\ndemo;a fox, red;4,5|5;0,5;1|2\ndemo;b;1,5;;\n"
    (work / "t.csv").write_text(text)
    path = work / "t.csv"
    assert values(plan(path), "prompt", "guidance", "extra", "seed") == {
        *(("a fox, red", guidance, (("eta", 0.5),), seed) for guidance in (4.5, 5) for seed in (1, 2)),
        ("b", 1.5, (), 0),
    }
    (work / "t.csv").write_text(text.replace("extra.eta", "negative_prompt"))
    assert values(plan(path), "negative_prompt") == {("0,5",), ("",)}
    said = cli("plan", path).err
    line = 2 + begin.count("\n")
    assert f"t.csv:{line}: guidance: decimal commas are read as points: 4,5 is 4.5; several values are 4|5" in said
    assert said.count("decimal commas") == 1


def test_a_separator_of_its_own(work):
    (work / "t.csv").write_text("sep=;\nmodel;prompt\ndemo;a,b,c\n")
    assert values(plan(work / "t.csv"), "prompt") == {("a,b,c",)}


def test_empty_columns_and_rows_are_left_out(work, cli):
    (work / "t.csv").write_text("model,prompt,seed,,\ndemo,a,1,,\n,,,,\ndemo,b,2\ndemo,c,3,,,,\n")
    assert values(plan(work / "t.csv"), "prompt", "seed") == {("a", 1), ("b", 2), ("c", 3)}
    (work / "t.csv").write_text("model,prompt,,\ndemo,a,,note\n")
    assert "t.csv:2: 4 cells, but the header names 2" in error(cli, work / "t.csv")
    (work / "t.csv").write_text("model,prompt\ndemo,“a fox, red”\n", encoding="utf-8")
    assert "Curly quotes such as '“a fox'" in error(cli, work / "t.csv")


TALL = 'model\tprompt\tseed\ndemo\t"a ""big"" fox\n\nin the snow"\t1\ndemo\t"one\ntwo"\t2\ndemo\tc\tx\n'


def test_line_breaks_in_a_quoted_cell_of_tsv(work, cli):
    (work / "t.tsv").write_text(TALL.replace("\tx", "\t3"))
    assert values(plan(work / "t.tsv"), "prompt", "seed") == {
        ('a "big" fox\n\nin the snow', 1),
        ("one\ntwo", 2),
        ("c", 3),
    }
    (work / "t.tsv").write_text(TALL)
    assert "t.tsv:7: seed" in error(cli, work / "t.tsv")


@pytest.mark.parametrize("cell", ['"a lone quote', 'six" wide', '"', '"a" and "b"'])
def test_a_quote_is_a_letter_of_tsv(work, cell):
    (work / "t.tsv").write_text(f'model\tprompt\ndemo\t{cell}\ndemo\tanother "\n')
    assert {task.prompt for task in plan(work / "t.tsv").tasks} == {cell, 'another "'}


def test_quotes_in_every_line_of_tsv_take_no_time(work):
    lines = ['demo\t"x' + ("y" * 60), 'z"\t"w'] * 10_000
    (work / "t.tsv").write_text("model\tprompt\n" + "\n".join(lines))
    assert len(read_table(work / "t.tsv").rows) == 20_000


# Workbooks


def book(path, rows, *change, sheets=("Shots",)):
    made = openpyxl.Workbook()
    made.remove(made.active)
    for sheet in sheets:
        page = made.create_sheet(sheet)
        for row in rows:
            page.append(row)
    for do in change:
        do(made)
    made.save(path)
    return path


SHOTS = [
    ["# shots of tonight"],
    ["model", "prompt", "seed", "guidance", None],
    ["demo", "a fox, red", 3.0, 4.5],
    [],
    ["demo", "a\r\nwhale", "5|7", None],
    ["demo", "1984", str(2**64 - 1), 1, None],
]


def test_a_workbook_is_a_table(work, cli):
    path = book(work / "t.xlsx", SHOTS)
    assert values(plan(path), "prompt", "seed", "guidance") == {
        ("a fox, red", 3, 4.5), ("a\nwhale", 5, 2), ("a\nwhale", 7, 2), ("1984", 2**64 - 1, 1),
    }  # fmt: skip
    assert {task.source for task in plan(path).tasks} == {f"{path}:{line}" for line in (3, 5, 6)}
    assert cli("plan", path).err == ""


def test_a_sheet_by_name_and_prompts_of_a_workbook(work, manifest, cli):
    rows = [["model", "prompt", "seed"], ["demo", "a", 1], ["demo", "b", 2]]

    def change(made):
        made["Hidden"].sheet_state = "hidden"
        made["Day"]["B2"] = "day"
        made["Night"]["B2"] = "night"
        made["Night"].row_dimensions[3].hidden = True

    book(work / "t.xlsx", rows, change, sheets=("Hidden", "Day", "Night"))
    named = manifest("rows: {file: t.xlsx, sheet: Night}\n")
    assert values(plan(named), "prompt") == {("night",), ("b",)}
    assert "t.xlsx:3: rows that are hidden, as by a filter, are read as the others: 3" in cli("plan", named).err
    first = manifest("rows: {file: t.xlsx}\n")
    assert values(plan(first), "prompt") == {("day",), ("b",)}
    assert "read is the sheet 'Day'; write sheet: beside file: for another one (Night)" in cli("plan", first).err
    texts = manifest("grid: {model: demo, prompt: {file: t.xlsx, sheet: Night}}\n")
    assert values(plan(texts), "prompt") == {("night",), ("b",)}
    assert "hidden" in cli("plan", texts).err
    assert "there is no sheet 'night'; did you mean 'Night'?" in error(
        cli, manifest("rows: {file: t.xlsx, sheet: night}\n")
    )
    (work / "t.csv").write_text("model,prompt\ndemo,a\n")
    assert "only a workbook" in error(cli, manifest("rows: {file: t.csv, sheet: Night}\n"))


def merged(made):
    made.active.merge_cells("A3:A5")


def cell(name, value):
    def put(made):
        made.active[name] = value

    return put


BOOKS = {
    "merged cells": (merged, 3, "the cells A3:A5 are merged"),
    "a date": (
        cell("C3", datetime.date(2026, 5, 1)),
        3,
        f"C3 holds 2026-05-01 00:00:00: a spreadsheet has {DATE}",
    ),
    "a time": (cell("C5", datetime.time(1, 5)), 5, DATE),
    "a rounded seed": (cell("C3", 6.68788e18), 3, LOST),
    "a formula without a value": (cell("D3", "=2+2"), 3, "the formula in D3 was saved without its value"),
    "a broken formula": (cell("B3", "#NAME?"), 3, "#NAME? is what a spreadsheet shows"),
    "a cell far out": (cell("XFD1048576", "x"), 0, "reaches to row 1,048,576 and column 16,384"),
}


@pytest.mark.parametrize("name", BOOKS)
def test_what_a_workbook_cannot_mean_is_said(work, cli, name):
    change, line, says = BOOKS[name]
    said = error(cli, book(work / "t.xlsx", SHOTS, change))
    assert f"{work / 't.xlsx'}{f':{line}' if line else ''}: " in said
    assert says in said


def test_a_formula_counts_with_the_value_saved(work):
    path = book(work / "t.xlsx", [["model", "prompt", "seed"], ["demo", "a", "=6*7"]])
    data = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(data, "w") as new:
        for name in old.namelist():  # as a spreadsheet saves it
            new.writestr(name, old.read(name).replace(b"<f>6*7</f><v></v>", b"<f>6*7</f><v>42</v>").replace(
                b"<f>6*7</f><v />", b"<f>6*7</f><v>42</v>"))  # fmt: skip
    path.write_bytes(data.getvalue())
    assert values(plan(path), "seed") == {(42,)}


def packed(**parts):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in parts.items():
            made.writestr(name, text)
    return data.getvalue()


def with_sheet(path, text):
    data = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, text if name.endswith("sheet1.xml") else old.read(name))
    return data.getvalue()


def sheet_of(cells, rest="", head="", encoding="utf-8"):
    text = (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f"<sheetData>{cells}</sheetData>{rest}</worksheet>"
    )
    return lambda path: with_sheet(path, (head + text).encode(encoding))


def ranges(kind, ref, times=1):
    return f"<{kind}s>" + f'<{kind} ref="{ref}"/>' * times + f"</{kind}s>"


INNER = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
LAUGHS = f'<!DOCTYPE a [<!ENTITY a0 "ha">{INNER}]>'

HOSTILE = {
    "nothing": (lambda path: b"", "not a workbook"),
    "no zip": (lambda path: b"\xd0\xcf\x11\xe0 with a password", "not a workbook (.xlsx), or one with a password"),
    "another zip": (lambda path: packed(x="y"), "not a workbook (.xlsx) that can be read"),
    "a cut zip": (lambda path: path.read_bytes()[:-30], "not a workbook"),
    "a damaged part": (lambda path: with_sheet(path, "<worksheet"), "not a workbook (.xlsx) that can be read"),
    "a bomb": (lambda path: packed(x=b"\0" * (UNPACKED + 1)), "more than 64 MiB when it is unpacked"),
    "entities": (lambda path: with_sheet(path, LAUGHS + "<worksheet>&a9;</worksheet>"), "that can be read"),
    "a row of rows": (
        sheet_of('<row r="999999999"><c r="A999999999"><v>1</v></c></row>'),
        "reaches to row 999,999,999",
    ),
    "a sheet that is merged": (
        sheet_of("", ranges("mergeCell", "D1:XFD1048576")),
        "the cells 'D1:XFD1048576' are merged, more than can be read",
    ),
    "a column that is merged": (
        sheet_of("", ranges("mergeCell", "D1:D1048576")),
        "the cells 'D1:D1048576' are merged",
    ),
    "merged in UTF-16": (
        sheet_of("", ranges("mergeCell", "D1:D1048576"), '<?xml version="1.0" encoding="utf-16"?>', "utf-16"),
        "the cells 'D1:D1048576' are merged",
    ),
    "a link of a sheet": (
        sheet_of("", ranges("hyperlink", "D1:XFD1048576")),
        "the cells 'D1:XFD1048576' are one link",
    ),
    "a link of a column": (sheet_of("", ranges("hyperlink", "D:D")), "the cells 'D:D' are one link"),
    "many links": (sheet_of("", ranges("hyperlink", "D1:D9", 60_000)), "the cells 'D1:D9' are one link"),
    "merged cells of nothing": (
        lambda path: with_sheet(path, "<worksheet>" + "<mergeCell/>" * 600_000),
        "the cells '' are merged",
    ),
    "an encoding of none": (
        lambda path: with_sheet(path, '<?xml version="1.0" encoding="utf-7"?><worksheet/>'),
        "that can be read",
    ),
    "cells without end": (
        sheet_of(("<row>" + "<c/>" * 100 + "</row>") * 25_000),
        "its sheets hold more than is read of 5,000,000 cells",
    ),
    "rules without end": (
        sheet_of("", '<dataValidations><dataValidation sqref="' + "A1 " * 500_000 + '"/></dataValidations>'),
        "its sheets hold more than is read of 5,000,000 cells",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_workbook_that_is_none(work, cli, name):
    make, says = HOSTILE[name]
    path = book(work / "t.xlsx", SHOTS)
    path.write_bytes(make(path))
    said = error(cli, path)
    assert said.startswith(f"{path}: ")
    assert says in said


def test_a_workbook_beyond_the_memory_is_referred_to_csv(work, cli, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(openpyxl, "load_workbook", full)
    assert "takes more memory than there is; save it as CSV" in error(cli, book(work / "t.xlsx", SHOTS))


@pytest.mark.parametrize("suffix", [".ods", ".xls", ".numbers"])
def test_other_spreadsheets_are_refused_in_words(work, cli, manifest, suffix):
    (work / f"t{suffix}").write_bytes(b"PK")
    for path in (work / f"t{suffix}", manifest(f"rows: {{file: t{suffix}}}\n")):
        assert "save it as .xlsx, or as CSV" in error(cli, path)


def test_without_openpyxl_it_says_what_to_install(work, cli, monkeypatch):
    monkeypatch.setattr("batch.manifest.workbooks._PACKAGES", ("no_such_package",))
    assert "pip install 'run-batch[xlsx]'" in error(cli, book(work / "t.xlsx", SHOTS))


def test_the_run_folder_keeps_a_workbook_as_csv(work):
    from batch.manifest.read import read_manifest

    read = read_manifest(book(work / "t.xlsx", SHOTS))
    assert read.suffix == ".csv"
    (work / "again.csv").write_text(read.text, encoding="utf-8", newline="")
    assert values(plan(work / "again.csv"), "id") == values(plan(work / "t.xlsx"), "id")


def test_a_json_line_keeps_its_texts(work):
    (work / "t.jsonl").write_text(json.dumps({"model": "demo", "prompt": "05. Jan"}))
    assert values(plan(work / "t.jsonl"), "prompt") == {("05. Jan",)}
