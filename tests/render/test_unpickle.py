"""Pickles to safetensors: the same tensors, nothing that a file names called, and words for what is none."""

import os
import pickle
import sys
import types
import zipfile

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from batch.base import disk
from batch.render import unpickle

WEIGHT = torch.arange(1024.0).reshape(32, 32)


class Calls:
    """What runs a command where it is unpickled freely."""

    def __reduce__(self):
        return (os.mkdir, ("called",))


def lightning():
    """A class that a file names, as those of Lightning do, and that is not installed here."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    return module


def converted(work, value, **how):
    torch.save(value, work / "old.ckpt", **how)
    unpickle.convert(work / "old.ckpt", work / "new.safetensors")
    return load_file(work / "new.safetensors")


def bits(tensor):
    return tensor.dtype, tensor.shape, tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


MIXED = {
    "plain": WEIGHT,
    "same": WEIGHT,
    "turned": WEIGHT.t(),
    "part": WEIGHT[3:5],
    "half": WEIGHT.to(torch.bfloat16),
    "parameter": nn.Parameter(WEIGHT + 1),
    "number": torch.tensor(3),
    "empty": torch.zeros(0, 4),
}


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("inside", ["", "state_dict", "params_ema"])
def test_tensors_keep_their_bits(work, archive, inside):
    value = {inside: MIXED, "global_step": 3, "lr": torch.zeros(1)} if inside else MIXED
    found = converted(work, value, _use_new_zipfile_serialization=archive)
    assert found.keys() == MIXED.keys()
    assert all(bits(found[name]) == bits(tensor.detach()) for name, tensor in MIXED.items())


def test_an_archive_that_was_compressed_is_read_all_the_same(work):
    """Mapped into memory, its weights would be what the compressor made of them."""
    torch.save({"a": WEIGHT}, work / "plain.ckpt")
    with zipfile.ZipFile(work / "plain.ckpt") as plain, zipfile.ZipFile(work / "small.ckpt", "w") as small:
        for item in plain.infolist():
            small.writestr(item.filename, plain.read(item), zipfile.ZIP_DEFLATED)
    assert (work / "small.ckpt").stat().st_size < (work / "plain.ckpt").stat().st_size
    unpickle.convert(work / "small.ckpt", work / "new.safetensors")
    assert bits(load_file(work / "new.safetensors")["a"]) == bits(WEIGHT)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_has_no_plain_numbers_is_left_out(work):
    others = {
        "sparse": torch.eye(3).to_sparse(),
        "nowhere": torch.zeros(3, device="meta"),
        "coarse": torch.quantize_per_tensor(WEIGHT, 0.1, 0, torch.qint8),
        "text": "x",
        3: WEIGHT,
    }
    assert converted(work, {"a": WEIGHT, **others}).keys() == {"a"}


def test_an_embedding_keeps_what_tells_it(work):
    found = converted(work, {"string_to_token": {"*": 265}, "string_to_param": {"*": WEIGHT}, "name": "cat"})
    assert found.keys() == {"string_to_param.*"}


REFUSED = {
    "code": (
        {"state_dict": {"a": WEIGHT}, "x": Calls()},
        rf"it wants {os.name}\.mkdir.*Convert it",
    ),
    "a module": (nn.Linear(2, 2), r"it wants torch\.nn\.modules\.linear\.Linear"),
    "no names": (WEIGHT, "holds no weights by name"),
    "no weights": ({"epoch": 3}, "holds no weights by name"),
    "one number": ({"a": torch.zeros(1).expand(10**6, 10**6)}, r"would take 3725\.3 GiB"),
}


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_table_of_weights_is_refused(work, kind, archive):
    value, said = REFUSED[kind]
    with pytest.raises(unpickle.Refused, match=said):
        converted(work, value, _use_new_zipfile_serialization=archive)
    assert not (work / "called").exists()
    assert not (work / "new.safetensors").exists()


def test_what_lightning_leaves_in_a_checkpoint_is_named(work, monkeypatch):
    module = lightning()
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(unpickle.Refused, match=r"pytorch_lightning\S+ModelCheckpoint.*training with Lightning"):
        converted(work, {"state_dict": {"a": WEIGHT}, "callbacks": {module.ModelCheckpoint: {}}})


def test_words_of_torch_that_tell_how_to_run_code_are_not_passed_on(work):
    for data in (b"", b"x", b"<!DOCTYPE html>", pickle.dumps({"a": 1}), pickle.dumps(Calls(), protocol=0)):
        (work / "old.ckpt").write_bytes(data)
        with pytest.raises((unpickle.Refused, EOFError)) as error:
            unpickle.convert(work / "old.ckpt", work / "new.safetensors")
        assert "weights_only" not in str(error.value)
    assert not (work / "called").exists()


def test_a_disk_that_is_too_small_for_the_weights(work, monkeypatch):
    monkeypatch.setattr(disk, "free", lambda _path: 2**20)
    with pytest.raises(unpickle.Refused, match=r"1\.0 MiB free\. Make room.*RUN_BATCH_CACHE"):
        converted(work, {"a": WEIGHT})
    assert not (work / "new.safetensors").exists()
