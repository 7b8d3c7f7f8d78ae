"""Blocks of a model that are alike, gone through once: twenty billion parameters are sixty equal blocks.

Under :mod:`batch.render.live` a block has no numbers, so one of the same classes and shapes, with arguments of the
same shapes, takes as much memory and gives tensors of the same shapes. So does what it leaves behind: language
models put keys and values of every layer into a cache that they are called with.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from transformers.cache_utils import Cache

if TYPE_CHECKING:
    from batch.render.live import Live


_LARGE = 2**16
"""Numbers of a tensor."""


@contextmanager
def once(blocks: Iterable[nn.Module], live: Live) -> Iterator[None]:
    """While it lasts, of equal blocks one goes through each shape of arguments; the others take as much."""
    known: dict[Hashable, tuple[int, int, _Made]] = {}
    own = [(block, block.forward) for block in blocks if "forward" not in vars(block)]
    for block, forward in own:
        block.forward = partial(_again, forward, _kind(block), known, live)
    try:
        yield
    finally:
        for block, _ in own:
            del block.forward


def _again(
    forward: Callable[..., object],
    kind: Hashable,
    known: dict[Hashable, tuple[int, int, _Made]],
    live: Live,
    *given: object,
    **named: object,
) -> object:
    arguments, shape = tree_flatten((given, named))
    key = (kind, str(shape), *map(_described, arguments))
    if key in known:
        above, left, noted = known[key]
        live.bump(above)
        _leave(left, arguments)
        return noted.again(arguments)
    before = live.now
    made, above = live.above(lambda: forward(*given, **named))
    noted = _Made.of(made, arguments)
    known[key] = above, live.now - before - sum(noted.sizes), noted
    return made


def _leave(size: int, arguments: Sequence[object]) -> None:
    """Have so many bytes live as long as the cache among the arguments."""
    cache = next((item for item in arguments if isinstance(item, Cache)), None)
    like = next((item for item in arguments if isinstance(item, torch.Tensor)), None)
    if size > 0 and cache is not None and like is not None:
        vars(cache).setdefault("_left", []).append(like.new_empty(size, dtype=torch.uint8))


def _kind(block: nn.Module) -> Hashable:
    """What decides what a block does with shapes: its classes, their switches, and its parameters."""
    return tuple(
        (
            type(part),
            type(getattr(part, "processor", None)),
            tuple((name, said) for name, said in vars(part).items() if isinstance(said, bool | str)),
            tuple((name, tensor.shape, tensor.dtype) for name, tensor in part.named_parameters(recurse=False)),
        )
        for part in block.modules()
    )


def _described(argument: object) -> Hashable:
    """An argument as far as shapes depend on it: of a real tensor that counts or masks its numbers are part of it.

    One that is large is attention's mask, which decides no shape.
    """
    if not isinstance(argument, torch.Tensor):
        return argument if isinstance(argument, int | float | str | None) else (type(argument), id(argument))
    seen = (tuple(argument.shape), argument.stride(), argument.dtype)
    shapeless = isinstance(argument, FakeTensor) or argument.is_floating_point() or argument.is_complex()
    if shapeless or argument.numel() > _LARGE:
        return seen
    return (*seen, argument.cpu().numpy().tobytes())


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor by its place in a storage: ``storage`` counts those made, below zero it is that of an argument."""

    storage: int
    like: torch.Tensor
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class _Made:
    """What a block has given, without holding it."""

    parts: Sequence[object]
    shape: Any
    sizes: Sequence[int]
    """Bytes of every storage made."""

    @classmethod
    def of(cls, made: object, arguments: Sequence[object]) -> _Made:
        """Notes what was made of these arguments."""
        parts, shape = tree_flatten(made)
        given = [item.untyped_storage()._cdata if isinstance(item, torch.Tensor) else None for item in arguments]
        places: dict[int, int] = {
            storage: -1 - index for index, storage in enumerate(given) if storage is not None
        }
        sizes: list[int] = []
        noted = []
        for part in parts:
            if not isinstance(part, torch.Tensor):
                noted.append(part)
                continue
            storage = part.untyped_storage()
            if storage._cdata not in places:
                places[storage._cdata] = len(sizes)
                sizes.append(storage.nbytes())
            noted.append(
                _Tensor(
                    storage=places[storage._cdata],
                    like=part.new_empty(0),
                    shape=tuple(part.shape),
                    stride=part.stride(),
                    offset=int(part.storage_offset()),
                )
            )
        return cls(noted, shape, sizes)

    def again(self, arguments: Sequence[object]) -> object:
        """As much once more."""
        made: dict[int, torch.Tensor] = {}

        def tensor(note: _Tensor) -> torch.Tensor:
            if note.storage < 0:
                argument = arguments[-1 - note.storage]
                assert isinstance(argument, torch.Tensor)
                return argument.as_strided(note.shape, note.stride, note.offset)
            if note.storage not in made:
                size = self.sizes[note.storage] // note.like.itemsize
                made[note.storage] = note.like.new_empty(size)
            return made[note.storage].as_strided(note.shape, note.stride, note.offset)

        return tree_unflatten(
            [tensor(part) if isinstance(part, _Tensor) else part for part in self.parts], self.shape
        )
