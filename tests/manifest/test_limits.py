"""No manifest hangs, crashes or fills the machine: a slip is refused at file and line, before it is expanded."""

import json
import os
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.base.errors import ManifestError
from batch.manifest import document, limits
from batch.manifest.axes import AXES
from tests.conftest import ROOT
from tests.manifest.bounded import Bounded
from tests.manifest.test_malformed import HEAD, write

MANY = 200_000
TWICE = "'{prompt}{prompt}'"
HUGE = "9" * 5000
LETTERS = "more than 100,000 letters"
DEEP = "nested more than 50 deep"
NESTED = f"groups and wildcards are {DEEP}"


def axes(rest="", **values):
    """A manifest of model, prompt and what is given: a prompt stands in line 3, the next axis in line 4."""
    named = {"model": "demo", "prompt": "a", **values}
    return "grid:\n" + "".join(f"  {key}: {json.dumps(value)}\n" for key, value in named.items()) + rest


def row(**cells):
    return json.dumps({"model": "demo", "prompt": "a", **cells}) + "\n"


def doubling(levels, last, lines=1, variants="all"):
    """Wildcards each of which names the next one twice."""
    text = f"variants: {variants}\nwildcards:\n"
    for level in range(levels):
        text += f"  w{level}: {json.dumps([f'__w{level + 1}__ __w{level + 1}__'] * lines)}\n"
    return axes(text + f"  w{levels}: {json.dumps(last)}\n", prompt="__w0__")


def many(text):
    """A list in one line, as programs write them."""
    return f"[{', '.join(text.format(n) for n in range(20_000))}]"


RANGES = [f"{million}000000..{million}999999" for million in range(40)]
CHAIN = "".join(f"  w{level}: ['__w{level + 1}__']\n" for level in range(3000)) + "  w3000: [x]\n"
ALIASES = "".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else 'x'}]\n" for n in range(900))

