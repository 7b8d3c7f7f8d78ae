"""LoRAs on a pipeline, whole or in parts.

A LoRA may change the text encoders too. Where texts are encoded apart, its one half is loaded into the
pipeline that encodes and the other into the one that denoises.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from diffusers import DiffusionPipeline
from safetensors import safe_open
from torch import nn

from batch.base.errors import TaskError, UserError
from batch.catalogue.families import DENOISERS, LORA_OF_TEXTS
from batch.records.tasks import Lora
from batch.render import failures

_SAFE = {"use_safetensors": True, "local_files_only": True}
"""No pickles, and nothing of the Hub: downloads are made elsewhere."""

MOST = 0.95
"""A LoRA of whose layers fewer than this share are taken is told: its conversion may join some, never so many."""


def put(pipe: DiffusionPipeline, loras: tuple[Lora, ...]) -> list[str]:
    """Have these adapters, and no others, in whatever components the pipeline holds; what is odd about them.

    Raises :class:`UserError` without peft, :class:`TaskError` for a LoRA that does not fit the model.
    """
    from diffusers.utils import is_peft_available

    if not is_peft_available():
        raise UserError("LoRAs need the peft package; install it with: pip install 'run-batch[lora]'")
    pipe.remove_all_hooks()  # a hook knows the weights it was placed over, not those of a LoRA
    # Every adapter off, and with it the layers that a LoRA for Flux has widened.
    widens = "reset_to_overwritten_params" in inspect.signature(pipe.unload_lora_weights).parameters
    pipe.unload_lora_weights(**({"reset_to_overwritten_params": True} if widens else {}))
    if hasattr(getattr(pipe, "transformer", None), "_overwritten_params"):
        pipe.transformer._overwritten_params = None  # they are put back once, not at each change
    names = [f"lora{index}" for index in range(len(loras))]
    encoders = [name for name in pipe.components if name.startswith("text_")]
    present = [name for name in encoders if pipe.components[name] is not None]
    if encoders and not present:
        pipe.load_lora_into_text_encoder = _nothing  # their half acted when the texts were encoded
    with warnings.catch_warnings():
        # peft warns of a second adapter, which is what was asked for.
        warnings.filterwarnings("ignore", "Already found a `peft_config` attribute", UserWarning)
        for name, lora in zip(names, loras, strict=True):
            _load(pipe, present, lora, name)
    loaded = {name for adapters in pipe.get_list_adapters().values() for name in adapters}
    scales = {name: lora.scale for name, lora in zip(names, loras, strict=True) if name in loaded}
    if scales:
        pipe.set_adapters(list(scales), list(scales.values()))
    return [said for name, lora in zip(names, loras, strict=True) for said in _misfits(pipe, lora, name)]


def _load(pipe: DiffusionPipeline, encoders: list[str], lora: Lora, adapter: str) -> None:
    _check_file(lora)
    try:
        if all(part is None for name, part in pipe.components.items() if name in DENOISERS):
            _into_text_encoders(pipe, encoders, lora.path, adapter)
        else:
            pipe.load_lora_weights(lora.path, adapter_name=adapter, **_SAFE)
    except Exception as error:
        if failures.is_out_of_memory(error) or isinstance(error, UserError):
            raise
        said = failures.first_line(error)
        raise TaskError(f"the LoRA {shown(lora)} does not fit {type(pipe).__name__}: {said}") from error


def _check_file(lora: Lora) -> None:
    """Raise :class:`TaskError` for what diffusers would take for a repository, or for a pickle."""
    path = Path(lora.path)
    if path.suffix != ".safetensors" or not path.is_file():
        raise TaskError(f"the LoRA {shown(lora)} is no .safetensors file of this machine")


def shown(lora: Lora) -> str:
    """Which one it is, for a message."""
    return lora.source or Path(lora.path).name


def _misfits(pipe: DiffusionPipeline, lora: Lora, adapter: str) -> Iterator[str]:
    """Layers of a LoRA that the model does not have: diffusers passes over them in silence.

    Raises :class:`TaskError` where it has none of them: the picture would be the one without.
    """
    parts = pipe.components.items()
    models = [part for name, part in parts if name in DENOISERS and isinstance(part, nn.Module)]
    if not models:
        return
    with safe_open(lora.path, "pt") as file:
        names = [name for name in file.keys() if not LORA_OF_TEXTS.match(name)]  # noqa: SIM118 - no mapping
    wanted = len({_OF_LAYER.sub("", name) for name in names})
    if not wanted:
        return
    taken = sum(adapter in getattr(layer, "lora_A", ()) for model in models for layer in model.modules())
    if not taken:
        raise TaskError(
            f"the LoRA {shown(lora)} fits nothing in {type(pipe).__name__}: none of its {wanted} layers is there. "
            "It is for another model"
        )
    if taken < wanted * MOST:
        yield f"of the LoRA {shown(lora)} only {taken} of {wanted} layers fit the model"


_OF_LAYER = re.compile(r"\.(lora[._]|alpha|diff|dora_scale|processor\.|bias$|weight$).*$")
"""What follows a layer's name."""


def _into_text_encoders(pipe: DiffusionPipeline, encoders: list[str], path: str, adapter: str) -> None:
    # Not every pipeline's files can have alphas beside the weights.
    state, *alphas, metadata = pipe.lora_state_dict(path, return_alphas=True, return_lora_metadata=True, **_SAFE)
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


def _nothing(*_arguments: object, **_named: object) -> None:
    return
