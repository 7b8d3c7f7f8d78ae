"""Pipelines from the files in a folder, the weights straight to where they are to lie. Asks no network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from torch import nn
from transformers import AutoProcessor, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from batch.base import regular
from batch.catalogue import modular, tensors, weights
from batch.records.spec import ModelSource
from batch.render import attention, quantise, single_file
from batch.render.assembly import assembled, kind_of
from batch.render.memory import Burden
from batch.render.places import configuration, folder_of

if TYPE_CHECKING:
    from diffusers.quantizers.quantization_config import QuantizationConfigMixin

    from batch.render.places import DtypeOf, LeaveOut
    from batch.render.untyped import Keywords


def where(source: ModelSource) -> Keywords:
    """The arguments of every ``from_pretrained`` that say which files; pickles and code only where allowed."""
    safe = {"use_safetensors": None if source.allow_pickle else True}
    code = {"trust_remote_code": True} if source.trust_remote_code else {}
    return {"local_files_only": True, "variant": source.variant or None} | safe | code


def build(
    source: ModelSource,
    dtype: DtypeOf,
    device: str,
    leave_out: LeaveOut,
    quantised: Mapping[str, QuantizationConfigMixin] = MappingProxyType({}),
) -> DiffusionPipeline:
    """The pipeline without the components to leave out; ``quantised`` has diffusers' configuration for some.

    Components of diffusers' and transformers' own classes are read straight to the device; those with code of
    the model's own are in host memory.
    """
    index = _index(source)
    # What the index itself names as left out is told too: not every pipeline lets it be.
    given: Keywords = dict.fromkeys((*weights.left_out(index), *filter(leave_out, weights.components(index))))
    for name, kind in _weighted(source, index, leave_out):
        with _named(source, name):
            held = single_file.find(source, name, kind)
            if held is None:
                given[name] = _read(source, name, kind, dtype(name), device, quantised.get(name))
            else:
                given[name] = single_file.build(held, source, name, dtype(name), device, kind, quantised.get(name))
        if name in quantised:
            quantise.check(given[name])
    if modular.PLACES in index:
        pipe = assembled(kind_of(index["_class_name"]), _beside(source, index, given) | given)
    else:
        rest = {name: dtype(name) for name in weights.components(index)} | {"default": dtype("")}
        pipe = DiffusionPipeline.from_pretrained(source.location, dtype=rest, **given, **where(source))
    scheduler = source.overrides.get("scheduler")
    if scheduler:
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **scheduler)
    return pipe


OTHER = "the autoencoder "
"""How a note to an error begins, where it is none of the model's own files that cannot be read."""


@contextmanager
def _named(source: ModelSource, part: str) -> Iterator[None]:
    """Note with an error that it is of the autoencoder in place of the model's own."""
    try:
        yield
    except Exception as error:
        if part == "vae" and source.vae:
            error.add_note(f"{OTHER}{source.vae}")
        raise


def _beside(source: ModelSource, index: Mapping[str, Any], given: Keywords) -> Keywords:
    """The components without weights that are not given."""
    found: Keywords = {}
    for name, (library, kind) in weights.components(index).items():
        if name in given:
            continue
        of = getattr(_LIBRARIES.get(library), kind, None)
        if not (isinstance(of, type) and issubclass(of, _BESIDE)):
            raise ValueError(f"{name} is a {kind} of {library}, which is no scheduler, tokenizer or processor")
        found[name] = cast(Any, of).from_pretrained(folder_of(source, name), local_files_only=True)
    return found


_BESIDE = (SchedulerMixin, PreTrainedTokenizerBase, ProcessorMixin, AutoProcessor, AutoTokenizer)
_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


def _read(
    source: ModelSource,
    name: str,
    kind: type[ModelMixin],
    dtype: torch.dtype,
    device: str,
    quantised: QuantizationConfigMixin | None,
) -> nn.Module:
    """A component from its folder."""
    folder = folder_of(source, name)
    own: Keywords = {"dtype": dtype, "device_map": {"": device}, **_attention(kind, folder)}
    if quantised is not None:
        own["quantization_config"] = quantised
        if device == "cpu":  # where diffusers is told that a module is to lie there, it does not quantise it
            del own["device_map"]
    changed, which = source.overrides.get(name, {}), _of_component(source, folder)
    made: nn.Module = kind.from_pretrained(folder, **own, **changed, **which).eval()
    return made


def _attention(kind: type[ModelMixin], folder: Path) -> dict[str, str]:
    if not issubclass(kind, PreTrainedModel):
        return {}
    chosen = attention.implementation(kind.config_class.from_pretrained(folder, local_files_only=True))
    return {"attn_implementation": chosen} if chosen else {}


def burden(source: ModelSource, dtype: DtypeOf, leave_out: LeaveOut) -> Burden:
    """What :func:`build` would put on a device, from the headers of the files."""
    index = _index(source)
    sizes = [_size(source, name, kind, dtype(name)) for name, kind in _weighted(source, index, leave_out)]
    return Burden(
        weights=sum(sizes),
        largest=max(sizes, default=0),
        autoencoder=str((index.get("vae") or [None, ""])[1]),
    )


def _size(source: ModelSource, name: str, kind: type[ModelMixin], dtype: torch.dtype) -> int:
    with _named(source, name):
        held = single_file.find(source, name, kind)
    if held is not None:
        return held.stored(dtype.itemsize)
    return sum(_stored(path, dtype.itemsize) for path in _weight_files(folder_of(source, name), source.variant))


def _index(source: ModelSource) -> Mapping[str, Any]:
    return configuration(source, weights.INDEX)


def _weighted(
    source: ModelSource, index: Mapping[str, Any], leave_out: LeaveOut
) -> Iterator[tuple[str, type[ModelMixin]]]:
    """The components that can be put on a device while they are read, each with its class.

    One that has a file of code beside its configuration is left to the pipeline, which asks whether that is
    trusted.
    """
    for name, (library, kind) in weights.components(index).items():
        found = getattr(_LIBRARIES.get(library), str(kind), None)
        if not (isinstance(found, type) and issubclass(found, (ModelMixin, PreTrainedModel))):
            continue
        folder = folder_of(source, name)
        code = (folder / f"{library}.py").is_file()
        if not code and not leave_out(name) and (folder / "config.json").is_file():
            yield name, found


def _of_component(source: ModelSource, folder: Path) -> Keywords:
    """:func:`where` for one component: its own variant, pickles only where it has nothing else, and no code."""
    files = _weight_files(folder, source.variant)
    variant = weights.variant_of(files[0].name) if files else ""
    found = where(replace(source, variant=variant, allow_pickle=False, trust_remote_code=False))
    pickled = source.allow_pickle and bool(files) and files[0].suffix != ".safetensors"
    return found | ({"use_safetensors": False} if pickled else {})


def _weight_files(folder: Path, variant: str) -> list[Path]:
    """The files that are read."""
    return [folder / name for name in weights.files_of(sorted(path.name for path in folder.glob("*")), variant)]


def _stored(path: Path, itemsize: int) -> int:
    """Bytes of a file's tensors in another dtype; of a pickle its own size, since only reading it tells more."""
    if path.suffix != ".safetensors":
        return path.stat().st_size
    with regular.opened(path) as stream:
        found = tensors.header(stream).tensors
    return sum(math.prod(cast(Any, entry["shape"])) for entry in found.values()) * itemsize