# name: (the manifest, or its files, where and what is said). Line 0 is the file as a whole.
CASES = {
    # Depth
    "flow lists": ("grid: " + "[" * MANY, 1, DEEP),
    "closed flow lists": ("grid: " + "[" * MANY + "]" * MANY, 1, DEEP),
    "flow maps": ("grid: " + "{a: " * MANY, 1, DEEP),
    "block lists": ("grid:\n" + "- " * MANY, 2, DEEP),
    "block maps": ("".join(" " * depth + "a:\n" for depth in range(3000)), 50, DEEP),
    "keys of keys": ("? " * MANY + "a", 1, DEEP),
    "a chain of aliases": (ALIASES + HEAD, 1, DEEP),
    "keys that are aliases": ("".join(f"? &a{n} [*a{n - 1}]\n: x\n" for n in range(1, 900)), 1, "not valid YAML"),
    "a deep cell": ({"t.csv": "model,prompt,seed\ndemo,a," + "[" * 60_000}, 2, DEEP),
    "deep JSON": ({"t.jsonl": '{"extra.eta": ' + "[" * MANY}, 1, DEEP),
    "JSON that Python just reads": ({"t.jsonl": '{"extra.eta": ' + "[" * 900 + "]" * 900 + "}"}, 1, DEEP),
    "deep objects": ({"t.jsonl": '{"a": ' * 900 + "1" + "}" * 900}, 1, DEEP),
    # Expansion
    "aliases of aliases": (axes(f"x: &x [{'1, ' * 1000}]\ny: [{'*x, ' * 1900}]\n"), 1, "aliases make"),
    "aliases of a long text": (f"x: &x {'a' * 10**6}\ny: [{'*x, ' * 1000}]\n", 1, "unknown key"),
    "a style that doubles": (axes(f"styles: {{a: {TWICE}}}\n", style=" + ".join("a" * 40)), 4, LETTERS),
    "a negative style that doubles": (
        axes(f"styles: {{a: {{negative_prompt: {TWICE}}}}}\n", negative_prompt="n", style=" + ".join("a" * 40)),
        5,
        LETTERS,
    ),
    "styles that double": (
        axes(
            "styles:\n" + "".join(f"  s{n}: {TWICE}\n" for n in range(40)),
            style=" + ".join(f"s{n}" for n in range(40)),
        ),
        4,
        LETTERS,
    ),
    "styles of a table that double": (
        {
            "m.yaml": axes("styles: {file: s.csv}\n", style=" + ".join("a" * 40)),
            "s.csv": "name,prompt\na,{prompt}{prompt}\n",
        },
        4,
        LETTERS,
    ),
    "a style applied without end": (
        axes("styles: {a: x}\n", style=" + ".join("a" * 10_000)),
        4,
        "no name has more",
    ),
    "a long prefix": (axes(f"prompt_prefix: {'x' * 10**6}\n", prompt=["a"] * 500), 3, "with prefix and suffix"),
    "wildcards that double": (doubling(30, ["x", "y"]), 3, "more than 100,000 choices"),
    "wildcards that double, drawn": (doubling(30, ["x", "y"], variants="{random: 4}"), 3, "100,000 choices"),
    "wildcards that double nothing": (doubling(22, [""]), 3, "more than 100,000 choices"),
    "wildcards of two lines that double": (doubling(20, ["", "a"], lines=2), 3, "more than 100,000 choices"),
    "fewer wildcards that double": (doubling(12, ["x", "y"]), 3, "1,000,000,000,000,000,000 texts or more"),
    "a chain of wildcards": (axes("variants: all\nwildcards:\n" + CHAIN, prompt="__w0__"), 3, NESTED),
    "a chain from its end": (
        axes("variants: all\nwildcards:\n" + CHAIN, prompt=[f"__w{n}__" for n in range(3000, 2900, -1)]),
        3,
        NESTED,
    ),
    "files of wildcards in a circle": (
        {
            "m.yaml": axes("variants: {random: 4}\n", prompt="__v__"),
            "wildcards/v.txt": "x __w__\n",
            "wildcards/w.txt": "__v__\n",
        },
        3,
        "holds itself (v → w → v)",
    ),
    "too many letters": (
        axes("variants: all\n", prompt="x" * 90_000 + "{a|b|c|d|e|f}" * 6),
        3,
        "1,000,000,000 letters",
    ),
    "texts of many prompts": (
        axes("variants: all\n", prompt=[f"{'{a|b|c|d|e|f|g|h|i|j}' * 6} {n}" for n in range(9)]),
        3,
        "5,000,000 values",
    ),
    "too many choices": (axes("variants: {random: 10000}\n", prompt="{a|a}" * 2000), 3, "5,000,000 choices"),
    "thousands out of thousands": (
        axes("variants: all\n", prompt=f"{{5000$${'|'.join('a' * 10_000)}}}"),
        3,
        "more than 100,000 choices",
    ),
    "a product": (
        axes(seed="0..99999", steps="1..1000", guidance=[*range(1000)], memory=["auto"] * 10_000),
        0,
        "the grid has 1,000,000,000,000,000 combinations; at most 5,000,000 are planned",
    ),
    "a product of a prompt's own": (
        axes(prompt={"text": "a", "seed": "0..99999", "steps": "1..1000"}),
        0,
        "100,000,000 combinations",
    ),
    "a product of what is drawn": (
        axes(seed={"random": 1_000_000}, steps="1..1000"),
        0,
        "1,000,000,000 combinations",
    ),
    "ranges": (axes(seed=RANGES), 4, "5,000,000 values"),
    "ranges in a cell": ({"t.csv": f"model,prompt,seed\ndemo,a,{'|'.join(RANGES)}\n"}, 2, "5,000,000 values"),
    "ranges of an exclude": (axes(f"exclude: [{{seed: {json.dumps(RANGES)}}}]\n", seed=1), 5, "5,000,000 values"),
    "draws that move together": (
        axes(f"zip: [{{seed: [{', '.join(['{random: 1000000}'] * 30)}]}}]\n"),
        4,
        "5,000,000 values",
    ),
    # Braces and underscores
    "parts that begin like a wildcard": (axes("variants: all\n", prompt="__x" * 30_001), 3, "no wildcard __x__"),
    "braces": (axes("variants: all\n", prompt="{" * 90_000), 3, NESTED),
    "braces that are closed": (axes("variants: all\n", prompt="{" * 300 + "a" + "}" * 300), 3, NESTED),
    "alternatives": (axes("variants: all\n", prompt="{a|b}" * 19_000), 3, "or more; write variants: {random: 4}"),
    "a prompt without end": (axes(prompt="a" * MANY), 3, "has 200,000 letters; at most 100,000"),
    "a count of many digits": (axes("variants: all\n", prompt=f"{{{HUGE}$$a|b}}"), 3, "more than 400 digits"),
    "a weight of many digits": (axes("variants: all\n", prompt=f"{{{HUGE}::a|b}}"), 3, "too large to be added up"),
    # Numbers
    "guidance of 3,000 digits": (HEAD + f"  guidance: {'9' * 3000}\n", 4, "3,000 digits; at most 400 are read"),
    "guidance without end": (HEAD + "  guidance: 1e999\n", 4, "guidance: inf is out of bounds"),
    "guidance of nothing": (HEAD + "  guidance: .nan\n", 4, "guidance: nan is out of bounds"),
    "a seed of 5,000 digits": (HEAD + f"  seed: {HUGE}\n", 4, "5,000 digits; at most 400 are read"),
    "a hexadecimal seed": (HEAD + f"  seed: 0x{'f' * MANY}\n", 4, "200,002 digits; at most 400 are read"),
    "a seed beyond 64 bits": (axes(seed=2**64), 4, "0 to 18446744073709551615 is possible"),
    "a seed of JSON": (
        {"t.jsonl": f'{{"model": "demo", "prompt": "a", "seed": {HUGE}}}\n'},
        1,
        "thousands of digits",
    ),
    "a range of 10**12": (axes(seed="0..1000000000000"), 4, "more than 1,000,000 values"),
    "a range of many digits": (axes(seed=f"0..{HUGE}"), 4, "is out of bounds; 0 to 18446744073709551615"),
    "draws of many digits": (axes(seed=f"{{random: {HUGE}}}"), 4, "is out of bounds; 1 to 1000000 is possible"),
    "steps": (axes(steps=10**9), 4, "1 to 1000 is possible"),
    "a size of many digits": (axes(size=f"{HUGE}x{HUGE}"), 4, "is not a size"),
    "retries": (HEAD + f"run: {{retries: 0x{'f' * MANY}}}\n", 4, "at most 400 are read"),
    "a disk of many digits": (HEAD + f"run: {{min_free_disk: '{HUGE}GiB'}}\n", 4, "more than any disk has"),
    "a disk of 300 digits": (HEAD + f"run: {{min_free_disk: {'9' * 300}}}\n", 4, "more than any disk has"),
    # Names and paths
    "a long model": (axes(model="a" * 5000), 2, "File name too long" if sys.platform == "linux" else "model: "),
    "a longer model": (axes(model="a" * 20_000), 2, "no name has more than 10,000"),
    "a long LoRA": (axes(lora="a" * 5000 + ".safetensors"), 4, "lora: "),
    "a LoRA of nothing": (axes(lora="a.safetensors +  + b.safetensors"), 4, "a LoRA that is empty"),
    "a long file": (axes(prompt={"file": "a" * 5000 + ".txt"}), 3, "prompt: "),
    "a file of many folders": (axes(prompt={"file": "/a" * 5000 + ".txt"}), 3, "prompt: "),
    "NUL in a model": (axes(model="a\0b"), 2, "is not known"),
    "NUL in a file": (axes(prompt={"file": "a\0.txt"}), 3, "prompt: "),
    "a long name of files": (axes(f"output: {{name: {'x' * 5000}}}\n"), 4, "at most 1,000 are possible"),
    "a name of many folders": (axes(f"output: {{name: '{'{prompt}/' * 100}'}}\n"), 4, "101 parts; at most 10"),
    # Text
    "half a pair in a wildcard's file": (
        {
            "m.yaml": axes("variants: all\nwildcards: {a: {file: w.jsonl}}\n", prompt="__a__"),
            "w.jsonl": '"\\ud800"\n',
        },
        5,
        "half of a surrogate pair",
    ),
    "half a pair in a style's file": (
        {
            "m.yaml": axes("styles: {file: s.jsonl}\n", style="x"),
            "s.jsonl": '{"name": "x", "prompt": "\\uD800"}\n',
        },
        ("s.jsonl", 1),
        "half of a surrogate pair",
    ),
    "half a pair in YAML": ('grid: {model: demo, prompt: "\\ud800"}\n', 1, "half of a letter"),
    "half a pair in UTF-8": ({"m.yaml": HEAD.encode() + b"name: \xed\xa0\x80\n"}, 4, "not UTF-8"),
    "half a pair in UTF-16": ({"m.yaml": b"\xff\xfe\x00\xd8"}, 0, "save it as UTF-8"),
    "UTF-32": ({"m.yaml": ("\ufeff" + HEAD).encode("utf-32-le")}, 0, "binary"),
    "a control character": (HEAD + "name: ä\x07\n", 4, "the control character U+0007"),
    # Tables
    "columns": ({"t.csv": ",".join(f"c{n}" for n in range(50_000)) + "\n"}, 1, "a table has at most 1,000"),
    "columns of JSON": ({"t.jsonl": row(**{f"c{n}": 1 for n in range(2000)})}, 1, "a table has at most 1,000"),
    "a cell without end": ({"t.csv": f"model,prompt\ndemo,{'a' * MANY}\n"}, 2, "more than 131,072 letters"),
    "rows that are all wrong": ({"t.csv": "model,prompt,seed\n" + "demo,a,x\n" * 20_000}, 2, "seed: 'x'"),
    "styles that are all unknown": (
        axes("styles:\n" + "".join(f"  y{n}: a\n" for n in range(2000)), style=[f"x{n}" for n in range(2000)]),
        4,
        "y29 and 1,970 more",
    ),
    # What a regular expression once walked through again and again
    "spaces in a LoRA": (axes(lora="a" + " " * 9000 + "b"), 4, "lora: "),
    "spaces behind a scheduler": (axes(scheduler="a" + " " * 9000 + "!"), 4, "neither a name nor"),
    "commas in a scheduler": (axes(scheduler=f"a({',' * 9000})"), 4, "named arguments only"),
    "brackets in a scheduler": (axes(scheduler=f"a({',[' * 4000})"), 4, "named arguments only"),
    "spaces in a size of bytes": (HEAD + f"run: {{min_free_disk: '1{' ' * 10**6}!'}}\n", 4, "not a size in bytes"),
    "names of values": (
        axes().replace('"a"', many("&a{0} x").replace(", ", ",\n  ")),
        3,
        "names a value for which * stands",
    ),
    "types in one line": (axes().replace('"a"', many("!x{0} y")), 3, "the tag !x0 is not understood here"),
    "mappings in one line": (
        axes(prompt=[{"a": n} for n in range(20_000)]),
        3,
        "a mapping is {file: prompts.txt}",
    ),
    # Names among thousands
    "variables": (
        axes("variants: all\n", prompt="${v%d=x}" * 1001 % (*range(1001),)),
        3,
        "more than 1,000 variables",
    ),
    "wildcards that are all unknown": (
        {
            "m.yaml": axes("variants: all\n", prompt=[f"__z{n}__ __d*/z{n}__" for n in range(2000)]),
            "wildcards/w.yaml": json.dumps({f"d{n}": {f"n{n}": ["x"]} for n in range(20_000)}),
        },
        3,
        "there is no wildcard __z1000__",
    ),
    "styles that are unknown among many": (
        {
            "m.yaml": axes("styles: {file: s.csv}\n", style=[f"x{n}" for n in range(900)]),
            "s.csv": "name,prompt\n" + "".join(f"y {n},a\n" for n in range(99_000)),
        },
        4,
        "'x899' is unknown",
    ),
    "styles": (
        {
            "m.yaml": axes("styles: {file: s.csv}\n", style="y"),
            "s.csv": "name,prompt\n" + "y,a\n" * (limits.STYLES + 1),
        },
        5,
        "styles: more than 100,000 in all files",
    ),
    "bars behind a brace": (axes("seed: 1\n", prompt="{" + "|" * 99_000), 4, "'seed' is an axis"),
}


