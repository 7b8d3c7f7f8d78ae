"""Styles as other programs keep them, and names that hold what parts names."""

import json
from pathlib import Path

import pytest

from batch.manifest.several import several
from tests.helpers import plan
from tests.manifest.test_grids import values

AXES = "grid: {{model: demo, prompt: a fox, negative_prompt: blur, style: {}}}\n"


def texts(manifest, style, file="s.csv"):
    """Prompt and negative prompt under one style of a file."""
    made = plan(manifest(f"styles: {{file: {json.dumps(file)}}}\n" + AXES.format(json.dumps(style))))
    (found,) = values(made, "prompt", "negative_prompt")
    return found


A1111 = {
    "plain": 'name,prompt,negative_prompt\noil,"oil of {prompt}, thick",photo\n',
    "a short row": 'name,prompt,negative_prompt\nlast,x\noil,"oil of {prompt}, thick",photo\nbare\n',
    "cells behind the last": 'name,prompt,negative_prompt,\noil,"oil of {prompt}, thick",photo,,,\n',
    "blanks after the comma": 'name, prompt, negative_prompt\noil, "oil of {prompt}, thick", photo\n',
    "the old column": 'name,text,negative_prompt\noil,"oil of {prompt}, thick",photo\n',
    "groups": 'name,prompt,negative_prompt\n# PAINT,,\n--- mine ---,,\noil,"oil of {prompt}, thick",photo\n',
    "other columns in any order": 'negative_prompt,Sort,Name,PROMPT\nphoto,3,oil,"oil of {prompt}, thick"\n',
    "a mark": '\ufeffname,prompt,negative_prompt\r\noil,"oil of {prompt}, thick",photo\r\n',
    "semicolons": "sep=;\nname;prompt;negative_prompt\noil;oil of {prompt}, thick;photo\n",
}


@pytest.mark.parametrize("text", A1111.values(), ids=A1111)
def test_styles_csv_is_read_as_leniently_as_there(manifest, work, text):
    (work / "s.csv").write_bytes(text.encode())
    assert texts(manifest, "oil") == ("oil of a fox, thick", "blur, photo")


def test_an_unreadable_row_is_left_out_and_told(manifest, work, cli):
    rows = [
        "name,prompt,negative_prompt",
        'open,"x',
        'behind,"x" y',
        "ink,ink",
        'open too,"z',
        "oil,oil of {prompt}",
    ]
    (work / "s.csv").write_text("\n".join(rows))
    assert texts(manifest, "ink") == ("a fox, ink", "blur")
    assert texts(manifest, "oil") == ("oil of a fox", "blur")
    said = cli("plan", "job.yaml").err
    assert "s.csv:2: this style is left out: text follows a closing quote" in said
    assert "(2 more like this)" in said
    outcome = cli("plan", manifest("styles: {file: s.csv}\n" + AXES.format("open")))
    assert (outcome.code, "'open' is unknown" in outcome.err) == (2, True)


@pytest.mark.parametrize(("by", "name"), [(",", "comma"), (";", "semicolon")])
def test_a_comma_without_quotes_is_told(manifest, work, cli, by, name):
    (work / "s.csv").write_text("name,prompt,negative_prompt\noil,oil,thick,photo\n".replace(",", by))
    assert texts(manifest, "oil") == ("a fox, oil", "blur, thick")
    said = cli("plan", "job.yaml").err
    assert "s.csv:2: the style 'oil' has more cells than the header; 'photo' is left out" in said
    assert f"A text that holds a {name} wants quotes" in said


def test_an_apostrophe_against_formulas_is_no_part(manifest, work, cli):
    (work / "s.csv").write_text("name,prompt,negative_prompt\noil,'-oil,'=x\nink,'ink',\n")
    assert texts(manifest, "oil") == ("a fox, -oil", "blur, =x")
    assert "s.csv:2: an apostrophe before = + - or @ is left out" in cli("plan", "job.yaml").err
    assert texts(manifest, "ink") == ("a fox, 'ink'", "blur")


