"""Manifests that are wrong: exit 2, every problem of a file at once, each with file, line and remedy."""

import io
import json
from pathlib import Path

import openpyxl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.cli.main import main
from batch.manifest.axes import AXES
from batch.manifest.document import Place
from batch.manifest.schema import Output, RunOptions, TopLevel
from batch.manifest.variant_tokens import uncommented
from batch.manifest.variants import Grammar, WildcardLine

HEAD = "grid:\n  model: demo\n  prompt: a fox\n"
ROWS = "grid: {model: demo}\nrows: {file: t.csv}\n"


def bomb():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(lines)


# name: (files, [(file, line, says), …]). The first file is the manifest. Line 0 is the file as a whole.
CASES = {
    # Syntax and bytes
    "empty": ({"m.yaml": ""}, [("m.yaml", 0, "empty")]),
    "only a comment": ({"m.yaml": "# nothing\n"}, [("m.yaml", 0, "empty")]),
    "open bracket": ({"m.yaml": "grid: [\n"}, [("m.yaml", 1, "not valid YAML")]),
    "open quote": ({"m.yaml": 'grid:\n  prompt: "a fox\n'}, [("m.yaml", 2, "not valid YAML")]),
    "tab indent": ({"m.yaml": "grid:\n\tmodel: demo\n"}, [("m.yaml", 2, "not valid YAML")]),
    "two documents": ({"m.yaml": HEAD + "---\n" + HEAD}, [("m.yaml", 4, "not valid YAML")]),
    "a list": ({"m.yaml": "- a\n- b\n"}, [("m.yaml", 1, "a manifest is a mapping")]),
    "a word": ({"m.yaml": "hello\n"}, [("m.yaml", 1, "a manifest is a mapping")]),
    "binary": ({"m.yaml": b"\x89PNG\r\n\0\0"}, [("m.yaml", 0, "binary")]),
    "latin-1": ({"m.yaml": "grid:\n  prompt: caf\xe9\n".encode("latin-1")}, [("m.yaml", 2, "UTF-8")]),
    "cut utf-16": ({"m.yaml": b"\xff\xfeg"}, [("m.yaml", 0, "UTF-8")]),
    "control character": ({"m.yaml": "grid: \x01\n"}, [("m.yaml", 1, "U+0001")]),
    "style without a name": (
        {
            "m.yaml": "styles: {file: s.jsonl}\n" + HEAD,
            "s.jsonl": '{"name": "a", "prompt": "x"}\n{"prompt": "y"}\n',
        },
        [("s.jsonl", 2, "no 'name'")],
    ),
    "alias bomb": ({"m.yaml": bomb()}, [("m.yaml", 1, "too large")]),
    "alias in itself": ({"m.yaml": "a: &a [*a]\n"}, [("m.yaml", 1, "contains itself")]),
    "unknown alias": ({"m.yaml": "grid: *gone\n"}, [("m.yaml", 1, "not valid YAML")]),
    "deep nesting": ({"m.yaml": "grid: " + "[" * 5000 + "]" * 5000}, [("m.yaml", 1, "nested more than 50 deep")]),
    "python tag": ({"m.yaml": HEAD + "name: !!python/name:os.system\n"}, [("m.yaml", 4, "not understood")]),
    "own tag": ({"m.yaml": HEAD + "  seed: !random 4\n"}, [("m.yaml", 4, "not understood")]),
    "merge key": ({"m.yaml": HEAD + "<<: {name: x}\n"}, [("m.yaml", 4, "unknown key '<<'")]),
    "a mapping as key": ({"m.yaml": HEAD + "? {a: b}\n: c\n"}, [("m.yaml", 4, "a key must be a single word")]),
    "bom and crlf keep their lines": (
        {"m.yaml": "\ufeffgrid:\r\n  model: demo\r\n  prompt: a\r\n  seed: x\r\n".encode()},
        [("m.yaml", 4, "0..3")],
    ),
    # Keys
    "duplicate key": ({"m.yaml": HEAD + "name: a\nname: b\n"}, [("m.yaml", 5, "first in line 4")]),
    "duplicate axis": ({"m.yaml": HEAD + "  model: demo-1k\n"}, [("m.yaml", 4, "given twice")]),
    "unknown key": ({"m.yaml": HEAD + "outputs: {}\n"}, [("m.yaml", 4, "did you mean 'output'?")]),
    "unknown axis": ({"m.yaml": HEAD + "  sizes: 512x512\n"}, [("m.yaml", 4, "did you mean 'size'?")]),
    "axis at the top": ({"m.yaml": HEAD + "steps: 4\n"}, [("m.yaml", 4, "write it under grid:")]),
    "unknown run key": ({"m.yaml": HEAD + "run: {retry: 3}\n"}, [("m.yaml", 4, "did you mean 'retries'?")]),
    "unknown output key": (
        {"m.yaml": HEAD + "output: {formt: png}\n"},
        [("m.yaml", 4, "did you mean 'format'?")],
    ),
    "option of another format": (
        {"m.yaml": HEAD + "output:\n  format: png\n  quality: 90\n"},
        [("m.yaml", 6, "quality")],
    ),
    "nothing needed is there": (
        {"m.yaml": "name: x\n"},
        [("m.yaml", 1, "'model'"), ("m.yaml", 1, "'prompt'")],
    ),
    # Values
    "all at once": (
        {"m.yaml": "grid:\n  model: [demo]\n  prompt: []\n  seed: x\n  size: 5\n  steps: 0\nrun: {retries: 0}\n"},
        [
            ("m.yaml", 3, "empty list"),
            ("m.yaml", 4, "0..3"),
            ("m.yaml", 5, "WIDTHxHEIGHT"),
            ("m.yaml", 6, "1 to 1000"),
            ("m.yaml", 7, "greater than or equal to 1"),
        ],
    ),
    "wrong types": (
        {"m.yaml": HEAD + "output: png\nrun: 3\nnotify: mail\nresize: maybe\n"},
        [
            ("m.yaml", 4, "a mapping"),
            ("m.yaml", 5, "a mapping"),
            ("m.yaml", 6, "a list"),
            ("m.yaml", 7, "true or false"),
        ],
    ),
    "unknown format": ({"m.yaml": HEAD + "output: {format: gif}\n"}, [("m.yaml", 4, "webp")]),
    "quality out of bounds": (
        {"m.yaml": HEAD + "output: {format: jpeg, quality: 300}\n"},
        [("m.yaml", 4, "1 to 100")],
    ),
    "prompt file as a prompt": ({"m.yaml": HEAD.replace("a fox", "p.TSV")}, [("m.yaml", 3, "{file: p.TSV}")]),
    "a range of everything": ({"m.yaml": HEAD + "  seed: 0..99999999\n"}, [("m.yaml", 4, "more than")]),
    "size of a wrong model": ({"m.yaml": HEAD + "  size: 5376x3072\n"}, [("m.yaml", 4, "672x384")]),
    "a style that is not there": (
        {"m.yaml": HEAD + "  style: [none, wattercolour]\nstyles: {watercolour: '{prompt}, watercolour'}\n"},
        [("m.yaml", 4, "did you mean 'watercolour'?")],
    ),
    "styles of a wrong kind": (
        {"m.yaml": HEAD + "styles:\n  a: [x]\n  b: {promt: x}\n"},
        [("m.yaml", 5, "a style is"), ("m.yaml", 6, "did you mean 'prompt'?")],
    ),
    # zip, include, exclude, prompts with values of their own
    "zip lengths": (
        {"m.yaml": HEAD + "zip:\n  - {steps: [1, 2], guidance: [1, 2, 3]}\n"},
        [("m.yaml", 5, "steps has 2, guidance has 3")],
    ),
    "zip and grid": ({"m.yaml": HEAD + "  steps: 3\nzip:\n  - steps: [1, 2]\n"}, [("m.yaml", 6, "the grid too")]),
    "two zips": (
        {"m.yaml": HEAD + "zip:\n  - {steps: [1, 2]}\n  - {steps: [3, 4]}\n"},
        [("m.yaml", 6, "another zip group")],
    ),
    "zip as a mapping": ({"m.yaml": HEAD + "zip: {steps: [1]}\n"}, [("m.yaml", 4, "a list")]),
    "include of a many-valued axis": (
        {"m.yaml": HEAD + "  seed: 0..3\ninclude:\n  - {prompt: b}\n"},
        [("m.yaml", 6, "'seed' has 4 values")],
    ),
    "include of nothing known": (
        {"m.yaml": HEAD + "include:\n  - {promt: b}\n"},
        [("m.yaml", 5, "did you mean 'prompt'?")],
    ),
    "exclude of no axis": ({"m.yaml": HEAD + "exclude:\n  - {steps: 3}\n"}, [("m.yaml", 5, "no axis 'steps'")]),
    "exclude of everything": ({"m.yaml": HEAD + "exclude:\n  - {}\n"}, [("m.yaml", 5, "everything")]),
    "a prompt's unknown value": (
        {"m.yaml": "grid:\n  model: demo\n  prompt:\n    - {text: a, sed: 3}\n    - {seed: 3}\n"},
        [("m.yaml", 4, "did you mean 'seed'?"), ("m.yaml", 5, "{file: prompts.txt}")],
    ),
    # Variants
    "open brace": ({"m.yaml": HEAD.replace("a fox", "a {red fox") + "variants: all\n"}, [("m.yaml", 3, "\\{")]),
    "closing brace": ({"m.yaml": HEAD.replace("a fox", "red} fox") + "variants: all\n"}, [("m.yaml", 3, "\\}")]),
    "unknown wildcard": (
        {"m.yaml": HEAD.replace("a fox", "a __color__ fox") + "variants: all\nwildcards: {colour: [red, blue]}\n"},
        [("m.yaml", 3, "did you mean 'colour'?")],
    ),
    "wildcard in itself": (
        {"m.yaml": HEAD.replace("a fox", "__a__") + "variants: all\nwildcards: {a: [x, __b__], b: [__a__]}\n"},
        [("m.yaml", 3, "holds itself")],
    ),
    "an empty alternative": (
        {"m.yaml": HEAD.replace("a fox", "'{|a}'") + "variants: all\n"},
        [("m.yaml", 3, "empty")],
    ),
    "too large a grid": (
        {"m.yaml": HEAD + "  seed: 0..999999\n  steps: 1..1000\n"},
        [("m.yaml", 0, "1,000,000,000 combinations")],
    ),
    "infinite settings": (
        {"m.yaml": HEAD + "  scheduler: flow-euler(shift=1e400)\n"},
        [("m.yaml", 4, "not a finite number")],
    ),
    "too many variants": (
        {"m.yaml": HEAD.replace("a fox", f"'{'{a|b|c|d|e|f|g|h|i|j}' * 9}'") + "variants: all\n"},
        [("m.yaml", 3, "1,000,000,000 texts")],
    ),
    "variants of another kind": (
        {"m.yaml": HEAD + "variants: some\n"},
        [("m.yaml", 4, "off, all, or {random: 4}")],
    ),
    # Files
    "no such file": ({"m.yaml": HEAD.replace("a fox", "{file: p.txt}")}, [("m.yaml", 3, "no such file")]),
    "a file outside": ({"m.yaml": HEAD.replace("a fox", "{file: ../p.txt}")}, [("m.yaml", 3, "outside")]),
    "a folder as file": (
        {"m.yaml": HEAD.replace("a fox", "{file: d.txt}"), "d.txt/x": ""},
        [("m.yaml", 3, "file")],
    ),
    "an empty file": (
        {"m.yaml": HEAD.replace("a fox", "{file: p.txt}"), "p.txt": "\n# none\n"},
        [("m.yaml", 3, "holds no prompt")],
    ),
    "a column of a text file": (
        {"m.yaml": HEAD.replace("a fox", "{file: p.txt, column: x}"), "p.txt": "a\n"},
        [("p.txt", 0, "no columns")],
    ),
    "a column that is not there": (
        {"m.yaml": HEAD.replace("a fox", "{file: p.tsv, column: captoin}"), "p.tsv": "id\tcaption\n1\ta\n"},
        [("p.tsv", 1, "did you mean 'caption'?")],
    ),
    "a prompt file of bytes": (
        {"m.yaml": HEAD.replace("a fox", "{file: p.txt}"), "p.txt": b"a\nb\xff\n"},
        [("p.txt", 2, "UTF-8")],
    ),
    "json lines": (
        {
            "m.yaml": HEAD.replace("a fox", "{file: p.jsonl}"),
            "p.jsonl": '{"prompt": "a"}\n{"prompt": \n[1]\n{"prompt": "a", "prompt": "b"}\n{"prompt": NaN}\n',
        },
        [
            ("p.jsonl", 2, "not a line of JSON"),
            ("p.jsonl", 3, "an object"),
            ("p.jsonl", 4, "twice"),
            ("p.jsonl", 5, "NaN"),
        ],
    ),
    "half a surrogate pair": (
        {"m.yaml": HEAD.replace("a fox", "{file: p.jsonl}"), "p.jsonl": '{"prompt": "a \\ud800"}\n'},
        [("p.jsonl", 1, "surrogate")],
    ),
    "json prompts of another type": (
        {"m.yaml": HEAD.replace("a fox", "{file: p.jsonl}"), "p.jsonl": '{"prompt": "a"}\n{"prompt": 3}\n'},
        [("p.jsonl", 2, "3 is not a text")],
    ),
    # CSV
    "csv quote": ({"t.csv": 'model,prompt\ndemo,"a fox\ndemo,b\n'}, [("t.csv", 2, "never closed")]),
    "csv text after a quote": ({"t.csv": 'model,prompt\ndemo,"a" fox\n'}, [("t.csv", 2, "closing quote")]),
    "csv ragged rows": (
        {"t.csv": "model,prompt\ndemo,a,b\ndemo,ok\ndemo\n"},
        [("t.csv", 2, "3 cells, but the header names 2"), ("t.csv", 4, "1 cells")],
    ),
    "csv header": (
        {"t.csv": "model,prompt,prompt,,sed\ndemo,a,b,c,d\n"},
        [("t.csv", 1, "named twice"), ("t.csv", 1, "column 4 has no name")],
    ),
    "csv unknown column": ({"t.csv": "model,promt\ndemo,a\n"}, [("t.csv", 1, "did you mean 'prompt'?")]),
    "csv cells": (
        {"t.csv": "model,prompt,seed,size\ndemo,a,x,512x512\ndemo,,1,512x512\ndemo,b,1,512\n"},
        [("t.csv", 2, "0..3"), ("t.csv", 3, "has no prompt"), ("t.csv", 4, "WIDTHxHEIGHT")],
    ),
    "csv without rows": ({"t.csv": "model,prompt\n"}, [("t.csv", 1, "no row")]),
    "csv of nothing": ({"t.csv": "\n\n"}, [("t.csv", 0, "empty")]),
    "csv multi-line cells keep the lines right": (
        {"t.csv": 'model,prompt,seed\ndemo,"a\nfox",1\ndemo,b,x\n'},
        [("t.csv", 4, "0..3")],
    ),
    "rows of another kind": (
        {"m.yaml": ROWS.replace("t.csv", "t.ods")},
        [("m.yaml", 2, "save it as .xlsx, or as CSV")],
    ),
    "rows that do not exist": ({"m.yaml": ROWS}, [("m.yaml", 2, "no such file")]),
    "rows and zip": (
        {"m.yaml": ROWS + "zip: [{seed: [1, 2], steps: [1, 2]}]\n", "t.csv": "prompt,seed\na,1\n"},
        [("t.csv", 1, "stands in zip too")],
    ),
}