@pytest.fixture(scope="module")
def bounded(tmp_path_factory):
    child = Bounded(tmp_path_factory.mktemp("bounded") / "log")
    yield child
    child.close()


@pytest.mark.parametrize("name", CASES)
def test_what_is_too_much_is_refused_at_once(bounded, work, name):
    files, where, says = CASES[name]
    path = write(work, files if isinstance(files, dict) else {"m.yaml": files})
    file, line = where if isinstance(where, tuple) else (path.name, where)
    answer = bounded("plan", path, "--out", work / "out")
    assert (answer.code, answer.trace) == (2, "")
    place = f"{work / file}:{line}: " if line else f"{work / file}: "
    assert any(text.startswith(place) and says in text for text in answer.err.splitlines()), answer.err[:3000]
    assert len(answer.err) < 10**6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("seed=" + "[" * 50_000, f"--set seed:1: {DEEP}"),
        ("seed=" + HUGE, "--set seed:1: 99999999999999999999… is a number of 5,000 digits"),
        ("seed=0..1000000000000", "--set seed: seed: the range 0..1000000000000 has more than"),
        ("model=" + "a" * MANY, "--set model: model: 'aaa"),
        (".".join("a" * 20_000) + "=1", "no key is as long as this"),
        ("seed=\udcff", "--set 'seed': it is not UTF-8"),
        ("\udcff=1", "--set '\\udcff': it is not UTF-8"),
        ("model=a\0b", "--set model:1: not valid YAML: the control character U+0000"),
        ("guidance=" + "1 , " * MANY + "x", "--set guidance: guidance: '1 , 1 ,"),
        ("seed=" + " " * MANY + "x", "--set seed: seed: 'x' is neither"),
        ("run.min_free_disk=1" + " " * MANY + "!", "is not a size in bytes"),
    ],
)
def test_what_set_gives_is_bounded_too(bounded, work, given, says):
    answer = bounded("plan", write(work, {"m.yaml": HEAD}), "--out", work / "out", "--set", given)
    assert (answer.code, answer.trace) == (2, "")
    assert says in answer.err


