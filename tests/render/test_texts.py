"""How much of a text is read, texts in pieces, and weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from batch.records.tasks import EncodeTask
from batch.render import foresight, pieces, tokens
from batch.render.families import common, sdxl
from batch.render.families.table import FAMILIES
from batch.report import table
from batch.store import predictions
from tests.conftest import DEMO
from tests.helpers import grid, only_receipt, picture, plan, receipts_of
from tests.render.direct import direct, job, loaded

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = "abcde fghij klmno pqrst uvwxy"
"""Of the tiny CLIP tokenizer each letter is a token, and 14 fit between beginning and end of a piece."""


@pytest.fixture
def predicting(own_cache, monkeypatch):
    """Plans predict, and do so in this process: one of their own starts torch anew."""
    monkeypatch.delenv("RUN_BATCH_PREDICT", raising=False)
    monkeypatch.setattr(predictions, "_computed", foresight.answers)


def asked(text, **settings):
    return EncodeTask(key="", model="m", dtype="float32", text=text, negative=False, **settings)


def read(pipe, family, text, **settings):
    task = asked(text, **settings)
    most = common.text_arguments(pipe, task, family).get("max_sequence_length")
    with tokens.watched(pipe, text, most) as seen:
        FAMILIES[family].encode(pipe, task, "cpu")
    return seen.tokens


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux", "pixart", "qwen_image", "z_image"])
def test_what_is_not_read_is_known(tiny, family):
    pipe, _ = loaded(tiny(family))
    kinds = [type(part) for part in pipe.components.values()]
    short, long = read(pipe, family, "A Fox"), read(pipe, family, "a fox and a whale " * 60)
    assert short.cut == 0
    assert long.cut == long.tokens - long.read > 0
    assert ("a fox and a whale " * 60).strip().endswith(long.lost[-10:]) or "a whale a fox" in long.lost
    assert [type(part) for part in pipe.components.values()] == kinds


def test_the_encoder_that_reads_furthest_counts(tiny):
    pipe, _ = loaded(tiny("flux"))
    assert read(pipe, "flux", LONG).cut == 0  # CLIP reads 14, T5 all
    pipe, _ = loaded(tiny("sdxl"))
    found = read(pipe, "sdxl", LONG)
    assert (found.tokens, found.read, found.lost) == (25, 14, "o pqrst uvwxy")


def test_the_instruction_is_not_counted(tiny):
    pipe, _ = loaded(DEMO)
    asked_for = {"arguments": (("complex_human_instruction", ("be good",)),)}
    assert read(pipe, "sana", "a fox").tokens == read(pipe, "sana", "a fox", **asked_for).tokens


def test_one_piece_is_what_the_pipeline_makes(tiny):
    pipe, _ = loaded(tiny("sdxl"))
    plain = FAMILIES["sdxl"].encode(pipe, asked("a fox"), "cpu")
    pieced = FAMILIES["sdxl"].encode(pipe, asked("a fox", long_prompts="chunk", prompt_syntax="a1111"), "cpu")
    assert set(pieced) == {*plain, sdxl.PADDING}
    assert all(torch.equal(plain[name], pieced[name]) for name in plain)


def test_pieces_end_behind_words_and_commas(tiny):
    pipe, _ = loaded(tiny("sd1"))
    task = asked("", long_prompts="chunk")

    def words(text):
        made, _ = pieces._split(pipe.tokenizer, text, task)
        return [pipe.tokenizer.decode([token for token, _ in piece]).strip() for piece in made]

    assert words(LONG) == ["abcde fghij", "klmno pqrst", "uvwxy"]
    assert words("a" * 20) == ["a" * 14, "a" * 6]
    assert words("") == [""]


def test_each_piece_is_encoded_alone(tiny):
    pipe, _ = loaded(tiny("sd1"))
    task = asked(LONG, long_prompts="chunk")
    encoder = pieces.Encoder(pipe.tokenizer, pipe.text_encoder, lambda output: output[0], LONG)
    whole, _ = pieces.encode([encoder], task, "cpu")
    alone = [
        pieces.encode([replace(encoder, text=text)], task, "cpu")[0]
        for text in ("abcde fghij", "klmno pqrst", "uvwxy")
    ]
    assert torch.equal(whole, torch.cat(alone, dim=1))


def test_weights_multiply_and_keep_the_mean(tiny):
    pipe, _ = loaded(tiny("sd1"))
    task = asked("", prompt_syntax="a1111")

    def states(text, shift):
        encoder = pieces.Encoder(pipe.tokenizer, pipe.text_encoder, lambda output: output[0] + shift, text)
        return pieces.encode([encoder], task, "cpu")[0]

    weighted = states("ab cd", 0.5)
    weighted[:, 3:5] *= 1.5
    weighted *= states("ab cd", 0.5).mean() / weighted.mean()
    assert torch.allclose(states("ab (cd:1.5)", 0.5), weighted, atol=1e-6)
    centred = states("ab cd", -float(states("ab cd", 0).mean()))  # a mean of nothing is not put back
    found = states("ab (cd:1.5)", -float(states("ab cd", 0).mean()))
    assert torch.allclose(found[:, 3:5], 1.5 * centred[:, 3:5], atol=1e-5)
    assert torch.equal(found[:, :3], centred[:, :3])


@pytest.mark.parametrize("model", ["sdxl", "sd1"])
def test_what_stands_behind_the_limit_is_in_the_picture(tiny, cli, manifest, work, model):
    """Cut, two prompts that differ behind the limit are one picture, and it is said; in pieces they are two."""
    text = job(tiny(model), size="64x64", prompt=["abcde fghij klmno x", "abcde fghij klmno y"])
    ended = cli("run", manifest(text), "--out", "cut")
    cut = receipts_of(work / "cut")
    assert len({picture(work / "cut", item).tobytes() for item in cut}) == 1
    assert [(item.texts[0].tokens, item.texts[0].read, item.cut) for item in cut] == [(16, 14, True)] * 2
    assert ended.err.count("is too long: of 16 tokens 14 are read. Lost: “o ") == 2
    frame = table.read(work / "cut/results.csv")
    assert frame[["prompt_tokens", "prompt_cut"]].to_numpy().tolist() == [[16, 2]] * 2
    assert "prompt cut 2" in cli("status", "cut").out

    pieced = "long_prompts: chunk\n" + text + '  negative_prompt: "blue, and abcde fghij klmno"\n'
    assert cli("run", manifest(pieced), "--out", "chunk", "--quiet").code == 0
    found = receipts_of(work / "chunk")
    assert len({picture(work / "chunk", item).tobytes() for item in found}) == 2
    assert [item.cut for item in found] == [False, False]


def test_short_prompts_in_pieces_are_the_same_pixels(tiny, cli, manifest, work):
    text = job(tiny("sdxl"), size="64x64", negative_prompt="blue")
    assert (
        cli("run", manifest("long_prompts: chunk\nprompt_syntax: a1111\n" + text), "--out", "run", "--quiet").code
        == 0
    )
    expected = direct(tiny("sdxl"), width=64, height=64, negative_prompt="blue")
    assert np.array_equal(picture(work / "run"), expected)


@pytest.mark.parametrize("model", ["sdxl", "sd1"])
def test_a_plan_tells_what_will_be_cut(tiny, cli, manifest, own_cache, monkeypatch, model):
    monkeypatch.delenv("RUN_BATCH_PREDICT", raising=False)
    text = job(tiny(model), size="64x64", prompt=["a fox", "a fox and a whale " * 6], negative_prompt="blue " * 20)
    said = cli("plan", manifest(text)).err.splitlines()[-3:]
    assert "negative prompt 'blue blue" in said[0]
    assert "prompt 'a fox and a whale a fox and a whale" in said[1]
    assert "is too long: of 78 tokens 14 are read. Lost: “fox and a whale" in said[1]
    assert said[2].endswith("under long_prompts: chunk all of a text is read")
    monkeypatch.setattr(predictions, "_computed", lambda _: pytest.fail("the next plan knows it"))
    assert cli("plan", manifest(text)).err.splitlines()[-3:] == said


def test_how_texts_were_read_comes_back(tiny, cli, manifest, work):
    text = job(tiny("sd1"), size="64x64", prompt="a (fox:1.3) BREAK a whale")
    text = "long_prompts: chunk\nprompt_syntax: a1111\n" + text
    for name, written in (("one", text), ("two", job(tiny("sd1"), size="64x64"))):
        outcome = cli("run", manifest(written), "--out", name, "--quiet")
        assert outcome.code == 0, cli("status", name).out
    one, two = (str(next((work / name / "images").iterdir())) for name in ("one", "two"))
    assert cli("manifest", "from", one, "-o", "again.yaml").code == 0
    assert "prompt_syntax: a1111\n" in (work / "again.yaml").read_text()
    assert [task.id for task in plan(work / "again.yaml").tasks] == [only_receipt(work / "one").task.id]
    elsewhere = cli("manifest", "from", one, "--model", "demo")
    assert "left out: long_prompts, prompt_syntax: not all text encoders of the model are CLIP" in elsewhere.err
    assert "\nprompt_syntax" not in elsewhere.out
    mixed = cli("manifest", "from", one, two)
    assert mixed.code == 2
    assert "differ in long_prompts or prompt_syntax" in mixed.err


@pytest.mark.parametrize("model", ["sdxl", "sd1"])
def test_a_plan_counts_weighted_texts_without_their_brackets(tiny, cli, manifest, predicting, model):
    text = job(tiny(model), size="64x64", prompt="a (fox:1.2) and (a whale:1.3) " * 6)
    said = cli("plan", manifest("prompt_syntax: a1111\n" + text)).err.splitlines()[-2:]
    assert "is too long: of 78 tokens 14 are read. Lost: “fox and a whale" in said[0]
    assert said[1].endswith("under long_prompts: chunk all of a text is read")


def test_a_plan_tells_every_model_that_cuts_a_text(tiny, cli, manifest, predicting):
    """Some pipelines take tokens out by a mask, whose count only numbers tell."""
    models = [str(tiny(name)) for name in ("z_image", "qwen_image", "krea2", "lumina2")]
    axes = {"prompt": "a fox and a whale " * 40, "extra.max_sequence_length": 60}
    said = cli("plan", manifest(grid(model=models, size="64x64", **axes))).err
    for model in models:
        assert f"{model}: prompt 'a fox and a whale" in said, said
    assert said.count("is too long: of ") == len(models)
