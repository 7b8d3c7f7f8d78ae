"""Memory that tensors take, followed without any being there: shapes run through the real modules.

``FakeTensor`` knows a tensor's shape, dtype and device and has no numbers; every operation makes another one of
the shape that it would have. A dispatch mode sees each of them come, and a weak reference to its storage sees it
go: the peak is what an allocator would have been asked for at once. What a kernel takes for itself (cuDNN's
workspace) is not in it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from batch.render.random_weights import put

if TYPE_CHECKING:
    from batch.render.untyped import Keywords

T = TypeVar("T")

_FILLED = {torch.ops.aten.zeros.default, torch.ops.aten.ones.default, torch.ops.aten.empty.memory_format}
"""What makes a tensor of a size out of nothing."""

_LARGE = 2**24
"""Numbers of a tensor that pipelines fill themselves, from which on it has none here: Ideogram 4 makes room for
embeddings of four gigabytes. Smaller ones may be masks and counts, whose numbers decide shapes."""


class Live(TorchDispatchMode):
    """While it lasts, counts the bytes of every storage that lives: those of ``given`` and all made since."""

    def __init__(self, given: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self.largest = 0
        """Of the storages made since."""
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._mode: AbstractContextManager[object] = nullcontext()
        for tensor in given:
            self._follow(tensor)
            if isinstance(tensor, FakeTensor):
                self._mode = tensor.fake_mode
        self.largest = 0

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: Keywords | None = None
    ) -> object:
        if func is torch.ops.aten.index.Tensor:
            args = (args[0], _counted(args[1]), *args[2:])
        elif func is torch.ops.aten.bincount.default and isinstance(args[0], FakeTensor):
            return torch.tensor([args[0].numel()])  # of experts: as if all tokens went to one, which takes most
        large = func in _FILLED and math.prod(args[0]) >= _LARGE
        with self._mode if large else nullcontext():
            made = func(*args, **(kwargs or {}))
        for item in tree_iter(made):
            if isinstance(item, torch.Tensor):
                self._follow(item)
        return made

    def _follow(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_reference: object) -> None:
            self.now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)
        self.largest = max(self.largest, size)

    def above(self, work: Callable[[], T]) -> tuple[T, int]:
        """What ``work`` gives, and how far it went above what there was before it."""
        before, self.peak = (self.now, self.peak), self.now
        try:
            made = work()
            return made, self.peak - before[0]
        finally:
            self.peak = max(self.peak, before[1])

    def bump(self, size: int) -> None:
        """As if so many bytes had been there for a moment."""
        self.peak = max(self.peak, self.now + size)


def _counted(indices: Iterable[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Real masks as the numbers they stand for: how many there are decides a shape, and only they know it."""
    found: list[torch.Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor):
            found += index.nonzero(as_tuple=True)
        else:
            found.append(index)
    return found


def tensors(*modules: nn.Module) -> Iterator[torch.Tensor]:
    """The parameters and buffers of modules."""
    for module in modules:
        yield from module.parameters()
        yield from module.buffers()


@contextmanager
def once(module: nn.Module, live: Live) -> Iterator[None]:
    """While it lasts, a module goes through each shape of its first argument once.

    The next time it takes as much again and gives an empty tensor: a picture in a hundred tiles is four shapes.
    """
    forward, known = module.forward, dict[tuple[int, ...], tuple[int, torch.Tensor]]()

    def again(first: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        shape = tuple(first.shape)
        if shape in known:
            above, made = known[shape]
            live.bump(above)
            return made.new_empty(made.shape)
        made, above = live.above(lambda: forward(first, *rest, **named))
        # One of no size stands for it, so that it does not count as alive.
        known[shape] = (above, made.new_empty(0).as_strided(made.shape, [0] * made.ndim))
        return made

    module.forward = again
    try:
        yield
    finally:
        module.forward = forward


class Shapes:
    """Fills empty modules so that they compute shapes only.

    Its tensors say that they lie in host memory, though a card is meant. Sizes do not depend on where a tensor
    lies; and schedulers and tokenizers make real tensors on the way, which a torch without CUDA could not send to
    a card. What does depend on it is which attention is chosen, and both choose one that keeps no matrix of it.
    """

    def __init__(self) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def fill(self, module: nn.Module, _part: str, dtype: torch.dtype, _device: str) -> nn.Module:
        """A :data:`batch.render.random_weights.Fill`."""
        filled = put(
            module,
            dtype,
            lambda parameter, _name, own: self._empty(parameter.shape, own),
            lambda buffer, own: self._empty(buffer.shape, own),
        )
        # Torch's own conversion swaps a parameter in place, which one that is watched does not allow.
        filled.to = partial(_converted, filled)  # type: ignore[method-assign]
        return filled

    def _empty(self, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        with self._mode:
            return torch.empty(shape, dtype=dtype)

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Every tensor made while it lasts is without numbers."""
        with self._mode:
            yield


def _converted(module: nn.Module, *places: object, dtype: torch.dtype | None = None) -> nn.Module:
    """``module.to(...)``, of which only the dtype matters, tensor by tensor as torch does it."""
    dtype = dtype or next((item for item in places if isinstance(item, torch.dtype)), None)
    for owner in module.modules() if dtype is not None else ():
        for name, old in owner._parameters.items():
            if old is not None and old.is_floating_point():
                owner._parameters[name] = nn.Parameter(old.detach().to(dtype), requires_grad=False)
        for name, buffer in owner._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                owner._buffers[name] = buffer.to(dtype)
    return module
