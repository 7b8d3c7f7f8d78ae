"""Files of models and LoRAs that somebody else wrote: what they say, or a message."""

import json
import shutil

import pytest

from batch.base.errors import ModelError
from batch.catalogue import configs, weights
from batch.hub import folders
from batch.hub.cache import reference
from batch.hub.loras import find_lora
from batch.hub.random_models import described
from tests.conftest import DEMO, SMALL
from tests.hostile import pipe, quick

HURTFUL = {
    "deep": b"[" * 100_000, "deep objects": b'{"a":' * 50_000, "digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "a list": b"[]", "not UTF-8": b'{"a": "\xff"}', "empty": b"", "large": b" " * (folders.MAX_CONFIGURATION + 1),
}  # fmt: skip


@pytest.mark.parametrize("text", HURTFUL.values(), ids=HURTFUL)
def test_a_configuration_that_hurts_is_said(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with quick(1), pytest.raises(ModelError, match=r"config\.json "):
        folders.json_of(path)


def test_a_configuration_that_is_a_pipe_is_not_waited_for(tmp_path):
    path = pipe(tmp_path / "config.json")
    with pytest.raises(ModelError, match="it is a named pipe, not a file"):
        folders.json_of(path)
    assert folders.reader(tmp_path)("config.json") is None


SANA = {
    "_class_name": "SanaPipeline",
    "transformer": ["diffusers", "SanaTransformer2DModel"],
    "vae": ["diffusers", "x"],
}
ODD = (None, [], {}, "x", [[]], {"a": []}, -1, 1e308, float("nan"), float("inf"), 2**70, ["x"] * 100_000)


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize(
    "key",
    ["_class_name", "sample_size", "num_layers", "patch_size", "guidance_embeds", "block_out_channels", "qk_norm"],
)
def test_a_configuration_of_wrong_types_is_a_model_or_a_message(key, value):
    files = {
        weights.INDEX: SANA | ({key: value} if key == "_class_name" else {}),
        "transformer/config.json": {"sample_size": 32} | {key: value},
        "vae/config.json": {key: value},
        "scheduler/scheduler_config.json": {key: value},
    }
    with quick(5):
        try:
            assert described("x", files.get, trusted=False).name == "x"
        except ModelError as error:
            assert str(error)


def test_blocks_have_a_number():
    with pytest.raises(ValueError, match="100,000 blocks"):
        configs._scale({"block_out_channels": [1] * 100_000})


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff" * 8, (2**63).to_bytes(8, "little") + b"{}", (10**6).to_bytes(8, "little") + b"[" * 10**6,
     b"\2" + bytes(7) + b"[]", b"\x0b" + bytes(7) + b'{"a": [[]]}'],
    ids=["empty", "a lie", "half", "deep", "a list", "no tensor"],
)  # fmt: skip
def test_a_lora_whose_header_lies_is_said(data, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(data)
    with quick(1), pytest.raises(ModelError, match=r"x\.safetensors is no safetensors file: "):
        find_lora("x.safetensors", tmp_path, {}, None)


def test_a_lora_that_is_a_pipe_is_not_waited_for(tmp_path):
    pipe(tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="there is no file"):
        find_lora("x.safetensors", tmp_path, {}, None)


def test_a_sound_lora_says_whether_it_changes_texts(tmp_path):
    for name, in_text in (("unet.a", False), ("text_encoder.a", True)):
        text = json.dumps({"__metadata__": {"text_encoder": "x"}, name: {"data_offsets": [0, 0]}}).encode()
        (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
        assert find_lora("x.safetensors", tmp_path, {}, None).in_text == in_text


def test_a_reference_without_end_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    path = tmp_path / "models--a--b" / "refs" / "main"
    path.parent.mkdir(parents=True)
    path.write_text("0" * 40)
    assert reference("a/b", "main") == "0" * 40
    path.write_text("0" * 10_000)
    assert reference("a/b", "main") == ""
    pipe(path)
    assert reference("a/b", "main") == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vae/diffusion_pytorch_model.safetensors", "has a header of"),
        ("tokenizer/tokenizer.json", "and no more than"),
    ],
)
def test_files_that_would_fill_the_memory_are_refused(cli, manifest, work, name, said):
    shutil.copytree(DEMO, work / "model")
    with (work / "model" / name).open("r+b") as file:
        file.write((3 * 2**30).to_bytes(8, "little"))
        file.truncate(3 * 2**30 + 8)
    planned = cli("plan", manifest(SMALL.replace("model: demo", "model: model")))
    assert (planned.code, said in planned.err) == (2, True), planned.err