@pytest.mark.parametrize("time", ["9" * 400 + "h", "1" + " " * MANY + "!", "1e9"])
def test_a_time_without_end_is_refused(bounded, work, time):
    answer = bounded("run", write(work, {"m.yaml": HEAD}), "--out", work / "out", "--task-timeout", time)
    assert (answer.code, answer.trace) == (2, "")
    assert "is no time; write 90s, 10m or 1h" in answer.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_what_is_no_file_is_not_waited_for(bounded, work):
    os.mkfifo(work / "pipe.txt")
    (work / "loop.txt").symlink_to("loop.txt")
    (work / "zero.txt").symlink_to("/dev/zero")
    (work / "folder.txt").mkdir()
    for name in ("pipe", "loop", "zero", "folder"):
        path = write(work, {"m.yaml": axes(prompt={"file": f"{name}.txt"})})
        read, taken = (bounded("plan", file, "--out", work / "out") for file in (path, work / f"{name}.txt"))
        assert (read.code, taken.code, read.trace, taken.trace) == (2, 2, "", "")
        assert read.err.startswith(f"{path}:3: prompt: ")
        assert taken.err.startswith(f"{work / name}.txt: ")


@pytest.mark.parametrize("name", ["m.yaml", "t.csv"])
def test_a_file_of_gigabytes_is_not_read(bounded, work, name):
    path = write(work, {name: HEAD})
    os.truncate(path, 2**33)  # sparse: nothing is written
    answer = bounded("plan", path, "--out", work / "out")
    assert answer.err == f"{path}: more than 256 MiB, which is more than a plan can hold; split it\n"