def test_what_is_not_utf8_is_what_excel_saves(manifest, work, cli):
    (work / "s.csv").write_bytes("name,prompt\nÖl,Ölgemälde, “dick”\n".encode("cp1252"))
    assert texts(manifest, "Öl") == ("a fox, Ölgemälde", "blur")
    assert "s.csv:2: not UTF-8, but read as Windows-1252: 'Öl,Ölgemälde,'" in cli("plan", "job.yaml").err
    (work / "s.csv").write_bytes("name,prompt\n油,画\n".encode("cp932") + b"\x81\n")
    assert "s.csv:2: not UTF-8" in cli("plan", "job.yaml").err


FOOOCUS = [
    {"name": "sai-3d model", "prompt": "3d model {prompt} . octane", "negative_prompt": "ugly"},
    {"name": "x"},
]


def test_the_styles_of_fooocus(manifest, work, cli):
    (work / "s.json").write_text(json.dumps(FOOOCUS))
    assert texts(manifest, "sai-3d model", "s.json") == ("3d model a fox . octane", "blur, ugly")
    said = cli("plan", manifest("styles: {file: s.json}\n" + AXES.format("SAI 3D Model")))
    assert "did you mean 'sai-3d model'?" in said.err


def test_a_folder_of_sdnext_and_files_beside_it(manifest, work, cli):
    (work / "styles" / "Paint").mkdir(parents=True)
    one = {"name": "Oil", "prompt": "oil of {prompt}", "negative": "photo", "extra": "Steps: 20", "preview": ""}
    (work / "styles" / "Paint" / "oil.json").write_text(json.dumps(one))
    (work / "styles" / "more.json").write_text('[{"name": "Ink",\n "prompt": "ink"},\n {"prompt": 3},\n]\n')
    assert texts(manifest, "Paint/Oil", "styles") == ("oil of a fox", "blur, photo")
    said = cli("plan", "job.yaml").err
    assert "oil.json:1: the style 'Oil' has 'Steps: 20' under 'extra', which is left out" in said
    assert "more.json:3: this style is left out: a style has texts" in said
    (work / "s.csv").write_text("name,prompt\nInk,pen\n")
    assert texts(manifest, "Ink", ["styles", "s.csv"]) == ("a fox, pen", "blur")
    first = Path("styles", "more.json")
    assert f"s.csv:2: the style 'Ink' replaces that of {first}:1" in cli("plan", "job.yaml").err
    made = plan(manifest("styles: {file: s.csv, Ink: brush}\n" + AXES.format("Ink")))
    assert values(made, "prompt") == {("a fox, brush",)}


