"""Pipelines with random weights: the real architecture, built on the device from its configuration alone.

Parameters are made on the meta device and filled where they are to lie, one after the other: nothing is read,
and host memory never holds a copy. Buffers (positional embeddings, rotary frequencies) get the values the
classes compute. The same configuration gives the same numbers on every device and in every process.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin
from torch import nn
from transformers import PreTrainedModel

from batch.catalogue import architectures, weights
from batch.records.spec import ModelSource
from batch.render import attention, random_tokenizers
from batch.render.assembly import assembled, kind_of
from batch.render.memory import Burden
from batch.render.places import configuration

if TYPE_CHECKING:
    from batch.render.places import DtypeOf, LeaveOut
    from batch.render.untyped import Config, Keywords

PERIOD = 2**22 - 3
"""Numbers drawn before they repeat. Drawing billions one by one takes a CPU a minute; a prime number of them
never lines up with the rows of a matrix, so no two rows are alike."""

_BLIND = {"safety_checker"}
"""Left out: with random weights it would black pictures out at random."""

Kind = type[ModelMixin | PreTrainedModel | SchedulerMixin]
"""A class of a component."""

Fill = Callable[[nn.Module, str, torch.dtype, str], nn.Module]
"""Gives an empty module its parameters: which component it is, in which dtype, on which device."""


def build(
    source: ModelSource, dtype: DtypeOf, device: str, leave_out: LeaveOut, fill: Fill | None = None
) -> DiffusionPipeline:
    """The pipeline on the device, without the components to leave out; its numbers drawn unless ``fill`` says."""
    index = _config(source, weights.INDEX)
    kind = kind_of(index["_class_name"])
    given: Keywords = {**index, **dict.fromkeys(weights.left_out(index))}
    for part, entry in weights.components(index).items():
        given[part] = None
        if leave_out(part) or part in _BLIND:
            continue
        kind_of_part = _class(*entry)
        if issubclass(kind_of_part, nn.Module):
            given[part] = (fill or _filled)(hollow(source, part, kind_of_part), part, dtype(part), device)
        elif issubclass(kind_of_part, SchedulerMixin):
            given[part] = kind_of_part.from_config(_config(source, f"{part}/scheduler_config.json"))
        else:
            given[part] = _words(source, part, kind_of_part)
    return assembled(kind, given)


def burden(source: ModelSource, dtype: DtypeOf, leave_out: LeaveOut) -> Burden:
    """What :func:`build` would put on a device, counted on the meta device."""
    found = dict(empty(source, leave_out))
    sizes = [
        sum(
            parameter.numel() * dtype_of(module, name, dtype(part)).itemsize
            for name, parameter in module.named_parameters()
        )
        for part, module in found.items()
    ]
    return Burden(weights=sum(sizes), largest=max(sizes, default=0), autoencoder=type(found.get("vae")).__name__)


def empty(source: ModelSource, leave_out: LeaveOut) -> Iterator[tuple[str, nn.Module]]:
    """The components that have parameters, and these on the meta device."""
    for part, entry in weights.components(_config(source, weights.INDEX)).items():
        kind = _class(*entry)
        if not leave_out(part) and part not in _BLIND and issubclass(kind, nn.Module):
            yield part, hollow(source, part, kind)


def _config(source: ModelSource, path: str) -> Config:
    """A configuration file with the source's overrides."""
    known = architectures.known()
    read = known[source.architecture][path] if source.architecture else configuration(source, path)
    return {**read, **source.overrides.get(path.partition("/")[0], {})}


def _words(source: ModelSource, part: str, kind: type[Any]) -> object:
    """A tokenizer: built where the configuration says of what, else from the files of the source's place."""
    said = _config(source, f"{part}/tokenizer_config.json") if source.architecture else {}
    if "special_tokens" in said:
        return random_tokenizers.build(kind, said)
    return kind.from_pretrained(Path(source.location, part), local_files_only=True, **said)


def _class(library: str, name: str) -> Kind:
    """A component's class: diffusers', transformers', or of the module of one pipeline in diffusers."""
    known = {"diffusers": diffusers, "transformers": transformers}
    found = getattr(known.get(library) or getattr(diffusers.pipelines, library, None), name, None)
    if found is None:
        raise ValueError(f"there is no {name} in {library}")
    return found