def test_yaml_of_megabytes_is_referred_to_a_table(bounded, work):
    path = write(work, {"m.yaml": "#" * (limits.YAML_LETTERS + 1)})
    answer = bounded("plan", path, "--out", work / "out")
    assert answer.err == f"{path}: more than 64 MiB of YAML; put prompts into a table: {{file: prompts.csv}}\n"


@pytest.mark.parametrize(
    "text",
    [
        axes(prompt="[" * 99_999),
        axes("variants: {random: 4}\n", prompt="{a|b}" * 10_000),
        axes("variants: all\n", prompt="{a}" * 20_000),
        axes("variants: all\n", prompt="{" * 40 + "a|b" + "}" * 40),
        axes("variants: {random: 10000}\n", prompt="{a|a}{b|b}" * 20),
        axes("styles: {a: '{prompt}{prompt}'}\n", style=["none", "a + a + a"], seed=1),
        axes(seed=2**63),
        axes(
            f"variants: all\nwildcards: {json.dumps({f'w{n}': ['x'] for n in range(900)})}\n",
            prompt="".join(f"${{v{n}={{x}}}}" for n in range(900)) + "".join(f"__w{n}__" for n in range(900)),
        ),
    ],
)
def test_what_is_merely_large_is_planned(bounded, work, text):
    answer = bounded("plan", write(work, {"m.yaml": text}), "--out", work / "out")
    assert (answer.code, answer.trace) == (0, ""), answer.err[:3000]


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("p.txt", "a\n", "more than 5,000,000 lines"),
        ("t.csv", "a\n", "more than 5,000,000 lines"),
        ("t.jsonl", "1\n", "more than 5,000,000 lines"),
    ],
)
def test_a_file_of_short_lines_is_not_spread_out(bounded, work, name, line, says):
    write(work, {name: line * 5_000_001})
    manifest = axes(prompt={"file": name}) if name == "p.txt" else ""
    path = write(work, {"n.yaml": manifest}) if manifest else work / name
    answer = bounded("plan", path, "--out", work / "out")
    assert (answer.code, answer.trace) == (2, "")
    assert says in answer.err


