"""The grammar of prompts with alternatives, and the files of wildcards."""

import re
from collections import Counter
from random import Random

import pytest

from batch.manifest.document import Place
from batch.manifest.limits import WILDCARD_FILES
from batch.manifest.variant_tokens import looks_varied, uncommented
from batch.manifest.variants import Grammar, WildcardLine
from tests.helpers import plan

LISTS = {
    "c": ["red", "blue"],
    "cut": ["20::straight", "0.1::curly"],
    "in ${v}": ["x"],
    "season": ["In ${s}, ${s} shirts"],
    "mild": ["In ${s:summer}"],
    "kept": ["${s?=winter}${s} ${s}"],
    "deep": ["a __c__", "{2$$__c__}"],
}


def lines(name):
    return [WildcardLine(text, Place(f"{name}.txt", number)) for number, text in enumerate(LISTS[name], start=1)]


def texts(text):
    template = Grammar(lines).parse(uncommented(text))
    found = list(template.texts())
    assert template.extent.texts == len(found)
    assert template.extent.longest >= max(map(len, found))
    # What is drawn may stand in any order.
    assert sorted(template.pick(Random(1))) in map(sorted, found)
    return found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        # How many: of more than there are, all
        ("{4$$a|b|c}", ["a, b, c"]),
        ("{1-$$a|b}", ["a", "b", "a, b"]),
        ("{-2$$a|b|c}", ["a", "b", "c", "a, b", "a, c", "b, c"]),
        ("{2-1$$a|b}", ["a", "b", "a, b"]),
        ("{0-1$$a|b}", ["", "a", "b"]),
        ("{2$$ | $$a|b}", ["a | b"]),
        ("{2$$__c__}", ["red, blue"]),
        ("{ 2$$ __c__ }", ["red, blue"]),
        ("{2$$ and $$__c__|green}", ["red and green", "blue and green"]),
        ("__deep__", ["a red", "a blue", "red, blue"]),
        # Variables
        ("${v={a|b}}${v} ${v}", ["a a", "a b", "b a", "b b"]),
        ("${v=!{a|b}}${v} ${v}", ["a a", "b b"]),
        ("${v=!__c__}${v}, ${v}", ["red, red", "blue, blue"]),
        ("${ v = plain }${v} ${w:{1|2}}", ["plain 1", "plain 2"]),
        ("${v} first ${v=!{a|b}}", ["a first", "b first"]),
        ("${a=!{x|y}}${b=!{${a}1|${a}2}}${b} ${a}", ["x1 x", "x2 x", "y1 y", "y2 y"]),
        ("${s={dry|wet}}__season__", [
            "In dry, dry shirts", "In dry, wet shirts", "In wet, dry shirts", "In wet, wet shirts",
        ]),
        ("${s=!{dry|wet}}__season__", ["In dry, dry shirts", "In wet, wet shirts"]),
        ("__mild__ ${s=autumn}", ["In autumn"]),
        ("__mild__", ["In summer"]),
        ("__kept__ ${s=!{a|b}}", ["a a", "b b"]),
        ("__kept__", ["winter winter"]),
        # Comments
        ("a fox # red\n, b", ["a fox \n, b"]),
        ("# all of it\na {b|c}", ["a b", "a c"]),
        ("a /* not\nthis */ {\n  b # one\n  # | c\n  | d\n}", ["a b", "a d"]),
        ("a // b", ["a"]),
        ("https://a.b/c #1 \\# x", ["https://a.b/c #1 # x"]),
        # The characters themselves
        ("\\{a\\|b\\} \\_\\_c\\_\\_ \\$\\{v\\} $5 5%", ["{a|b} __c__ ${v} $5 5%"]),
    ],
)  # fmt: skip
def test_what_the_grammar_stands_for(written, found):
    assert texts(written) == found


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("__c(v=a)__", "write ${v=a} before __c__"),
        ("__~c__", "ways of sampling"),
        ("{@a|b}", "ways of sampling"),
        ("{!2$$a|b}", "ways of sampling"),
        ("%{a $$ b}", "wrapping"),
        ("${v}", "${v} is not set"),
        ("__season__", "season.txt:1: ${s} is not set"),
        ("${v=a|b}", "stand in braces"),
        ("{${v=a}|b}", "sets a variable inside braces"),
        ("${1}", "this use of ${…}"),
        ("${v={a|b}", "not closed"),
        ("{$$a|b}", "does not say how many"),
        ("{2$$__c__$$a|b}", "a wildcard cannot stand between"),
        ("a __c fox", "does not end"),
        ("__in ${v}__", "does not end"),
        ("__../c__", "leads out of the folder"),
        ("${a=" + "x" * 60_000 + "}${b=${a}${a}}", "more than 100,000 letters"),
        ("".join(f"${{v{n}=!{{a|b}}}}" for n in range(60)), "nested more than 50 deep"),
        (
            "${v0={a|b}}" + "".join(f"${{v{n}=${{v{n - 1}}}${{v{n - 1}}}}}" for n in range(1, 40)),
            "100,000 choices",
        ),
    ],
)
def test_what_the_grammar_has_not_is_refused(written, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Grammar(lines).parse(written)


def test_weights_of_lines_count_for_random_draws():
    template = Grammar(lines).parse("__cut__ {9::a|b}")
    random = Random(1)
    drawn = Counter(word for _ in range(2000) for word in template.pick(random).split())
    assert 1 <= drawn["curly"] < 30
    assert 150 < drawn["b"] < 250
    assert list(Grammar(lines).parse("__cut__").texts()) == ["straight", "curly"]


def test_lines_without_variables_are_read_once():
    asked = Counter()

    def counted(name):
        asked[name] += 1
        return lines(name)

    grammar = Grammar(counted)
    for number in range(9):
        grammar.parse(f"${{s={number}}}__c__ __season__ {{2$$__c__}}")
    assert asked == {"c": 1, "season": 9}


FILES = {
    "wildcards/colours.txt": "# warm\nred\n3::blue # cold\n",
    "wildcards/clothing/big hats.txt": "fez\n",
    "wildcards/clothing/winter.yaml": "coats:\n  - 2::fur\n  - {text: wool, weight: 0}\nshoes:\n  high: boots\n",
    "wildcards/list.yml": "- 1984\n- no\n-\n",
    "wildcards/old.json": '{"eras": ["jazz", "rock"]}',
    "wildcards/.hidden/x.txt": "never\n",
}
MANIFEST = """variants: all
wildcards:
  mood: [calm, 2::wild]
  own: {deep: [x], file: [y]}
  tree: {file: more.yaml}
grid:
  model: demo
  prompt:
    - PROMPT
"""


def prompts_of(manifest, work, prompt):
    for name, text in {**FILES, "more.yaml": "a: [m]\nb: {c: [n]}\n"}.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {task.prompt for task in plan(manifest(MANIFEST.replace("PROMPT", prompt))).tasks}


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("__colours__", {"red", "blue"}),
        ("__clothing/big hats__", {"fez"}),
        ("'__clothing\\big hats__'", {"fez"}),
        ("__clothing/coats__", {"fur", "wool"}),
        ("__shoes/high__ __big hats__", {"boots fez"}),
        ("__clothing/shoes/high__", {"boots"}),
        ("__clothing/*__", {"fez", "fur", "wool", "boots"}),
        ("__c*/[!b]*__", {"fur", "wool", "boots"}),
        ("__*__", {"red", "blue", "fez", "fur", "wool", "boots", "1984", "no", "jazz", "rock", "calm", "wild", "x",
                   "y", "m", "n"}),
        ("__list__ __eras__", {"1984 jazz", "1984 rock", "no jazz", "no rock"}),
        ("__mood__ __own/deep__ __own/file__", {"calm x y", "wild x y"}),
        ("__tree/a__ __tree/b/c__", {"m n"}),
    ],
)  # fmt: skip
def test_where_lines_of_wildcards_come_from(manifest, work, prompt, found):
    assert prompts_of(manifest, work, prompt) == found