def hollow(source: ModelSource, part: str, kind: Kind) -> nn.Module:
    """The module with its parameters on the meta device and its buffers in host memory."""
    config = _config(source, f"{part}/config.json")
    with init_empty_weights(include_buffers=False):
        if issubclass(kind, PreTrainedModel):
            settled = kind.config_class.from_dict(config)
            if kind.__name__ == "T5GemmaEncoder":  # its file describes the whole T5Gemma
                settled = settled.encoder
            chosen = attention.implementation(settled)
            if chosen is not None:
                settled._attn_implementation = chosen
            made: nn.Module = kind(settled)
        elif issubclass(kind, ModelMixin):
            made = kind.from_config(config)
        else:
            raise ValueError(f"{kind.__name__} has no configuration that it could be built from")
    if isinstance(made, PreTrainedModel):
        made.tie_weights()  # registering them on the meta device has torn shared weights apart
    return made.eval()


def _filled(module: nn.Module, part: str, dtype: torch.dtype, device: str) -> nn.Module:
    """The module with everything on the device: parameters drawn, buffers as they are."""
    noise = _Noise(device, zlib.crc32(part.encode()))
    return put(module, dtype, noise.like, lambda buffer, own: buffer.to(device, own))


def put(
    module: nn.Module,
    dtype: torch.dtype,
    like: Callable[[torch.Tensor, str, torch.dtype], torch.Tensor],
    moved: Callable[[torch.Tensor, torch.dtype], torch.Tensor],
) -> nn.Module:
    """The module with what ``like`` makes of its parameters and ``moved`` of its buffers, each in its dtype."""
    made: dict[nn.Parameter, nn.Parameter] = {}
    for path, owner in module.named_modules():
        for name, old in owner._parameters.items():
            if old is None:
                continue
            if old not in made:  # a shared weight stays shared
                own = dtype_of(module, f"{path}.{name}", dtype)
                made[old] = nn.Parameter(like(old, name, own), requires_grad=old.requires_grad)
            owner._parameters[name] = made[old]
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                kept = name in owner._non_persistent_buffers_set or not buffer.is_floating_point()
                owner._buffers[name] = moved(buffer, buffer.dtype if kept else dtype)
    if isinstance(module, PreTrainedModel):
        module.config.dtype = dtype
    return module


def dtype_of(module: nn.Module, path: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype ``from_pretrained`` gives a parameter: some classes keep parts of themselves in float32."""
    kept = set(getattr(module, "_keep_in_fp32_modules_strict", None) or ())
    if dtype == torch.float16 or isinstance(module, ModelMixin):
        kept |= set(getattr(module, "_keep_in_fp32_modules", None) or ())
    return torch.float32 if kept.intersection(path.split(".")) else dtype


class _Noise:
    """Numbers to fill parameters with: drawn once, repeated without end."""

    def __init__(self, device: str, seed: int) -> None:
        # Drawn in host memory, whatever the device: the same everywhere.
        drawn = torch.empty(PERIOD).uniform_(-1, 1, generator=torch.Generator("cpu").manual_seed(seed))
        self._blocks = {torch.float32: drawn.to(device)}
        self._at = 0

    def like(self, parameter: torch.Tensor, name: str, dtype: torch.dtype) -> torch.Tensor:
        """A tensor of the parameter's shape on the device.

        Matrices and kernels keep the variance of what goes through them, so that activations stay finite;
        norms start at one, biases at zero.
        """
        made = torch.empty(parameter.shape, dtype=dtype, device=self._blocks[torch.float32].device)
        if parameter.ndim < 2:
            return made.fill_(1.0 if name == "weight" else 0.0)
        scale = math.sqrt(3 / max(1, parameter[0].numel()))
        if made.dtype not in self._blocks:
            self._blocks[made.dtype] = self._blocks[torch.float32].to(made.dtype)
        block = self._blocks[made.dtype]
        flat, done = made.view(-1), 0
        while done < flat.numel():
            piece = block[self._at : self._at + flat.numel() - done]
            torch.mul(piece, scale, out=flat[done : done + piece.numel()])
            done, self._at = done + piece.numel(), (self._at + piece.numel()) % PERIOD
        return made