def write(folder: Path, files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / next(iter(files))


@pytest.mark.parametrize("name", CASES)
def test_every_problem_is_said_with_file_and_line(cli, work, name):
    files, expected = CASES[name]
    path = write(work, files)
    outcome = cli("plan", path)
    assert outcome.code == 2
    assert outcome.out == ""
    said = outcome.err.splitlines()
    for file, line, says in expected:
        where = f"{work / file}:{line}: " if line else f"{work / file}: "
        assert any(text.startswith(where) and says in text for text in said), outcome.err
    assert len(said) >= len(expected)


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"t.csv": "model,prompt,seed\ndemo,a,1\n"}, 2),
        ({"m.yaml": HEAD + "include:\n  - {prompt: b, seed: 1}\n"}, 5),
        ({"m.yaml": "grid:\n  model: demo\n  prompt: [a, {text: b, seed: 1}]\n"}, 3),
    ],
)
def test_what_stands_closer_to_a_prompt_cannot_be_set(cli, work, files, line):
    path = write(work, files)
    outcome = cli("plan", path, "--set", "seed=3")
    assert outcome.code == 2
    assert outcome.err == f"--set seed: {path}:{line} sets 'seed' itself; edit it there\n"
    assert cli("plan", path, "--set", "steps=3").code == 0


