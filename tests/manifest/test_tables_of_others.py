"""Tables and lists as people have them: without a header, with columns of their own, in Excel's encoding."""

import json

import openpyxl
import pytest

from batch.manifest.read import read_manifest
from tests.helpers import plan

OF_PROMPTS = "grid: {{model: demo, prompt: {{file: {}}}, seed: 3}}\n"
OF_ROWS = "grid: {{model: demo, seed: 3}}\nrows: {{file: {}}}\n"
COLUMNS = ("prompt", "negative_prompt", "Seed", "style_of_mine", "_steps")
ROW = ("a fox", "fog", "1", "", "")


def written(work, suffix, rows):
    path = work / f"g{suffix}"
    if suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
    elif suffix == ".jsonl":
        header, *rest = rows
        path.write_text("\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in rest))
    else:
        by = "\t" if suffix == ".tsv" else ","
        path.write_text("\n".join(map(by.join, rows)), encoding="utf-8")
    return path


def warnings(manifest, text):
    return [line for line in plan(manifest(text)).warnings if "has no effect" not in line]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".xlsx"])
def test_columns_of_axes_beside_the_prompts_are_told(manifest, work, suffix):
    path = written(work, suffix, [COLUMNS, ROW])
    (said,) = warnings(manifest, OF_PROMPTS.format(path.name))
    instead = f"the columns negative_prompt and Seed are not read here; rows: {{file: g{suffix}}} takes them all"
    assert said == f"{path}:1: {instead}"


def test_misnamed_axes_beside_the_prompts_are_told(manifest, work):
    path = written(work, ".csv", [("prompt", "negatve_prompt", "notes", "id"), ("a", "b", "c", "d")])
    (said,) = warnings(manifest, OF_PROMPTS.format(path.name))
    assert "the column negatve_prompt is not read here; rows: {file: g.csv} takes it" in said


def test_a_table_below_is_named_as_the_manifest_names_it(manifest, work):
    (work / "in").mkdir()
    written(work / "in", ".csv", [COLUMNS, ROW])
    (said,) = warnings(manifest, OF_PROMPTS.format("in/g.csv"))
    assert "rows: {file: in/g.csv} takes them all" in said


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx"])
def test_a_list_without_a_header_loses_no_prompt(manifest, work, cli, suffix):
    path = written(work, suffix, [["a fox at night"], ["a whale"]])
    outcome = cli("plan", manifest(OF_PROMPTS.format(path.name)))
    assert outcome.code == 2
    assert f"{path}:1: 'a fox at night' is taken for the column's name; write 'prompt' above it" in outcome.err


@pytest.mark.parametrize("name", ["prompt", "Prompt", "text", "CAPTION", "description"])
def test_a_lone_column_with_a_name_of_prompts_is_read(manifest, work, name):
    written(work, ".csv", [[name], ["a whale"]])
    (task,) = plan(manifest(OF_PROMPTS.format("g.csv"))).tasks
    assert task.prompt == "a whale"


def test_a_lone_column_that_is_named_is_read(manifest, work):
    written(work, ".csv", [["a fox"], ["a whale"]])
    (task,) = plan(manifest("grid: {model: demo, seed: 1, prompt: {file: g.csv, column: a fox}}\n")).tasks
    assert task.prompt == "a whale"


@pytest.mark.parametrize(("header", "code"), [("hat", 0), ("text", 0), ("a fedora", 2)])
def test_a_table_of_a_wildcard_may_have_its_name(manifest, work, cli, header, code):
    written(work, ".csv", [[header], ["a cap"]])
    text = "variants: all\nwildcards: {hat: {file: g.csv}}\ngrid: {model: demo, prompt: a fox in __hat__}\n"
    outcome = cli("plan", manifest(text))
    assert outcome.code == code
    assert ("write 'hat' above it" in outcome.err) == (code == 2)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx"])
@pytest.mark.parametrize("text", ["=a fox", "-a wolf", "+1", "@home"])
def test_an_apostrophe_against_formulas_is_no_part(manifest, work, suffix, text):
    path = written(work, suffix, [["prompt"], ["a whale"], [f"'{text}"], ["'-b"]])
    found = plan(manifest(OF_ROWS.format(path.name)))
    assert {task.prompt for task in found.tasks} == {"a whale", text, "-b"}
    (said,) = [line for line in found.warnings if "apostrophe" in line]
    assert said.startswith(f"{path}:3: ")


@pytest.mark.parametrize("text", ["'quoted' fox", "'='s fox", "rock 'n' roll"])
def test_other_apostrophes_stay(manifest, work, text):
    path = written(work, ".csv", [["prompt"], [text]])
    (task,) = plan(manifest(OF_ROWS.format(path.name))).tasks
    assert task.prompt == text