FOX = "a fox in the rain " * 10


@pytest.mark.parametrize("text", [f'"{FOX}{{0}}"', FOX + "{0}"], ids=["quoted", "plain"])
def test_prompts_in_one_line_are_read_as_quickly_as_in_many(text):
    times = []
    for written in (many(text), many(text).replace(", ", ",\n  ")):
        begun = time.process_time()
        document.parse(axes().replace('"a"', written), "m.yaml")
        times.append(time.process_time() - begun)
    assert times[0] < 3 * times[1] + 0.2


def test_yaml_of_too_many_values_is_not_composed(monkeypatch):
    monkeypatch.setattr(document, "NODES", 1000)
    with pytest.raises(ManifestError, match=r"^m.yaml:1: more than 2,000,000 keys and values of YAML"):
        document.parse("- a\n" * 2000, "m.yaml")


def test_of_thousands_of_problems_a_thousand_are_shown(bounded, work):
    path = write(work, {"t.csv": "model,prompt,seed\n" + "".join(f"demo,a,x{n}\n" for n in range(3000))})
    lines = bounded("plan", path, "--out", work / "out").err.splitlines()
    assert (len(lines), lines[-1]) == (1001, "and 2,000 more")


def test_every_limit_stands_in_the_docs():
    docs = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8").partition("## Limits")[2]
    for name, value in vars(limits).items():
        if name.isupper() and name not in ("MIB", "COUNTLESS"):
            size = name in ("FILE_BYTES", "YAML_LETTERS", "UNPACKED", "STYLE_BYTES")
            assert f"{value // limits.MIB} MiB" in docs if size else f"{value:,}" in docs, name


# Pieces of manifests, each repeated up to thousands of times: what no one writes, and a program may.

