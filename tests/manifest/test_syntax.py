"""Syntax of other programs in prompts: noticed, and told once each kind."""

import pytest

from batch.manifest.syntax import A1111, foreign
from tests.helpers import grid

KINDS = {
    "escape": ["miku \\(vocaloid\\)"],
    "lora": ["<lora:x:0.8>", "<lyco:x>"],
    "hypernet": ["<hypernet:x:1>"],
    "swarm": ["<wildcard:colour>", "<random:a|b>", "<random[2]:a,b>", "<segment:face>", "<embed:x>"],
    "braces": ["{{fox}}", "{fox}"],
    "novelai": ["1.3::fox ::", "-2::hat::"],
    "weight": ["(fox:1.3)", "(a red fox: .8)", "(a:b:1.2)", "(fox:1,2)", "(tree;1.2)", "（fox:1.2）"],
    "compel": ["(fox)1.3", "(a fox)+", "fox++", "('a', 'b').and()"],
    "emphasis": ["((fox))", "((a, b)), c"],
    "schedule": ["[a:b:0.5]", "[fox:10]"],
    "alternate": ["[cow|horse]"],
    "less": ["[fox]"],
    "break": ["a BREAK b"],
    "and": ["a fox AND a whale"],
    "embedding": ["embedding:easy-negative.pt"],
    "separator": ["a fox ### blurry"],
    "options": ["a fox --ar 16:9", "a fox --neg blurry", "a fox —ar 16:9"],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in KINDS.items() for text in texts])
def test_a_kind_of_syntax_is_noticed(kind, text):
    assert kind in foreign(f"a photo, {text}, in snow")
    assert kind not in foreign(text, {kind})


@pytest.mark.parametrize(
    "text",
    ["a fox (at night), 35mm", "4:3 photo: a fox", "C++ logo", "a <3 b", "BREAKFAST AND", "f(x) - 2", "#1 fan",
     "a -- b", "a fox —no hat", "a park — seed of a tree", "12::30", "rock AND"],
)  # fmt: skip
def test_what_is_language_is_left_alone(text):
    assert foreign(text) == {}


def test_each_kind_is_told_once_with_an_example_and_a_remedy(manifest, cli, work):
    (work / "p.txt").write_text("a [fox]\na (whale:1.2)\n")
    path = manifest(
        "prompt_suffix: ', BREAK'\n"
        "grid:\n  model: demo\n  prompt:\n    - a (fox:1.3)\n    - (hat:1.1)\n    - {file: p.txt}\n"
        "  negative_prompt: embedding:x\n  style: s\nstyles: {s: '{prompt} <lora:y:1>'}\n"
    )
    said = [line for line in cli("plan", path).err.splitlines() if line.startswith("warning: ")]
    assert [line.partition(": ")[2] for line in said] == [
        f"{path}:1: BREAK: BREAK is a word; write a comma, or prompt_syntax: a1111",
        f"{path}:5: (fox:1.3): weights are not understood; write the words alone, or prompt_syntax: a1111 "
        "where a model's text encoders are CLIP (2 more like this)",
        f"{work / 'p.txt'}:1: [fox]: […] does not weaken a word; write the word alone, or a negative prompt; "
        "or prompt_syntax: a1111",
        f"{path}:8: embedding:x: embeddings (textual inversion) are not loaded; remove it",
        f"{path}:10: the style 's' holds <lora:y:1>: LoRAs are the axis lora; "
        "write lora: [x.safetensors(scale=0.8)], or prompt_syntax: a1111",
    ]


def test_syntax_in_lines_of_wildcards_is_told(manifest, cli, work):
    (work / "wildcards").mkdir()
    (work / "wildcards" / "a.txt").write_text("x\n<lora:y:1>\n")
    outcome = cli("plan", manifest("variants: all\n" + grid(model="demo", prompt=["__a__", "{{b|c} d|e}"])))
    assert f"{work / 'wildcards' / 'a.txt'}:2: <lora:y:1>: " in outcome.err
    assert "braces" not in outcome.err


@pytest.mark.parametrize("text", ["[a" + ":" * 200_000, "(" + "a:1 " * 50_000, "{ " * 100_000, "<p:" * 60_000])
def test_a_long_text_is_gone_over_once(text):
    assert len(foreign(text)) <= 1


def test_kinds_of_a1111_are_kinds():
    assert KINDS.keys() >= A1111