@pytest.mark.parametrize(
    ("files", "prompt", "says"),
    [
        ({"wildcards/a.txt": "x\n{y\n"}, "__a__", "a.txt:2: a '{' is not closed"),
        ({"wildcards/a.yaml": "k:\n  - x\n  - {y}\n"}, "__k__", "a.yaml:3: a line is a text; put it in quotes"),
        ({"wildcards/a.yaml": "k:\n  - x: y\n"}, "__k__", "a.yaml:2: a line is a text"),
        ({"wildcards/a.yaml": "k:\n  - {y} z\n"}, "__k__", "a.yaml:2: not valid YAML"),
        ({"wildcards/a.txt": "x\n", "wildcards/a.yaml": "- y\n"}, "__a__", "keep one"),
        ({"wildcards/a.txt": "\n"}, "__a__", "holds no line"),
        ({"wildcards/a.txt": "__*__\n"}, "__a__", "holds itself"),
        ({"wildcards/a.txt": "--prompt x\n"}, "__a__", "a.txt:1: --prompt x: a wildcard's line takes no options"),
        ({"wildcards/a.txt": "x\n"}, "__b*__", "there is no wildcard __b*__; possible are a"),
        ({}, "__b__", "write it under wildcards:, or b.txt in wildcards/"),
    ],
)
def test_what_is_wrong_with_a_wildcard_is_said(manifest, work, cli, files, prompt, says):
    for name, text in files.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(text)
    outcome = cli("plan", manifest(f"variants: all\ngrid:\n  model: demo\n  prompt: '{prompt}'\n"))
    assert outcome.code == 2
    assert "job.yaml:4: prompt: " in outcome.err
    assert says in outcome.err


