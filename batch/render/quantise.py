"""Quantised denoisers, by bitsandbytes or torchao through diffusers: weights of linear layers in 8 or 4 bits.

Not the convolutions, of which SANA's feed-forward consists: 47 % of its transformer stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline
from torch import nn

from batch.base.errors import UserError
from batch.catalogue.families import DENOISERS
from batch.memory import quantised
from batch.memory.steps import BACKENDS
from batch.records.values import Call

if TYPE_CHECKING:
    from diffusers.quantizers.quantization_config import QuantizationConfigMixin
    from torchao.core.config import AOBaseConfig


def configurations(
    steps: tuple[Call, ...], dtype: Callable[[str], torch.dtype], device: str
) -> dict[str, QuantizationConfigMixin]:
    """What ``from_pretrained`` of each denoiser is to be told; nothing without ``quantize``.

    Raises :class:`UserError` where its package is missing or too old, or cannot work on this device.
    """
    backend = quantised.backend(steps)
    if not backend:
        return {}
    quantised.require(backend, card=device.startswith("cuda") or torch.cuda.is_available())
    return {name: _configuration(backend, dtype(name)) for name in DENOISERS}


def check(model: nn.Module) -> None:
    """Raise :class:`UserError` for a model none of whose weights was quantised: there it would do nothing."""
    if all(type(parameter) is nn.Parameter for parameter in model.parameters()):
        raise UserError(f"memory: quantize does nothing to {type(model).__name__}; leave it out")


def filled(
    module: nn.Module,
    weights: dict[str, torch.Tensor],
    dtype: torch.dtype,
    device: str,
    configuration: QuantizationConfigMixin,
) -> nn.Module:
    """A module without numbers, with these weights on the device, each quantised as ``from_pretrained`` does it.

    diffusers' way of a single file takes them for quantised ones (0.42).
    """
    from diffusers.models.model_loading_utils import load_model_dict_into_meta
    from diffusers.quantizers import DiffusersAutoQuantizer

    quantiser = DiffusersAutoQuantizer.from_config(configuration, pre_quantized=False)
    quantiser.validate_environment(torch_dtype=dtype)
    dtype = quantiser.update_torch_dtype(dtype)
    keeps = getattr(quantiser, "use_keep_in_fp32_modules", False)
    kept = (keeps and getattr(module, "_keep_in_fp32_modules", None)) or []
    quantiser.preprocess_model(model=module, device_map=None, state_dict=weights, keep_in_fp32_modules=kept)
    load_model_dict_into_meta(
        module,
        weights,
        dtype=dtype,
        device_map={"": torch.device(device)},
        hf_quantizer=quantiser,
        keep_in_fp32_modules=kept,
        unexpected_keys=[],
    )
    for part in module.modules():
        part._buffers = {name: item if item is None else item.to(device) for name, item in part._buffers.items()}
    quantiser.postprocess_model(module)
    module.hf_quantizer = quantiser
    return module


def drawn(pipe: DiffusionPipeline, steps: tuple[Call, ...]) -> DiffusionPipeline:
    """A pipeline with random weights, quantised in place: torchao alone can do that."""
    backend = quantised.backend(steps)
    if not backend:
        return pipe
    if BACKENDS[backend] != "torchao":
        raise UserError(
            f"memory: quantize({backend}) needs a model that is read from files; for random weights write "
            "quantize(torchao_int8)"
        )
    quantised.require(backend, card=torch.cuda.is_available())
    from torchao.quantization import quantize_

    for model in (getattr(pipe, name, None) for name in DENOISERS):
        if model is not None:
            quantize_(model, _torchao(backend))
            check(model)
    return pipe


def on_card(steps: tuple[Call, ...]) -> bool:
    """Whether a model is to be read onto the card though it is offloaded later: bitsandbytes quantises there."""
    return BACKENDS.get(quantised.backend(steps)) == "bitsandbytes"


def _configuration(backend: str, dtype: torch.dtype) -> QuantizationConfigMixin:
    import diffusers

    if backend == "bnb8":
        return diffusers.BitsAndBytesConfig(load_in_8bit=True)
    if backend == "bnb4":
        return diffusers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    return diffusers.TorchAoConfig(_torchao(backend))


def _torchao(backend: str) -> AOBaseConfig:
    from torchao import quantization

    name = "Int8WeightOnlyConfig" if backend == "torchao_int8" else "Float8WeightOnlyConfig"
    return getattr(quantization, name)()