PIECES = [
    *("[", "]", "{", "}", "- ", "? ", ": ", "\n", "  ", ",", '"', "'", "|", "&a ", "*a ", "#", "\\", "<<", "\t"),
    *(
        "{a|b}",
        "__w__",
        "_x",
        "__x",
        "((",
        "{2$$a|b}",
        "{prompt}",
        "0..9",
        "9",
        "1e",
        "0x",
        "a",
        " + ",
        "é",
        "\ud83e",
    ),
    *("${v=!{a|b}}", "${v}", "${", "{-2$$", "__w*__", "# ", "/*", "(a:", "[a", "<lora:", "--prompt ", "--seed 1 "),
    *("$$", "::", "-", ".", "/", "=", "demo", "{random: 9}", "\x00", "\x07", "\ufeff"),
]
REPEATED = st.tuples(st.sampled_from(PIECES), st.sampled_from([1, 1, 1, 2, 60, 1000, 30_000]))
TEXTS = st.lists(REPEATED, min_size=1, max_size=6).map(
    lambda parts: "".join(text * times for text, times in parts)
)
HELD = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FUZZ = settings(max_examples=50, deadline=None, suppress_health_check=HELD)


def is_planned_or_refused(bounded, work, files, *options):
    raw = {name: text.encode("utf-8", "ignore") for name, text in files.items()}
    answer = bounded("plan", write(work, raw), "--out", work / "out", *options)
    assert (answer.code in (0, 2), answer.trace) == (True, "")


@FUZZ
@given(text=TEXTS, name=st.sampled_from(["", "grid: ", "styles: ", "wildcards: ", HEAD, HEAD.rstrip()]))
def test_any_repetition_is_read_in_time(bounded, work, text, name):
    is_planned_or_refused(bounded, work, {"m.yaml": name + text})


@FUZZ
@given(
    values=st.dictionaries(st.sampled_from([*AXES]), st.lists(TEXTS, min_size=1, max_size=3), max_size=3),
    lines=st.lists(TEXTS, min_size=1, max_size=3),
    variants=st.sampled_from(["off", "all", {"random": 4}]),
)
def test_any_axis_is_planned_in_time(bounded, work, values, lines, variants):
    document = {
        "grid": {"model": "demo", "prompt": "__w__ {a|b}", "style": "s + s", **values},
        "styles": {"s": lines[0] + "{prompt}" * 2},
        "wildcards": {"w": lines},
        "variants": variants,
    }
    is_planned_or_refused(bounded, work, {"m.yaml": json.dumps(document)})


@FUZZ
@given(
    prompts=TEXTS, listed=TEXTS, tree=TEXTS, drawn=st.booleans(), begin=st.sampled_from(["", "--prompt ", "a: "])
)
def test_any_prompt_file_is_planned_in_time(bounded, work, prompts, listed, tree, drawn, begin):
    variants = "{random: 4}" if drawn else "all"
    manifest = f"variants: {variants}\ngrid: {{model: demo, prompt: [{{file: p.txt}}, __w__, '{{2$$__t*__}}']}}\n"
    files = {"m.yaml": manifest, "p.txt": begin + prompts}
    files |= {"wildcards/w.txt": begin + listed, "wildcards/t.yaml": "t: [a]\n" + begin + tree}
    is_planned_or_refused(bounded, work, files)


@FUZZ
@given(cells=st.dictionaries(st.sampled_from([*AXES]), TEXTS, max_size=3), typed=st.booleans(), raw=TEXTS)
def test_any_table_is_planned_in_time(bounded, work, cells, typed, raw):
    cells = {"model": "demo", "prompt": "a", **cells}
    table = f"{','.join(cells)}\n{','.join(cells.values())}\n{raw}"
    files = {"t.jsonl": json.dumps(cells) + "\n" + raw} if typed else {"t.csv": table}
    is_planned_or_refused(bounded, work, files)


@FUZZ
@given(key=st.sampled_from([*AXES, "run.min_free_disk", "output.name", "exclude", "wildcards.w"]), value=TEXTS)
def test_any_set_is_planned_in_time(bounded, work, key, value):
    is_planned_or_refused(bounded, work, {"m.yaml": HEAD}, "--set", f"{key}={value}")
