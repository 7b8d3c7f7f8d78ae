"""Components from a checkpoint in one file: under the names and in the shapes that their makers gave the tensors.

A component's tensors alone are read, straight to the device and in its dtype; diffusers' own functions make them
those of its classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from diffusers import ModelMixin
from diffusers.loaders import single_file_utils as convert
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import nn
from transformers import PreTrainedModel

from batch.base import regular
from batch.base.errors import UserError
from batch.catalogue import held, tensors
from batch.render import eight_bit, quantise, random_weights

if TYPE_CHECKING:
    from diffusers.quantizers.quantization_config import QuantizationConfigMixin

    from batch.records.spec import ModelSource

Tensors = dict[str, torch.Tensor]
"""Weights by name."""

SHOWN = 3
"""Tensors that are named where a file lacks some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InFile:
    """One component in a file."""

    path: Path
    prefix: str
    shapes: Mapping[str, tuple[int, ...]]
    """Of its tensors, by their names in the file."""

    def stored(self, itemsize: int) -> int:
        """Bytes of the weights in a dtype of that size."""
        counted = (shape for name, shape in self.shapes.items() if not eight_bit.is_note(name))
        return sum(map(math.prod, counted)) * itemsize


def find(source: ModelSource, part: str, kind: type[nn.Module]) -> InFile | None:
    """A component in the source's file, or an autoencoder in one of its own; None where it lies in a folder."""
    other = part == "vae" and bool(source.vae)
    path = Path(source.vae if other else source.file)
    if path.is_dir():  # that of no name is one too
        return None
    with regular.opened(path) as stream:
        header = tensors.header(stream).tensors
    found = held.autoencoder(header) if other else held.part(part, kind.__name__, header)
    if found is None:
        return None
    shapes = {name: tuple(cast("list[int]", header[name]["shape"])) for name in found.names}
    return InFile(path=path, prefix=found.prefix, shapes=shapes)


def build(
    found: InFile,
    source: ModelSource,
    part: str,
    dtype: torch.dtype,
    device: str,
    kind: type[ModelMixin | PreTrainedModel],
    quantised: QuantizationConfigMixin | None = None,
) -> nn.Module:
    """A component of a file on the device; ``quantised`` has diffusers' configuration where it is to be that.

    Raises :class:`UserError` for a file that lacks some of its tensors, or has them in other shapes.
    """
    module = random_weights.hollow(source, part, kind)
    # One mapping at a time holds the tensors, so that one that is copied is gone.
    weights = _fitting(found, part, module, _converted(found, part, module, _read(found, module, dtype, device)))
    if quantised is None:
        return _filled(module, weights, dtype, device)
    return quantise.filled(module, weights, dtype, device, quantised)


def _read(found: InFile, module: nn.Module, dtype: torch.dtype, device: str) -> Tensors:
    """The tensors by their names without what these begin with."""
    # What a class keeps in float32 is known by its own names only.
    apart = any(getattr(module, f"_keep_in_fp32_modules{strict}", None) for strict in ("", "_strict"))
    read = eight_bit.read(found.path, found.shapes, dtype, device, all_in_it=not apart)
    return {name.removeprefix(found.prefix): tensor for name, tensor in read.items()}


def _converted(found: InFile, part: str, module: nn.Module, read: Tensors) -> Tensors:
    """The tensors under the names of the module's class."""
    if isinstance(module, PreTrainedModel):
        return _of_text_encoder(found, module, read)
    if isinstance(module, ModelMixin):
        module._fix_state_dict_keys_on_load(read)  # as an older diffusers called some
    if read.keys() >= {name for name, _ in module.named_parameters()}:
        return read
    names = [kind.__name__ for kind in type(module).__mro__]
    known = next((name for name in names if name in SINGLE_FILE_LOADABLE_CLASSES), None)
    if known is None:
        raise UserError(f"{found.path}: diffusers reads no {names[0]} from a checkpoint in one file")
    if part == "unet":  # known by its prefix alone
        read = {f"{convert.LDM_UNET_KEY}{name}": tensor for name, tensor in read.items()}
    try:
        made: Tensors = SINGLE_FILE_LOADABLE_CLASSES[known]["checkpoint_mapping_fn"](
            checkpoint=read, config=module.config
        )
    except (KeyError, IndexError) as error:
        raise UserError(f"{found.path} holds no whole {part}: it lacks {error}") from error
    return {
        name: tensor for name, tensor in made.items() if tensor is not None
    }  # some are not missed by diffusers


def _of_text_encoder(found: InFile, module: PreTrainedModel, read: Tensors) -> Tensors:
    if found.prefix in held.OPEN_CLIP:
        named = {found.prefix + name: tensor for name, tensor in read.items()}
        read = convert.convert_open_clip_checkpoint(module, named, prefix=found.prefix)
    # Some releases of transformers, and some old checkpoints, do without this part of the names.
    own = {name.removeprefix(_OUTER): name for name in module.state_dict()}
    made = {own.get(name.removeprefix(_OUTER), name): tensor for name, tensor in read.items()}
    projection = "text_projection.weight"
    if found.prefix == _WITHOUT_PROJECTION and projection in own and projection not in made:
        made[projection] = torch.eye(module.config.projection_dim)
    return made


_OUTER = "text_model."

_WITHOUT_PROJECTION = "text_encoders.clip_l.transformer."
"""Stable Diffusion 3's first text encoder, whose projection changes nothing and may be left out."""


def _fitting(found: InFile, part: str, module: nn.Module, weights: Tensors) -> Tensors:
    """The tensors that the module has, without what is beside them in the file."""
    own = module.state_dict(keep_vars=True)
    there = {id(tensor) for name, tensor in own.items() if name in weights}  # a shared weight has several names
    missing = [name for name, tensor in own.items() if tensor.is_meta and id(tensor) not in there]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if missing[SHOWN:] else "")
        raise UserError(
            f"{found.path} holds no whole {part}: it lacks {shown}, as {type(module).__name__} calls it"
        )
    for name in own.keys() & weights.keys():
        has, wanted = list(weights[name].shape), list(own[name].shape)
        if has != wanted:
            raise UserError(f"{found.path} does not fit its layout: its {part}'s {name} is {has}, not {wanted}")
    return {name: weights[name] for name in own if name in weights}


def _filled(module: nn.Module, weights: Tensors, dtype: torch.dtype, device: str) -> nn.Module:
    """The module on the device with these weights, which are gone from the mapping afterwards."""
    parameters = module.named_parameters(remove_duplicate=False)
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in parameters if name in weights}
    for name, buffer in module.named_buffers():
        if name in weights:
            buffer.copy_(weights.pop(name))
    return random_weights.put(
        module,
        dtype,
        lambda parameter, _name, own: weights.pop(names[parameter]).to(device, own).contiguous(),
        lambda buffer, own: buffer.to(device, own),
    )