@pytest.mark.parametrize(
    "line",
    [
        "guidance: HUGE",
        "lora: a.safetensors(scale=HUGE)",
        "lora: {file: a.safetensors, strength: HUGE}",
        "scheduler: dpm++(flow_shift=HUGE)",
        "extra.pag_scale: HUGE",
    ],
)
def test_a_number_that_no_float_can_hold_is_refused(cli, manifest, line):
    text = "grid:\n  model: demo\n  prompt: a\n  " + line.replace("HUGE", "1" + 400 * "0")
    outcome = cli("plan", manifest(text))
    assert outcome.code == 2
    assert "job.yaml:4: " in outcome.err


# Whatever stands in a file, there is never a traceback: `main` lets every error pass that is not the user's.

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [
            "demo",
            "prompt",
            "512x512",
            "0..3",
            "{a|b}",
            "__c__",
            "p.txt",
            "auto",
            "tiled",
            "none",
            "default",
            "dpm++(x=1)",
        ]
    ),
)
KEYS = st.one_of(
    st.sampled_from(
        [
            *(*AXES, *TopLevel.model_fields, *Output.model_fields, *RunOptions.model_fields),
            *("extra.eta", "extra.x", "file", "column", "text", "random", "per", "all"),
        ]
    ),
    st.text(max_size=6),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
MANIFESTS = st.fixed_dictionaries(
    {"grid": st.dictionaries(st.sampled_from(list(AXES)), VALUES, max_size=5)},
    optional={name: VALUES for name in TopLevel.model_fields if name != "grid"},
)


def plans_or_says_why(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert main(["plan", str(path)]) in {0, 2}


SPOILT = [
    "demo", "a", "6.68788E+18", "05. Jan", "4,5", "1,024", "50%", "#NAME?", "TRUE", "1..4", "1|2", "none", "+ a",
    "\u00a0", "\u201ca\u201d", '"a', 'a"', '"a\nb"', "", "6687885123456780000",
]  # fmt: skip


def named(inner):
    return st.dictionaries(st.sampled_from(["name", "prompt", "negative", "negative_prompt", "extra"]), inner)


FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@FUZZ
@given(data=MANIFESTS)
def test_any_data_is_planned_or_refused(work, data):
    grid = {"model": "demo", "prompt": "a", **data["grid"]}
    plans_or_says_why(work / "m.yaml", yaml.safe_dump({**data, "grid": grid}, allow_unicode=True).encode())


@FUZZ
@given(
    data=st.one_of(st.binary(max_size=60), st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore")))
)
def test_any_bytes_are_planned_or_refused(work, data):
    plans_or_says_why(work / "m.yaml", data)


@FUZZ
@given(
    cells=st.lists(st.lists(st.text('ab|.0123x{}"\n,;\t', max_size=8), min_size=1, max_size=4), max_size=4),
    header=st.lists(st.sampled_from([*AXES, "x"]), min_size=1, max_size=4),
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl"]),
)
def test_any_table_is_planned_or_refused(work, cells, header, suffix):
    lines = [",".join(header), *(",".join(row) for row in cells)]
    plans_or_says_why(work / f"t{suffix}", "\n".join(lines).encode())


@FUZZ
@given(
    cells=st.lists(
        st.lists(st.sampled_from(SPOILT) | st.text('"\t\n;,=#+1.', max_size=6), min_size=1, max_size=5), max_size=5
    ),
    begin=st.sampled_from(["", "sep=;\n", "# x\n", "\ufeff"]),
    delimiter=st.sampled_from(",;\t"),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_any_table_of_a_spreadsheet_is_planned_or_refused(work, cells, begin, delimiter, suffix):
    header = ["model", "prompt", "seed", "guidance", "style"]
    text = begin + "\n".join(delimiter.join(row) for row in [header, *cells])
    plans_or_says_why(work / f"t{suffix}", text.encode())


STYLES = "styles: {{file: [{}]}}\ngrid: {{model: demo, prompt: a, style: [none, a, 'a + a', '+ a']}}\n"


@FUZZ
@given(
    data=st.one_of(
        st.binary(max_size=80).map(lambda rest: b"name,prompt\n" + rest),
        st.text('a+,"\n;#{}', max_size=80).map(lambda rest: f"name,prompt\n{rest}".encode()),
        st.text('[]{}":,name1e \n', max_size=60).map(str.encode),
        st.recursive(st.none() | st.text("a+ {|}", max_size=4), lambda inner: st.lists(inner) | named(inner)).map(
            lambda data: json.dumps(data).encode()
        ),
    ),
    suffix=st.sampled_from([".csv", ".json", ".jsonl"]),
)
def test_any_style_file_is_read_or_refused(work, data, suffix):
    (work / f"s{suffix}").write_bytes(data)
    plans_or_says_why(work / "m.yaml", STYLES.format(f"s{suffix}").encode())


@FUZZ
@given(
    rows=st.lists(
        st.lists(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(),
                st.datetimes(),
                st.text("a|=1.,#\n", max_size=5),
            ),
            max_size=4,
        ),
        max_size=4,
    ),
    cut=st.one_of(st.none(), st.tuples(st.integers(0, 5000), st.binary(max_size=4))),
)
def test_any_workbook_is_planned_or_refused(work, rows, cut):
    made = openpyxl.Workbook()
    for row in [["model", "prompt", "seed", "guidance"], *rows]:
        made.active.append(row)
    data = io.BytesIO()
    made.save(data)
    written = data.getvalue()
    if cut is not None:
        at, other = cut
        written = written[:at] + other + written[at + len(other) :]
    plans_or_says_why(work / "t.xlsx", written)


@FUZZ
@given(text=st.text("ab{}|_$:\\-0123. =!?v~@%#/*\n", max_size=40))
def test_any_variant_is_expanded_or_refused(work, text):
    lines = [WildcardLine(line, Place("x.txt", 1)) for line in ("x", "3::y {1|2}", "${v:c}")]
    try:
        template = Grammar(lambda name: lines).parse(uncommented(text))
    except ValueError:
        return
    if template.extent.texts < 5000:
        assert len(list(template.texts())) == template.extent.texts
