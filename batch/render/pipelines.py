"""Pipelines loaded whole or in part: with their text encoders, without them, or with their autoencoder alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.catalogue import precision
from batch.catalogue.families import DENOISERS, FAMILIES
from batch.records.spec import ModelSource
from batch.records.values import Call
from batch.render import from_files, pag, quantise, random_weights

if TYPE_CHECKING:
    from batch.render.memory import Burden
    from batch.render.places import LeaveOut

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    source: ModelSource,
    dtype: str,
    device: str = "cpu",
    *,
    leave_out: LeaveOut = lambda _: False,
    steps: tuple[Call, ...] = (),
) -> DiffusionPipeline:
    """The pipeline without the components to leave out, its weights read or drawn straight onto the device.

    ``dtype`` is a task's: see :mod:`batch.catalogue.precision`. Of the memory ``steps``, ``quantize`` counts.
    """
    own = partial(own_dtype, source.family, dtype)
    if source.random:
        pipe = quantise.drawn(random_weights.build(source, own, device, leave_out), steps)
    else:
        pipe = from_files.build(source, own, device, leave_out, quantise.configurations(steps, own, device))
    pipe = pag.settle(pipe)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def own_dtype(family: str, dtype: str, component: str) -> torch.dtype:
    """What one component of a family is in when a task's dtype is that."""
    return DTYPES[precision.of(family, dtype, component)]


def is_text(component: str) -> bool:
    """Whether a component turns texts into embeddings."""
    return component.startswith("text_") or "tokenizer" in component


def is_picture(component: str) -> bool:
    """Whether a component renders: the denoiser or the autoencoder."""
    return component in (*DENOISERS, "vae")


def is_beside_decoder(component: str) -> bool:
    """Whether a component has nothing to do with decoding."""
    return is_text(component) or component in DENOISERS


def load_whole(
    source: ModelSource, dtype: str, device: str = "cpu", steps: tuple[Call, ...] = ()
) -> DiffusionPipeline:
    """The whole pipeline."""
    return load(source, dtype, device, steps=steps)


def load_text_encoder(source: ModelSource, dtype: str, device: str) -> DiffusionPipeline:
    """The pipeline with tokenizers and text encoders only, on the device."""
    return load(source, dtype, device, leave_out=is_picture).to(device)


def load_without_texts(
    source: ModelSource, dtype: str, device: str = "cpu", steps: tuple[Call, ...] = ()
) -> DiffusionPipeline:
    """The pipeline without tokenizers and text encoders."""
    return load(source, dtype, device, leave_out=is_text, steps=steps)


def load_decoder(
    source: ModelSource, dtype: str, device: str = "cpu", _steps: tuple[Call, ...] = ()
) -> DiffusionPipeline:
    """The pipeline with its autoencoder only, which no step does anything to when it is loaded."""
    return load(source, dtype, device, leave_out=is_beside_decoder)


def burden(source: ModelSource, dtype: str, *, decoder_only: bool = False) -> Burden:
    """What rendering images, or decoding alone, has loaded: known before anything is."""
    leave_out: LeaveOut = lambda _: False  # noqa: E731 - called whole, nothing is left out
    if FAMILIES[source.family].staged:
        leave_out = is_beside_decoder if decoder_only else is_text
    count = random_weights.burden if source.random else from_files.burden
    return count(source, partial(own_dtype, source.family, dtype), leave_out)
