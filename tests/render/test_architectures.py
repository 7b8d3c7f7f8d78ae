"""The architectures that ship: their sizes, their tokenizers, and that memory is predicted from them alone."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from batch.catalogue import architectures
from batch.catalogue.families import FAMILIES
from batch.catalogue.models import known_models
from batch.hub import models
from batch.hub.models import find_model
from batch.records.tasks import Task
from batch.render import random_tokenizers, random_weights, repeats
from batch.render.foresight import Foresight
from batch.render.live import _LARGE, Live
from batch.run import configured, forecast
from tests.conftest import ROOT
from tests.render.parts import parameters, source

pytestmark = pytest.mark.usefixtures("one_thread")

CLIP_L, CLIP_G, T5 = 123_060_480, 694_659_840, 4_762_310_656
PUBLISHED = {
    "sd-1.5": {"text_encoder": CLIP_L, "unet": 859_520_964, "vae": 83_653_863},
    "sdxl": {"text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "unet": 2_567_463_684, "vae": 83_653_863},
    "sd-3-medium": {"transformer": 2_028_328_000},
    # Published as 2.5B: with its table of positions, which is no parameter.
    "sd-3.5-medium": {"transformer": 2_469_663_936 - 384 * 384 * 1536, "text_encoder_3": T5},
    "sd-3.5-large": {"transformer": 8_056_627_520},
    "pixart-sigma-1k": {"transformer": 610_856_096},
    "hunyuan-dit-1.2": {"transformer": "1.5"},
    "flux-1-dev": {"transformer": 11_901_408_320, "text_encoder_2": T5, "vae": 83_819_683},
    "flux-1-schnell": {"transformer": 11_891_178_560},
    "chroma1-hd": {"transformer": "8.9"},
    "ovis-image": {"transformer": "7", "text_encoder": 1_720_574_976},
    "lumina-2": {"transformer": "2.6"},
    "prx-1024": {"transformer": "1"},
    "hidream-i1-full": {"transformer": "17", "text_encoder_4": 8_030_261_248},
    "z-image-turbo": {"transformer": 6_154_908_736, "text_encoder": 4_022_468_096},
    "flux-2-dev": {"transformer": "32", "text_encoder": 24_011_361_280, "vae": 84_046_115},
    "flux-2-klein-4b": {"transformer": "4", "text_encoder": 4_022_468_096},
    "flux-2-klein-9b": {"transformer": "9", "text_encoder": 8_190_735_360},
    "ernie-image": {"transformer": "8", "text_encoder": "3.8"},
    "ideogram-4": {"transformer": "9.3", "unconditional_transformer": "9.3", "text_encoder": "8"},
    "qwen-image": {"transformer": 20_430_401_088, "text_encoder": 8_292_166_656, "vae": 126_892_531},
    "qwen-image-2.1": {"transformer": "7", "text_encoder": 8_767_123_696},
    "krea-2-raw": {"transformer": "12", "text_encoder": 4_437_815_808},
    "cogview-4": {"transformer": "6", "text_encoder": 9_399_951_360 - 151_552 * 4096},  # without its head
    "auraflow-0.3": {"transformer": "6.8"},
    "anima-base": {"transformer": "2", "text_encoder": 596_049_920, "vae": 126_892_531},
    "flux-3-klein-base": {"transformer": "5.6", "text_encoder": 4_437_815_808, "vae": 84_046_115},
    "flux-3-klein": {"transformer": "5.6"},
}
"""Parameters as the makers or the files of the weights have them; as a text, billions with their rounding."""


def distinct(wanted):
    """Of architectures that differ in no such file one."""
    found = {}
    for name, files in architectures.known().items():
        found.setdefault(json.dumps([files[path] for path in files if wanted(path)]), name)
    return list(found.values())


def partly(parts):
    return lambda part: part not in parts


def of_families():
    """An architecture of every family that is called in stages."""
    found = {}
    for name in architectures.known():
        family = find_model(f"random:{name}", ROOT, {}, online=False).family
        if FAMILIES[family].staged:
            found.setdefault(family, name)
    return list(found.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    small = {"transformer": {"pos_embed_max_size": 8}} if name.startswith("sd-3") else {}  # a table, slow to fill
    found = replace(source(f"random:{name}"), overrides=small)
    counts = {part: parameters(module) for part, module in random_weights.empty(found, partly(PUBLISHED[name]))}
    assert counts.keys() == PUBLISHED[name].keys()
    for part, published in PUBLISHED[name].items():
        count = counts[part]
        if isinstance(published, int):
            assert count == published, part
        else:  # rounded, or cut off
            assert abs(count / 1e9 - float(published)) < 10 ** -len(published.partition(".")[2]), part


def test_every_denoiser_has_a_published_size():
    denoisers = ("transformer/config.json", "unet/config.json")
    apart = distinct(lambda path: path in denoisers)
    assert {name for name in apart if not name.startswith("sana")} == set(PUBLISHED)


# Tokenizers


def tokenizers():
    """Every tokenizer that is built, with the model that reads it."""
    found = {}
    for name, files in architectures.known().items():
        for path, said in files.items():
            if path.endswith("tokenizer_config.json") and "special_tokens" in said:
                found.setdefault(json.dumps(said), (name, path.partition("/")[0]))
    return list(found.values())


def vocabulary_of(files, part):
    """How many words the text encoder of a tokenizer has."""
    encoder = files[
        f"{part.replace('tokenizer', 'text_encoder').replace('processor', 'text_encoder')}/config.json"
    ]
    return encoder.get("vocab_size") or encoder["text_config"]["vocab_size"]


@pytest.mark.parametrize(("name", "part"), tokenizers())
def test_built_tokenizers_stay_inside_the_vocabulary(name, part):
    files = architectures.known()[name]
    said, kind = files[f"{part}/tokenizer_config.json"], files["model_index.json"][part][1]
    made = random_tokenizers.build(getattr(transformers, kind), said)
    words = getattr(made, "tokenizer", made)
    text = "A fox: 7 Füchse, 狐! " + " ".join(said["special_tokens"])
    ids = words(text).input_ids
    assert max(ids) < vocabulary_of(files, part)
    assert {words.convert_tokens_to_ids(mark) for mark in said["special_tokens"]} == set(
        said["special_tokens"].values()
    )
    assert words.is_fast  # it says where in a text its tokens stand
    plain = words("a lighthouse at dusk, waves and warm light in the window", add_special_tokens=False).input_ids
    assert 12 < len(plain) < 12 * 3  # twelve words
    assert words("a fax").input_ids != words("a fox").input_ids


def test_marks_of_a_chat_are_tokens_of_their_own():
    chat = [{"role": "user", "content": "a fox"}]
    qwen = architectures.known()["z-image-turbo"]["tokenizer/tokenizer_config.json"]
    words = random_tokenizers.build(transformers.Qwen2Tokenizer, qwen)
    ids = words(words.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)).input_ids
    assert (ids[0], ids.count(151644), ids.count(151645)) == (151644, 2, 1)
    listed = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in (("system", "be brief"), ("user", "a fox"))
    ]
    mistral = architectures.known()["flux-2-dev"]["tokenizer/tokenizer_config.json"]
    words = random_tokenizers.build(transformers.PreTrainedTokenizerFast, mistral)
    ids = words.apply_chat_template(
        [listed], padding="max_length", truncation=True, max_length=64, return_dict=True, return_tensors="pt"
    )["input_ids"][0].tolist()  # fmt: skip
    assert [ids.count(mark) for mark in (17, 18, 3, 4)] == [1, 1, 1, 1]
    assert len(ids) == 64
    processor = architectures.known()["qwen-image-2.1"]["processor/tokenizer_config.json"]
    made = random_tokenizers.build(transformers.Qwen3VLProcessor, processor)
    assert made.apply_chat_template(listed[:1], tokenize=True, return_dict=False)[0][0] == 151644
    assert made(text=["a fox"], return_tensors="pt").input_ids.shape[0] == 1


# Predictions


def task(name, side=256, **changes):
    model = find_model(f"random:{name}", ROOT, {}, online=False)
    rule = FAMILIES[model.family]
    given = {
        "model": "x", "dtype": model.dtype, "prompt": "a fox", "seed": 0, "width": side, "height": side,
        "rendered_width": side, "rendered_height": side, "steps": 2,
        "guidance": rule.guidance_above + (3.0 if rule.guides(model.guidance) else 0.0),
    }  # fmt: skip
    return Task(**{**given, **changes})


def foresight(name, **overrides):
    model = find_model(f"random:{name}", ROOT, {}, online=False)
    return Foresight(replace(models.source(model), overrides=overrides), model.dtype)


@pytest.mark.parametrize("name", of_families())
def test_memory_is_predicted_from_the_architecture_alone(name):
    made, asked = foresight(name), task(name)
    texts, encode = made.encoding(asked)
    images, denoise = made.denoising(asked)
    decode = made.decoding(asked)
    exact = [parameters(module) for _, module in random_weights.empty(source(f"random:{name}"), lambda _: False)]
    counted = sum(part.weights - part.buffers for part in (*texts.values(), *images.values()))
    assert 2 * sum(exact) <= counted < 4 * sum(exact)  # in two bytes, and some parts in four
    known = known_models()[name].weights_gib if name in known_models() else None
    if known:
        assert sum(part.weights for part in images.values()) / 2**30 == pytest.approx(known, rel=0.02)
    for work, most in ((encode, 2**31), (denoise, 2**33), (decode, 2**30)):
        assert 2**16 < work.largest <= work.activations < most


THREE = {
    "flux-1-schnell": {
        "transformer": {"num_layers": 3, "num_single_layers": 3}, "text_encoder_2": {"num_layers": 1},
    },
    "z-image-turbo": {"transformer": {"n_layers": 3}, "text_encoder": {"num_hidden_layers": 2}},
    "sana-0.6b-1k": {"transformer": {"num_layers": 3}, "text_encoder": {"num_hidden_layers": 1}},
}  # fmt: skip


@pytest.mark.parametrize("name", THREE)
def test_equal_blocks_are_gone_through_once(name, monkeypatch):
    calls = []
    describe = repeats._Made.of.__func__
    monkeypatch.setattr(
        repeats._Made, "of", classmethod(lambda cls, *args: calls.append(cls) or describe(cls, *args))
    )
    asked = task(name, 1024 if name.startswith("sana") else 256, prompt="a fox")
    once = foresight(name, **THREE[name])
    quick = once.denoising(asked)[1]
    kinds = len(calls)
    monkeypatch.setattr(repeats, "once", lambda _blocks, _live: nullcontext())
    each = foresight(name, **THREE[name]).denoising(asked)[1]
    assert quick == each
    assert 0 < kinds < sum(len(list(part.children())) for part in once._renderers.transformer.children())


@pytest.mark.parametrize("name", ["sana-0.6b-1k", "z-image-turbo", "krea-2-raw"])
def test_layers_that_are_not_gone_through_leave_as_much_in_a_cache(name, monkeypatch):
    asked = task(name, prompt="a fox")
    quick = foresight(name).encoding(asked)[1]
    monkeypatch.setattr(repeats, "once", lambda _blocks, _live: nullcontext())
    each = foresight(name).encoding(asked)[1]
    assert quick == each
    monkeypatch.undo()
    monkeypatch.setattr(repeats, "_leave", lambda _size, _arguments: None)
    assert foresight(name).encoding(asked)[1].activations < each.activations


def test_a_block_of_other_switches_or_counts_is_another():
    first, second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    assert repeats._kind(first) == repeats._kind(second)
    second.only_text = True
    assert repeats._kind(first) != repeats._kind(second)
    mask = torch.tensor([True, False])
    assert repeats._described(mask) != repeats._described(~mask)
    assert repeats._described(torch.zeros(2)) == repeats._described(torch.ones(2))


def test_large_fillings_have_no_numbers_and_small_ones_do():
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        given = torch.empty(3)
    with Live([given]) as live:
        small, large = torch.zeros(4), torch.zeros(2, _LARGE)
        assert live.now == given.nbytes + small.nbytes + large.nbytes
    assert (isinstance(small, FakeTensor), isinstance(large, FakeTensor)) == (False, True)


def test_the_catalogue_is_predicted_without_any_file():
    for name in set(architectures.known()) & set(known_models()):
        model = known_models()[name]
        found = configured.source_of(model)
        if FAMILIES[model.family].staged:
            assert (found.architecture, found.random) == (name, True)
            item = forecast._Setting(task=task(name), name="full", batch=1, loras=False, random=False)
            asked = json.dumps(forecast._questions(item, found, "x"))
            assert ("complex_human_instruction" in asked) == (model.family.startswith("sana"))
        else:
            assert "called whole" in found