WRONG = {
    "no name": ("s.csv", "prompt,negative_prompt\nx,y\n", "s.csv:1: styles: it has no column 'name'"),
    "nothing": ("s.csv", "\n", "s.csv: the file is empty"),
    "no JSON": ("s.json", '[{"name": "a",\n "prompt": x}]', "s.json:2: not JSON"),
    "an open list": ("s.json", '[\n{"name": "a", "prompt": "x"}\n', "s.json:3: not JSON"),
    "something behind": ("s.json", '{"name": "a"} {}', "s.json:1: not JSON: '{}' stands behind"),
    "deep": ("s.json", "[" * 90_000, "s.json:1: not JSON: nested"),
    "deep and whole": ("s.json", "[" + "[" * 60 + "]" * 60 + "]", "s.json:1: nested"),
    "binary": ("s.csv", "name\0", "s.csv: this is a binary file"),
    "no file of styles": ("s.csv", "name,prompt\n" + 'a,"b" c\n' * 2000, "more than 1,000 styles cannot be read"),
    "another kind": ("s.pdf", "", "only .json, .csv"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_style_file_that_is_none(manifest, work, cli, name):
    file, text, says = WRONG[name]
    (work / file).write_text(text)
    outcome = cli("plan", manifest(f"styles: {{file: {file}}}\n" + AXES.format("none")))
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err


def test_an_empty_folder_and_a_file_elsewhere(manifest, work, cli):
    (work / "styles").mkdir()
    for named, says in {
        "styles": "holds 0 .csv",
        "../s.csv": "lies outside",
        "gone": "only .json",
        "3": "only",
    }.items():
        assert says in cli("plan", manifest(f"styles: {{file: {named}}}\n" + AXES.format("none"))).err
    assert "is not the name of" in cli("plan", manifest("styles: {file: [[]]}\n" + AXES.format("none"))).err


def test_rows_with_open_quotes_take_no_time(manifest, work):
    opened = 'a,"' + "x" * 150 + "\n"
    (work / "s.csv").write_text("name,prompt\n" + opened * 901 + "b,b\n" * 20_000)
    assert texts(manifest, "b") == ("a fox, b", "blur")


NAMES = "styles: {+ Details: fine, Oil + Canvas: on canvas, Oil: oil, Canvas: cloth, a+b: ab}\n"


@pytest.mark.parametrize(
    ("written", "prompt"),
    [
        ("+ Details", "a fox, fine"),
        ("Oil + Canvas", "a fox, on canvas"),
        ("Canvas + Oil", "a fox, cloth, oil"),
        ("Oil + + Details", "a fox, oil, fine"),
        ("+ Details + Oil + Canvas + Oil", "a fox, fine, on canvas, oil"),
        ("a+b+Oil", "a fox, ab, oil"),
        ("None", "a fox"),
    ],
)
def test_a_style_whose_name_holds_a_plus(manifest, written, prompt):
    made = plan(manifest(NAMES + AXES.format(json.dumps(written)) + "exclude: [{style: Oil}]\n"))
    assert values(made, "prompt") == {(prompt,)}
    (style,) = values(made, "style")
    again = plan(manifest(NAMES + AXES.format(json.dumps(style[0] or "none"))))
    assert values(again, "prompt", "style") == {(prompt, *style)}


def test_names_are_the_longest_that_cover_the_text():
    known = {"a", "a + b", "b + c", "c"}.__contains__
    assert several("a + b + c", " + ", known) == ["a + b", "c"]
    assert several("a + b + c", " + ", {"a", "a + b", "b + c"}.__contains__) == ["a", "b + c"]
    assert several("a + x", " + ", known) == ["a", "x"]
    assert several(" + ".join("a" * 3000), " + ", known) == ["a"] * 3000


def test_a_lora_whose_name_holds_a_plus(manifest, work):
    from batch.manifest.read import read_manifest

    for name in ("Oil + Canvas.safetensors", "b.safetensors"):
        (work / name).touch()
    written = "Oil + Canvas.safetensors(scale=0.5) + b.safetensors"
    read = read_manifest(manifest(f"grid: {{model: demo, prompt: a, lora: {written!r}}}\n"))
    (lora,) = [entry.value for grid in read.grids for entry in grid.entries("lora")]
    assert lora == (("Oil + Canvas.safetensors", 0.5), ("b.safetensors", 1.0))


def test_alternatives_of_a_style_are_not_rendered_in_silence(manifest, cli):
    styles = "styles: {x: 'a {red|blue} one', y: '{prompt}, fine'}\n"
    outcome = cli("plan", manifest(styles + AXES.format("x")))
    assert (outcome.code, "the style 'x' holds alternatives" in outcome.err) == (0, True)
    outcome = cli("plan", manifest("variants: all\n" + styles + AXES.format("[y, x]")))
    assert (outcome.code, "style: 'x' holds alternatives" in outcome.err) == (2, True)
    assert "alternatives" not in cli("plan", manifest(styles + AXES.format("y"))).err


def test_a_pattern_stands_for_the_files_that_fit(manifest, work, cli):
    files = {"styles.csv": "oil", "styles_mine.csv": "ink", "other.csv": "ash", "styles.bak": "x"}
    for name, prompt in files.items():
        (work / name).write_text(f"name,prompt\n{prompt},{prompt} of {{prompt}}\n")
    assert texts(manifest, "oil", "styles*.csv") == ("oil of a fox", "blur")
    assert texts(manifest, "ink", str(work / "styles*.csv")) == ("ink of a fox", "blur")
    said = cli("plan", manifest("styles: {file: 'styles*.csv'}\n" + AXES.format("ash"))).err
    assert "'ash' is unknown; possible are oil, ink" in said
    said = cli("plan", manifest("styles: {file: 'no*.csv'}\n" + AXES.format("oil"))).err
    assert "no*.csv fits 0 files of styles" in said


def test_a_pattern_reaches_no_other_folder(manifest, work, cli):
    (work / "in").mkdir()
    path = manifest("styles: {file: '../*.csv'}\n" + AXES.format("oil"))
    (work / "in" / "m.yaml").write_text(path.read_text())
    (work / "s.csv").write_text("name,prompt\noil,x\n")
    assert "lies outside the manifest's folder" in cli("plan", work / "in" / "m.yaml").err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("styles: styles.csv\n" + AXES.format("oil"), "styles: a file is written {file: styles.csv}"),
        (AXES.format("styles.csv"), "a file of styles stands under styles: {file: styles.csv}"),
        ("styles: {oil: x, dusk: y}\n" + AXES.format("'oil, dusk'"), "several are joined with +: oil + dusk"),
    ],
)
def test_a_slip_in_naming_styles_is_told(manifest, cli, text, says):
    outcome = cli("plan", manifest(text))
    assert outcome.code == 2
    assert says in outcome.err