def test_results_are_no_table_of_rows(manifest, work, cli):
    path = written(work, ".csv", [("task_id", "picture_id", "prompt", "seed"), ("a", "b", "a fox", "3")])
    outcome = cli("plan", manifest(OF_ROWS.format("g.csv")))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith(f"{path}:1: this is the table of a run; `run_batch.py manifest from RUN`")
    assert cli("plan", path).err == outcome.err
    (said,) = warnings(manifest, OF_PROMPTS.format("g.csv"))
    assert "manifest from RUN" in said


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".xlsx"])
def test_headers_in_capitals_name_axes(manifest, work, suffix):
    header = ["Model", "Prompt", "Negative Prompt", "Seed"]
    row = ["demo", "a fox", "fog", 7 if suffix == ".jsonl" else "7"]
    (task,) = plan(written(work, suffix, [header, row])).tasks
    assert (task.prompt, task.negative_prompt, task.seed) == ("a fox", "fog", 7)


def test_a_column_named_twice_in_other_letters(manifest, work, cli):
    written(work, ".csv", [["prompt", "Prompt"], ["a", "b"]])
    assert "'Prompt' is no axis; did you mean 'prompt'?" in cli("plan", manifest(OF_ROWS.format("g.csv"))).err


def test_a_column_of_notes_is_kept_under_another_name(manifest, work, cli):
    written(work, ".csv", [["prompt", "notes"], ["a fox", "nice"]])
    said = cli("plan", manifest(OF_ROWS.format("g.csv"))).err
    assert "'notes' is no axis; possible are model" in said
    assert "Remove it, or call it _notes: such columns are left out" in said
    written(work, ".csv", [["prompt", "_notes"], ["a fox", "nice"]])
    assert warnings(manifest, OF_ROWS.format("g.csv")) == []


@pytest.mark.parametrize(
    ("suffix", "text", "wants"),
    [(".csv", "prompt,seed\na,b,1", "comma"), (".csv", "prompt;seed\na;b;1", "semicolon"),
     (".tsv", "prompt\tseed\na\tb\t1", "tab")],
)  # fmt: skip
def test_the_letter_that_parts_cells_is_named(manifest, work, cli, suffix, text, wants):
    (work / f"g{suffix}").write_text(text)
    said = cli("plan", manifest(OF_ROWS.format(f"g{suffix}"))).err
    assert f"g{suffix}:2: 3 cells, but the header names 2" in said
    assert f"A text that holds a {wants} wants quotes" in said


def test_a_list_of_json_names_the_format_it_wants(manifest, work, cli):
    (work / "g.json").write_text('[{"model": "demo", "prompt": "a fox"}]')
    assert ".jsonl file, with an object a line" in cli("plan", work / "g.json").err
    for text in (OF_ROWS, OF_PROMPTS):
        assert "write a list as .jsonl" in cli("plan", manifest(text.format("g.json"))).err


LISTS = {
    "prompts": ("g.txt", "a fox\nein Fuß\n", OF_PROMPTS.format("g.txt")),
    "a table": ("g.csv", "prompt,seed\nein Fuß,1\n", OF_ROWS.format("g.csv")),
    "lines of JSON": ("g.jsonl", '\n"ein Fuß"', OF_PROMPTS.format("g.jsonl")),
    "wildcards": (
        "wildcards/g.txt", "Bär\nFuß", "variants: all\ngrid: {model: demo, prompt: ein __g__}\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_lists_in_excels_encoding_are_read_and_told(manifest, work, name):
    file, text, job = LISTS[name]
    (work / "wildcards").mkdir()
    (work / file).write_bytes(text.encode("cp1252"))
    found = plan(manifest(job))
    assert "ein Fuß" in {task.prompt for task in found.tasks}
    (said,) = [line for line in found.warnings if "Windows-1252" in line]
    assert said.startswith(f"{work / file}:{1 if name == 'wildcards' else 2}: ")
    assert "Bär" in said or "Fuß" in said


def test_a_table_in_excels_encoding_is_kept_as_utf8(work):
    (work / "g.csv").write_bytes("model,prompt\ndemo,ein Fuß\n".encode("cp1252"))
    found = read_manifest(work / "g.csv")
    assert "ein Fuß" in found.text
    assert [line for line in found.warnings if "Windows-1252" in line]


@pytest.mark.parametrize(
    "data",
    ["лиса".encode("cp1251"), "狐狸在雪中".encode("gbk"), "キツネ".encode("cp932"), "лиса".encode("koi8-r"),
     "Fuß ".encode() + "Fuß".encode("cp1252"), b"fox\xe4\x01", b"fox\xff"],
)  # fmt: skip
def test_another_encoding_is_not_taken_for_excels(manifest, work, cli, data):
    (work / "g.txt").write_bytes(b"a whale\n" + data)
    outcome = cli("plan", manifest(OF_PROMPTS.format("g.txt")))
    assert outcome.code == 2
    assert "g.txt:2: not UTF-8 text here; save the file as UTF-8" in outcome.err


def refused(cli, path, *more):
    outcome = cli("plan", path, *more)
    assert outcome.code == 2
    return outcome.err.replace(str(path), path.name).splitlines()


def test_a_column_that_is_missing_is_told_once(work, cli):
    path = written(work, ".csv", [("prompt", "negativeprompt"), *[("a", "b")] * 1600])
    assert refused(cli, path) == [
        "g.csv:1: the column 'negativeprompt' is no axis; did you mean 'negative_prompt'?",
        "g.csv:1: there is no column 'model', and the grid has none either; --set model=NAME sets one for all",
    ]


def test_one_mistake_in_many_rows_is_one_line(work, cli):
    rows = [("", "a", "x"), ("demo", "a", "1.5"), ("demo", "b", "7"), *[("", "a", "x")] * 1599]
    missing, wrong, first = sorted(refused(cli, written(work, ".csv", [("model", "prompt", "seed"), *rows])))[:3]
    assert missing.startswith("g.csv:2: seed: 'x'")
    assert missing.endswith(" (also in lines 5, 6, 7 and 1,596 more)")
    assert wrong.startswith("g.csv:2: this row has no model, and the grid has none either; --set model=NAME sets ")
    assert first.startswith("g.csv:3: seed: 1.5")


def test_a_few_mistakes_of_a_kind_have_a_line_each(work, cli):
    path = written(work, ".csv", [("model", "prompt"), *[("", "a")] * 3])
    assert [line.split()[0] for line in refused(cli, path)] == ["g.csv:2:", "g.csv:3:", "g.csv:4:"]


def test_set_against_a_column_is_told_once_in_order(work, cli):
    path = written(work, ".csv", [("model", "prompt", "seed"), *[("demo", f"p{n}", str(n)) for n in range(40)]])
    (said,) = refused(cli, path, "--set", "seed=21")
    assert said == "--set seed: g.csv:2 sets 'seed' itself; edit it there (also in lines 3, 4, 5 and 36 more)"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".xlsx"])
