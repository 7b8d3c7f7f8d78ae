"""LoRAs on a pipeline, whole or in parts.

A LoRA may change the text encoders too. Where texts are encoded apart, its one half is loaded into the
pipeline that encodes and the other into the one that denoises.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from batch.errors import UserError
from batch.plan.catalogue import DENOISERS
from batch.records import Lora


def put(pipe: Any, loras: tuple[Lora, ...]) -> None:
    """Have these adapters, and no others, in whatever components the pipeline holds.

    Raises :class:`UserError` without peft, and what diffusers raises for a file that does not fit.
    """
    from diffusers.utils import is_peft_available

    if not is_peft_available():
        raise UserError("LoRAs need the peft package; install it with: pip install 'run-batch[lora]'")
    pipe.remove_all_hooks()  # a hook knows the weights it was placed over, not those of a LoRA
    _take_off(pipe)
    names = [f"lora{index}" for index in range(len(loras))]
    encoders = [name for name in pipe.components if name.startswith("text_encoder")]
    present = [name for name in encoders if pipe.components[name] is not None]
    if encoders and not present:
        pipe.load_lora_into_text_encoder = _nothing  # their half acted when the texts were encoded
    with warnings.catch_warnings():
        # peft warns of a second adapter, which is what was asked for.
        warnings.filterwarnings("ignore", "Already found a `peft_config` attribute", UserWarning)
        for name, lora in zip(names, loras, strict=True):
            _load(pipe, present, lora.path, name)
    loaded = {name for adapters in pipe.get_list_adapters().values() for name in adapters}
    scales = {name: lora.scale for name, lora in zip(names, loras, strict=True) if name in loaded}
    if scales:
        pipe.set_adapters(list(scales), list(scales.values()))


def _load(pipe: Any, encoders: list[str], path: str, adapter: str) -> None:
    if all(part is None for name, part in pipe.components.items() if name in DENOISERS):
        _into_text_encoders(pipe, encoders, path, adapter)
    else:
        pipe.load_lora_weights(path, adapter_name=adapter)


def _take_off(pipe: Any) -> None:
    """Every adapter off, and with it the layers that a LoRA for Flux has widened."""
    widens = "reset_to_overwritten_params" in inspect.signature(pipe.unload_lora_weights).parameters
    pipe.unload_lora_weights(**({"reset_to_overwritten_params": True} if widens else {}))
    if hasattr(getattr(pipe, "transformer", None), "_overwritten_params"):
        pipe.transformer._overwritten_params = None  # they are put back once, not at each change


def _into_text_encoders(pipe: Any, encoders: list[str], path: str, adapter: str) -> None:
    # Not every pipeline's files can have alphas beside the weights.
    state, *alphas, metadata = pipe.lora_state_dict(path, return_alphas=True, return_lora_metadata=True)
    for name in encoders:
        pipe.load_lora_into_text_encoder(
            state,
            network_alphas=alphas[0] if alphas else None,
            text_encoder=getattr(pipe, name),
            prefix=name,
            lora_scale=pipe.lora_scale,
            adapter_name=adapter,
            metadata=metadata,
        )


def _nothing(*_arguments: Any, **_named: Any) -> None:
    return