def test_styles_of_a_line_with_options_are_joined(manifest, work, cli):
    (work / "p.txt").write_text('--prompt a fox --styles "oil, dusk"\n')
    said = cli("plan", manifest("styles: {oil: x, dusk: y}\ngrid: {model: demo, prompt: {file: p.txt}}\n")).err
    assert "p.txt:1: " in said
    assert "several are joined with +: oil + dusk" in said


def test_only_styles_in_use_warn_and_once_a_kind(manifest, work, cli):
    rows = "".join(f"s{number},x,y,z\ns{number},x,y,z\n" for number in range(40))
    (work / "s.csv").write_text(f"name,prompt,negative_prompt\nplain,x,y\n{rows}")
    head = "styles: {file: s.csv}\n"
    assert "warning" not in cli("plan", manifest(head + AXES.format("plain"))).err
    said = cli("plan", manifest(head + AXES.format("[s3, s4, s5, plain]"))).err
    assert said.count("warning") == 2
    assert "s.csv:10: the style 's3' replaces that of " in said
    assert "s.csv:9 (2 more like this)" in said
    assert "s.csv:10: the style 's3' has more cells than the header; 'z' is left out" in said


def test_files_of_a_folder_warn_together(manifest, work, cli):
    (work / "styles").mkdir()
    for name in "abc":
        one = {"name": name, "prompt": "x", "extra": "Steps: 20"}
        (work / "styles" / f"{name}.json").write_text(f"[{json.dumps(one)}, 3]")
    said = cli("plan", manifest("styles: {file: styles}\n" + AXES.format("[a, b]"))).err
    assert "a.json:1: this style is left out" in said
    assert said.count("(2 more like this)") == said.count("is left out: 3") == 1
    assert said.count("under 'extra', which is left out (1 more like this)") == 1


def test_syntax_in_a_style_is_told_where_it_stands(manifest, work, cli):
    (work / "s.csv").write_text("name,prompt\noil,oil\nink,(ink:1.2)\nvar,{a|b}\n")
    said = cli("plan", manifest("styles: {file: s.csv}\n" + AXES.format("[oil, ink, var]"))).err
    assert "s.csv:3: the style 'ink' holds (ink:1.2): weights are not understood" in said
    assert "s.csv:4: the style 'var' holds alternatives" in said


def test_what_reading_has_found_stands_before_the_error(manifest, work, cli):
    (work / "s.csv").write_text('name,prompt\na,x\nb,"y" z\n')
    said = cli("plan", manifest("styles: {file: s.csv}\n" + AXES.format("b"))).err.splitlines()
    assert said[0].startswith("warning: ")
    assert "s.csv:3: this style is left out" in said[0]
    assert "'b' is unknown" in said[1]
    said = cli("plan", manifest("styles: {file: s.csv}\n" + AXES.format("a") + "exclude: [{seed: 3}]\n")).err
    assert "s.csv:3: this style is left out" in said.splitlines()[0]
    prompts = "\n".join(f"    - a {number} # b" for number in range(20))
    said = cli("plan", manifest(f"grid:\n  model: gone\n  prompt:\n{prompts}\n")).err.splitlines()
    assert [line.startswith("warning: ") for line in said] == [True] * 13 + [False]
    assert said[12] == "warning: and 8 more warnings"