def test_width_and_height_are_read_as_size(work, suffix):
    size = (640, 384) if suffix in (".jsonl", ".xlsx") else ("640", "384")
    none = (None, None) if suffix in (".jsonl", ".xlsx") else ("", "")
    path = written(
        work, suffix, [("model", "prompt", "Width", "height"), ("demo", "a", *size), ("demo", "b", *none)]
    )
    sizes = {task.prompt: (task.width, task.height) for task in plan(path).tasks}
    assert sizes == {"a": (640, 384), "b": (512, 512)}


@pytest.mark.parametrize(
    ("header", "row"),
    [(("width", "size"), ("5", "512x512")), (("height",), ("5",)), (("width", "height"), ("5", ""))],
)
def test_half_a_size_says_what_is_right(work, cli, header, row):
    path = written(work, ".csv", [("model", "prompt", *header), ("demo", "a", *row)])
    said = refused(cli, path)[0]
    assert "size, as 512x512" in said or "size: '5x' is not a size; write WIDTHxHEIGHT" in said


@pytest.mark.parametrize(
    ("column", "meant"),
    [("positive", "prompt"), ("cfgscale", "guidance"), ("cfg", "guidance"), ("CFG Scale", "guidance"),
     ("sampler", "scheduler"), ("negativeprompt", "negative_prompt")],
)  # fmt: skip
def test_columns_of_other_programs_are_named(work, cli, column, meant):
    said = refused(cli, written(work, ".csv", [("model", column), ("demo", "1")]))
    assert f"g.csv:1: the column '{column}' is no axis; did you mean '{meant}'?" in said


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx"])
def test_a_table_without_a_header_wants_one(work, cli, suffix):
    (said,) = refused(cli, written(work, suffix, [("a fox in snow",), ("a whale",)]))
    assert said == (
        "g" + suffix + ":1: 'a fox in snow' is taken for the name of a column, and no column here is an axis; "
        "write a line with the names above it, for example 'prompt'"
    )


@pytest.mark.parametrize("text", ["a fox\na whale\n", "a fox: at night\n", "[a|b] (c:1.2\n\tx: {\n"])
def test_a_list_of_prompts_is_no_manifest(work, cli, text):
    path = work / "list.txt"
    path.write_text(text)
    (said,) = refused(cli, path)
    assert said.startswith("list.txt: a list of prompts is no manifest")
    assert said.endswith("grid: {model: NAME, prompt: {file: list.txt}}")


def test_a_manifest_may_be_called_txt(work):
    path = work / "night.txt"
    path.write_text("name: n\ngrid: {model: demo, prompt: a fox}\n")
    assert len(plan(path).tasks) == 1


def test_options_of_midjourney_are_told_with_their_number(manifest, work):
    (work / "p.txt").write_text("a --ar 16:9 --v 6\n" * 10)
    (said,) = warnings(manifest, OF_PROMPTS.format("p.txt"))
    assert said.startswith(f"{work / 'p.txt'}:1: --ar: options in a prompt are text; ")
    assert said.endswith(" (9 more like this)")