BROKEN = {"good.txt": "x\n", "inner/more.txt": "y\n"}


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("inner/broken.yaml", "k:\n  - {y} z\n", "broken.yaml:2: not valid YAML"),
        ("inner/broken.json", '["a", "b"', "broken.json:"),
        ("inner/broken.yaml", "k:\n  - {y}\n", "broken.yaml:2: a line is a text"),
        ("broken.yaml", "k: [\n", "broken.yaml:"),
    ],
)
def test_a_pattern_loses_no_broken_file(manifest, work, cli, file, text, says):
    for name, lines in {**BROKEN, file: text}.items():
        (work / "wildcards" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "wildcards" / name).write_text(lines)
    outcome = cli("plan", manifest("variants: all\ngrid: {model: demo, prompt: __inner/*__}\n"))
    assert outcome.code == 2
    assert "__inner/*__ may stand for lines that cannot be read; " in outcome.err
    assert says in outcome.err
    assert cli("plan", manifest("variants: all\ngrid: {model: demo, prompt: __inner/more__}\n")).code == 0
    assert cli("plan", manifest("variants: all\ngrid: {model: demo, prompt: __mor*__}\n")).code == 2
    beside = cli("plan", manifest("variants: all\ngrid: {model: demo, prompt: __goo?__}\n"))
    assert beside.code == (0 if file.startswith("inner/") else 2)


METADATA = {
    "inner/fox.civitai.info.json": '{"id": 3, "trainedWords": ["fox style"]}',
    "inner/fox.api_info.json": '{"a": ["fox style"]}',
    "inner/fox.info.json": '["fox style"]',
    "inner/fox.civitai.info": '["fox style"]',
    "inner/fox.json": '{"description": "", "preferred weight": 0.8, "words": ["fox style"]}',
    "inner/images.json": '[{"id": 3, "url": "fox style"}]',
}


def test_metadata_beside_wildcards_is_no_wildcard(manifest, work, cli):
    for name, lines in {**BROKEN, **METADATA}.items():
        (work / "wildcards" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "wildcards" / name).write_text(lines)
    path = manifest("variants: all\ngrid: {model: demo, prompt: __*__}\n")
    assert {task.prompt for task in plan(path).tasks} == {"x", "y"}
    said = cli("plan", path).err
    assert "fox.json: this is no list of lines ('preferred weight' is 0.8), and is left out (1 more" in said
    assert "civitai" not in said
    named = "variants: all\nwildcards: {a: {file: wildcards/inner/fox.json}}\ngrid: {model: demo, prompt: __a__}\n"
    assert "fox.json: this is no list of lines" in cli("plan", manifest(named)).err


