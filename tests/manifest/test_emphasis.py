"""A1111's grammar inside prompts: weights, pieces, LoRAs; what only that program can do is refused."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.base.errors import ManifestError
from batch.manifest import emphasis
from tests.helpers import plan


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a fox", [[("a fox", 1)]]),
        ("a (fox:1.3) by night", [[("a ", 1), ("fox", 1.3), (" by night", 1)]]),
        ("((fox)) [dull]", [[("fox", 1.21), (" ", 1), ("dull", 1 / 1.1)]]),
        ("(a (b:1.5) c", [[("a ", 1.1), ("b", 1.65), (" c", 1.1)]]),  # open to the end
        (r"\(fox\) a) b:1.3", [[("(fox) a) b:1.3", 1)]]),
        ("(a: b)", [[("a: b", 1.1)]]),
        ("breakfast BREAK two", [[("breakfast ", 1)], [(" two", 1)]]),
        ("BREAK BREAK fox", [[(" fox", 1)]]),
        ("(fox:-0.5)", [[("fox", -0.5)]]),
        ("BREAKFAST, hand and foot", [[("BREAKFAST, hand and foot", 1)]]),
    ],
)
def test_brackets_are_weights(text, pieces):
    found = emphasis.parse(text)
    assert [[part for part, _ in piece] for piece in found] == [[part for part, _ in piece] for piece in pieces]
    weights = [weight for piece in pieces for _, weight in piece]
    assert [weight for piece in found for _, weight in piece] == pytest.approx(weights)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cat:dog:0.5]", "between two steps"),
        ("[cat|dog]", "between two steps"),
        ("a cat AND a dog", "mixes several prompts"),
        ("(fox:1.2.3)", "is no weight"),
        ("(fox:11)", "too large a weight"),
        ("((fox:9):9)", "a weight of more than 10"),
        ("(" * 51, "more than 50 deep"),
    ],
)
def test_what_cannot_be_done_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        emphasis.parse(text)


@pytest.mark.parametrize(
    "text", ["(" * 10**5, ":1" * 50_000, "(:1" * 30_000, "(a" * 40 + ":1.1)" * 20_000, "<lora:" * 20_000]
)
def test_a_text_is_gone_over_once(text):
    begun = time.perf_counter()
    for read in (emphasis.parse, emphasis.without_loras):
        with suppress(ValueError):
            read(text)
    assert time.perf_counter() - begun < 5


@given(st.text(alphabet="()[]\\:.19|<>lora BREAKND", max_size=60))
def test_any_text_is_read_or_refused(text):
    with suppress(ValueError):
        emphasis.parse(text)
        emphasis.without_loras(text)


def empty_lora(path):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((2).to_bytes(8, "little") + b"{}")


def manifest(work, text, **more):
    lines = [f"{key}: {value}" for key, value in {"prompt_syntax": "a1111", **more}.items()]
    path = work / "m.yaml"
    path.write_text("\n".join([*lines, "grid:", "  model: demo", f"  prompt: {text}"]), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a fox <lora:none_here:0.8>", "there is no none_here.safetensors beside the manifest"),
        ("<lora:x:0.8>", "nothing but LoRAs"),
        ("a <lora:x:0.8:0.4> fox", "one strength holds"),
        ("a <lora:x:strong> fox", "is no strength"),
        ("a <hypernet:x:1> fox", "hypernetworks cannot be used"),
        ("a (fox:1.3)", "has weights .* cannot be given to demo"),
        ("a [fox:wolf:0.4]", "between two steps"),
        ("{text: a <lora:x:1> fox, lora: none}", "write all in one place"),
    ],
)
def test_a_mistake_is_said_at_its_line(work, text, message):
    empty_lora(work / "x.safetensors")
    with pytest.raises(ManifestError, match=message):
        plan(manifest(work, text if text.startswith("{") else f'"{text}"'))


def test_loras_in_a_prompt_are_values_of_the_axis(work):
    empty_lora(work / "loras" / "detail.safetensors")
    empty_lora(work / "b.safetensors")
    (task,) = plan(manifest(work, '"a fox <lora:detail:0.8>, at night <lora:b>"')).tasks
    assert task.prompt == "a fox , at night"
    assert [(lora.path[-18:], lora.scale) for lora in task.loras] == [
        ("detail.safetensors", 0.8),
        (task.loras[1].path[-18:], 1.0),
    ]
    (plain,) = plan(manifest(work, '"a fox <lora:detail:0.8>"', prompt_syntax="plain")).tasks
    assert plain.prompt == "a fox <lora:detail:0.8>"
    assert plain.loras == ()


def test_loras_of_prompt_and_grid_are_not_mixed(work):
    empty_lora(work / "x.safetensors")
    path = manifest(work, '"a fox <lora:x:1>"\n  lora: x.safetensors')
    with pytest.raises(ManifestError, match="prompts name LoRAs in their text"):
        plan(path)


def test_loras_inside_alternatives_are_refused(work):
    empty_lora(work / "x.safetensors")
    with pytest.raises(ManifestError, match="stands inside alternatives"):
        plan(manifest(work, '"a {fox <lora:x:1>|whale}"', variants="all"))


def test_the_grammar_is_part_of_the_id(tiny, work):
    def ids(text, **settings):
        lines = [f"{key}: {value}" for key, value in settings.items()]
        (work / "m.yaml").write_text("\n".join([*lines, "grid:", f"  model: {tiny('sdxl')}", f"  prompt: {text}"]))
        return [task.id for task in plan(work / "m.yaml").tasks]

    plain, weighted = ids("a (fox:1.3)"), ids("a (fox:1.3)", prompt_syntax="a1111")
    pieces = ids("a (fox:1.3)", long_prompts="chunk")
    assert len({*plain, *weighted, *pieces}) == 3
    with pytest.raises(ManifestError, match="write long_prompts: chunk"):
        ids("a fox BREAK a whale", prompt_syntax="a1111")
    with pytest.raises(ManifestError, match=r"run.batch has no effect under long_prompts: chunk"):
        ids("a fox", long_prompts="chunk", run="{batch: 4}")


def test_pieces_are_refused_where_encoders_are_not_clip(work):
    with pytest.raises(ManifestError, match="long_prompts: chunk has no effect on demo"):
        plan(manifest(work, "a fox", prompt_syntax="plain", long_prompts="chunk"))


def test_what_changes_nothing_is_no_other_picture(work):
    """Of a model that is not CLIP's, with prompts that have no weights."""
    (plain,) = plan(manifest(work, "a fox", prompt_syntax="plain")).tasks
    (same,) = plan(manifest(work, "a fox")).tasks
    assert same.id == plain.id
    assert same.prompt_syntax == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x (fox:1,2), y", "':1,2)' is no weight"),
        ("(fox;1.2)", "is no weight"),
        ("（fox:1.2）", "is no weight"),
        ("(fox:1.2, tree)", "':1.2,' is no weight"),
        ("a (fox tree, blue sky", "is not closed and reaches to the end"),
        ("a fox :( sad", "is not closed and reaches to the end"),
        ("a (fox:1.2) at 10:30, 4:3, (night)", ""),
        ("a \\(fox", ""),
    ],
)
def test_what_looks_like_a_weight_and_is_none_is_told(tiny, work, text, says):
    assert says in emphasis.slip(text)
    assert bool(emphasis.slip(text)) == bool(says)
    path = work / "m.yaml"
    path.write_text(
        f"prompt_syntax: a1111\ngrid:\n  model: {tiny('sdxl')}\n  prompt: '{text}'\n", encoding="utf-8"
    )
    warned = [line for line in plan(path).warnings if says in line] if says else []
    assert bool(warned) == bool(says)
