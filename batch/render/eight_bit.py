"""Weights as files hold them, read straight to a device; those in 8 bits in the dtype to compute in.

ComfyUI's scaled files have beside each of these the number that it was divided by, and notes for its own loader.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open

from batch.base.errors import UserError
from batch.catalogue.single_files import SCALES

_NOTES = tuple(f".{name}" for name in (*SCALES, "scale_input", "input_scale", "comfy_quant"))


def is_note(name: str) -> bool:
    """Whether a tensor is no weight: it says how to read one."""
    return name.endswith(_NOTES) or name.rpartition(".")[-1] == "scaled_fp8"


def read(
    path: Path, names: Iterable[str], dtype: torch.dtype, device: str, *, all_in_it: bool
) -> dict[str, torch.Tensor]:
    """These tensors of a file in a dtype; without ``all_in_it`` only those that the file has in 8 bits.

    On the device, or in host memory where it gets them from there. Raises :class:`UserError` for weights that are
    packed in some other way.
    """
    wanted, made = dict.fromkeys(names), {}  # in the file's own order
    place = "cpu" if device.startswith("mps") else device  # Apple's has no floats of 8 bits, and the same memory
    with safe_open(path, "pt", device=place) as file:
        for name in wanted:
            if is_note(name):
                continue
            tensor = file.get_tensor(name)
            if name.endswith(".weight"):
                stem = name.removesuffix("weight")
                scales = [file.get_tensor(stem + item) for item in SCALES if stem + item in wanted]
                tensor = _checked(path, name, tensor, next(iter(scales), None), dtype)
            is_cast = tensor.is_floating_point() and (all_in_it or tensor.itemsize == 1)
            # On the CPU it would be a view of the whole file, wherever the file has it.
            made[name] = tensor.to(dtype if is_cast else tensor.dtype, copy=place == "cpu")
    return made


def _checked(
    path: Path, name: str, tensor: torch.Tensor, scale: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """A weight times its scale, which is one number or one a row."""
    blocks = scale is not None and scale.numel() not in (1, tensor.shape[0] if tensor.ndim else 1)
    if blocks or not tensor.is_floating_point():
        packed = str(tensor.dtype).removeprefix("torch.") + (" in blocks" if blocks else "")
        raise UserError(
            f"{path}: {name} is packed as {packed}, which is not read here; take this model's file in float8, "
            "float16 or bfloat16"
        )
    if scale is None:
        return tensor
    factor = scale.float().reshape(-1, *[1] * (tensor.ndim - 1)) if scale.numel() > 1 else scale.float()
    return (tensor.float() * factor).to(dtype)