def test_an_entry_of_umi_is_not_read(manifest, work, cli):
    (work / "wildcards").mkdir()
    (work / "wildcards" / "umi.yaml").write_text("Elf Girl:\n  Prompts: [elf]\n  Tags: [Elf, Female]\nb: [c]\n")
    outcome = cli("plan", manifest("variants: all\ngrid: {model: demo, prompt: __Elf Girl__}\n"))
    assert outcome.code == 2
    assert "umi.yaml:1: 'Elf Girl' has Prompts and Tags, as UMI writes them, which is not read" in outcome.err
    assert "Elf Girl/Tags" not in outcome.err
    path = manifest("variants: all\ngrid: {model: demo, prompt: __*__}\n")
    assert {task.prompt for task in plan(path).tasks} == {"c"}
    assert "as UMI writes them" in cli("plan", path).err
    assert "UMI" not in cli("plan", manifest("variants: all\ngrid: {model: demo, prompt: __b__}\n")).err
    path = manifest("variants: all\nwildcards: {e: {Prompts: [a], Tags: [b]}}\ngrid: {model: demo, prompt: x}\n")
    assert "wildcards: e: " in cli("plan", path).err


def test_a_folder_of_too_many_files_is_not_walked(manifest, work, cli, monkeypatch):
    assert WILDCARD_FILES >= 20_000
    monkeypatch.setattr("batch.manifest.wildcards.WILDCARD_FILES", 2)
    (work / "wildcards").mkdir()
    for name in "abc":
        (work / "wildcards" / f"{name}.txt").write_text(name)
    outcome = cli("plan", manifest("variants: all\ngrid: {model: demo, prompt: __a__}\n"))
    assert outcome.code == 2
    assert "more than 2 files" in outcome.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("  negative_prompt: a {bad|worse} face\n", "negative_prompt: alternatives are expanded in prompts alone"),
        ("  negative_prompt: __c__\n", "there is no wildcard __c__"),
        (
            "  style: oil\nstyles: {oil: 'oil, {a|b}'}\n",
            "style: 'oil' holds alternatives ('oil, {a|b}'), which styles do not have",
        ),
        (
            "  style: oil\nstyles: {oil: {prompt: '{prompt}', negative_prompt: __x__}}\n",
            "'oil' holds alternatives ('__x__')",
        ),
    ],
)
def test_no_alternative_reaches_a_model_as_text(manifest, cli, more, says):
    path = manifest("variants: all\ngrid:\n  model: demo\n  prompt: '{a|b}'\n" + more)
    outcome = cli("plan", path)
    assert outcome.code == 2
    assert says in outcome.err
    assert cli("plan", path, "--set", "variants=off").code == (
        2 if "prompt}" in more and "style" not in more else 0
    )


def test_a_comment_takes_no_suffix_along(manifest):
    text = "variants: all\nprompt_suffix: ', 35mm'\ngrid: {model: demo, prompt: 'a {fox|whale} # one'}\n"
    assert {task.prompt for task in plan(manifest(text)).tasks} == {"a fox, 35mm", "a whale, 35mm"}


def test_a_prompt_that_is_a_comment_is_refused(manifest, cli):
    outcome = cli("plan", manifest("variants: all\ngrid: {model: demo, prompt: '#1 dad'}\n"))
    assert outcome.code == 2
    assert "is a comment, and no prompt; write \\#" in outcome.err


@pytest.mark.parametrize("text", ["{2$$a|b}", "${v={a}}", "${v}", "__big hats__", "__c/*__", "{a|b}"])
def test_what_is_left_while_variants_is_off_is_told(text):
    assert looks_varied(text)
    assert not looks_varied("a fox, snake_case, $5, {x} \\{a|b}")


def test_fewer_texts_than_were_asked_for_are_told(manifest, cli):
    prompts = "    - a fox\n    - a {red|blue} fox\n    - a {1|2|3} fox\n    - a {red|red} whale\n"
    path = manifest(f"variants: {{random: 3}}\ngrid:\n  model: demo\n  prompt:\n{prompts}")
    said = cli("plan", path).err
    assert (
        "job.yaml:6: variants: of 'a {red|blue} fox' 3 were asked for, 2 are different (1 more like this)" in said
    )
    said = cli("plan", path, "--set", "variants={random: 2}").err
    assert "job.yaml:8: variants: of 'a {red|red} whale' 2 were asked for, 1 is different\n" in said
    assert "were asked for" not in cli("plan", path, "--set", "variants=all").err
    said = cli("plan", path, "--set", "variants=off").err
    assert "job.yaml:6: prompts with alternatives, such as 'a {red|blue} fox'" in said
