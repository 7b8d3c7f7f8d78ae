"""The kernels of a run through tensors that have shapes and no numbers: their FLOPs, and the bytes they move.

A dispatch mode sees every operation of torch; one that touches data is a kernel, a view or a bare allocation is
none. Added is what a CUDA device does beside what the dispatcher shows:

- a convolution with a bias is cuDNN's convolution, then an addition in place; only torch's own kernel for
  depthwise convolutions, which is taken unless the tensor is ``channels_last``, adds the bias itself;
- padding fills the whole result first and then copies into it;
- GroupNorm reads its input twice: a group is too large to stay on the chip.

Not counted is what libraries do inside of one operation, such as cuDNN's changing to ``channels_last`` and back.

**Fused** bytes are those of the same kernels where chains are one kernel each. Matrix products, convolutions,
attention, reductions over more than one axis, and writes into a part of a tensor stand alone. All others are
additions, activations, casts, copies, and norms over the channels of one token or pixel, which fit on the chip. Of
them those are one chain that hand tensors to each other and have equally many standing alone before them, on the
longest way. A chain reads once whatever comes from outside of it, and writes once whatever is needed outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

aten = torch.ops.aten

Kind = Literal["matrix", "batched", "depthwise", "attention", "alone", "chain"]
"""Matrix products with weights and convolutions; products of two activations; depthwise convolutions; attention as
one kernel; what else stands alone; all that can be part of a chain."""

Rate = Literal["matrix", "tf32", "float32"]
"""Where a product is computed: on tensor cores in half precision, or in TF32, torch's default for convolutions in
float32; or on CUDA cores, as all other products in float32 and depthwise convolutions are."""

_PRODUCTS: dict[Any, Kind] = {
    aten.mm: "matrix", aten.addmm: "matrix", aten.convolution: "matrix",
    aten.bmm: "batched", aten.baddbmm: "batched",
}  # fmt: skip
_REDUCTIONS = {
    aten.sum, aten.mean, aten.amax, aten.amin, aten.aminmax, aten.std, aten.var, aten.var_mean,
    aten.linalg_vector_norm, aten.native_group_norm,
}  # fmt: skip
_LOOKUPS = {aten.index, aten.index_select, aten.gather, aten.embedding}
"""Of their first input they read what they give."""

_OVERWRITING = {aten.copy_, aten.fill_, aten.zero_, aten.normal_, aten.uniform_}
"""In place, and what was there is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel, launched ``times`` times."""

    op: str
    place: str
    """The module's path, with the component's name first; "" outside of all."""
    attends: bool
    """Within an attention module."""
    kind: Kind
    rate: Rate
    flops: int
    """Of products; 0 for all others, whose bytes take longer."""
    moved: int
    """Bytes read and written."""
    fused: int
    """What is left of them where chains are fused."""
    launches: int = 1
    times: int = 1


@dataclass(frozen=True, slots=True)
class _Piece:
    """What an operation reads or writes of a value: a storage between two writes to it."""

    value: int
    region: tuple[int, int]
    """Where it begins, and how many elements it has."""
    size: int
    """Bytes."""


@dataclass(slots=True, kw_only=True)
class _Op:
    """An operation as it was seen."""

    op: str
    place: str
    attends: bool
    kind: Kind = "chain"
    rate: Rate = "matrix"
    flops: int = 0
    reads: list[_Piece] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    """Values that it overwrites: they come first."""
    writes: list[_Piece] = field(default_factory=list)
    again: int = 0
    """Bytes of passes that the dispatcher does not show and a chain does without."""
    launches: int = 1

    @property
    def inputs(self) -> list[int]:
        return [*(piece.value for piece in self.reads), *self.after]


class Recorder(TorchDispatchMode):
    """While it lasts, records every kernel with the module it belongs to."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules = modules
        self._stack: list[tuple[str, bool]] = [("", False)]
        self._hooks: list[Any] = []
        self._storages: dict[int, torch.UntypedStorage] = {}  # kept, so that no other takes its place
        self._values: dict[int, int] = {}
        self._made = 0
        self._ops: list[_Op] = []
        self._sections: list[list[_Op]] = []
        self._times: list[int] = []

    def __enter__(self) -> Recorder:
        for name, component in self._modules.items():
            for path, module in component.named_modules():
                self._watch(f"{name}.{path}" if path else name, module)
        super().__enter__()
        return self

    def __exit__(self, *why: Any) -> None:
        super().__exit__(*why)
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if _is_kernel(func):
            self._record(func, args, kwargs, made)
        return made

    @property
    def mark(self) -> int:
        """How many operations there are by now."""
        return len(self._ops)

    def kernels(self, start: int = 0, end: int | None = None) -> tuple[Kernel, ...]:
        """What was recorded between two marks, and in :meth:`once` at any time."""
        found = list(_fused(self._ops[start:end], 1))
        for ops, times in zip(self._sections, self._times, strict=True):
            found += _fused(ops, times)
        return tuple(found)

    @contextmanager
    def once(self, module: nn.Module) -> Iterator[None]:
        """While it lasts, a module goes through each shape of its first argument once; the rest is multiplied."""
        forward, known = module.forward, dict[tuple[int, ...], tuple[int, torch.Tensor]]()

        def again(first: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
            shape = tuple(first.shape)
            if shape not in known:
                made = self._section(lambda: forward(first, *rest, **named))
                known[shape] = (len(self._sections) - 1, made)
            section, made = known[shape]
            self._times[section] += 1
            return made.new_empty(made.shape)

        module.forward = again
        try:
            yield
        finally:
            module.forward = forward

    def _section(self, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        outside, self._ops = self._ops, []
        try:
            return work()
        finally:
            self._sections.append(self._ops)
            self._times.append(0)
            self._ops = outside

    def _watch(self, path: str, module: nn.Module) -> None:
        attends = "Attention" in type(module).__name__

        def begin(*_: Any) -> None:
            self._stack.append((path, attends or self._stack[-1][1]))

        def end(*_: Any) -> None:
            self._stack.pop()

        self._hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]

    def _record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
        packet, changed = func.overloadpacket, _changed(func, args, kwargs)
        if not (_tensors(made) or changed):
            return  # a number that the host asks for
        place, attends = self._stack[-1]
        op = _Op(op=str(packet).removeprefix("aten."), place=place, attends=attends)
        given = [item for item in _tensors((args, kwargs)) if not any(item is one for one in changed)]
        if packet not in _OVERWRITING and func._schema.name.endswith("_"):
            given += changed
        op.reads = [self._piece(item) for item in given]
        if packet in _LOOKUPS:
            op.reads[0] = _Piece(op.reads[0].value, op.reads[0].region, min(op.reads[0].size, _size(made)))
        op.after = [self._piece(item).value for item in changed]
        op.writes = [self._new(item) for item in (changed or _tensors(made))]
        if any(_size(item) < item.untyped_storage().nbytes() for item in changed):
            op.kind = "alone"
        _describe(op, packet, args, kwargs, made)
        self._ops.append(op)
        if packet is aten.convolution and args[2] is not None and not _adds_bias(op, args[0]):
            self._add_bias(op, args[2], made)

    def _add_bias(self, convolution: _Op, bias: torch.Tensor, made: torch.Tensor) -> None:
        """As :func:`at::_convolution` adds it after cuDNN's convolution."""
        kernel = _Op(op="add_ (bias)", place=convolution.place, attends=convolution.attends)
        kernel.reads = [convolution.writes[0], self._piece(bias)]
        convolution.reads = [piece for piece in convolution.reads if piece.value != kernel.reads[1].value]
        kernel.writes = [self._new(made)]
        self._ops.append(kernel)

    def _piece(self, tensor: torch.Tensor) -> _Piece:
        key = self._key(tensor)
        if key not in self._values:
            self._values[key] = self._next()
        sides = zip(tensor.shape, tensor.stride(), strict=True)
        elements = math.prod(side for side, stride in sides if stride)  # what is broadcast is read once
        return _Piece(
            self._values[key], (int(tensor.storage_offset()), elements), elements * tensor.element_size()
        )

    def _new(self, tensor: torch.Tensor) -> _Piece:
        self._values[self._key(tensor)] = self._next()
        return self._piece(tensor)

    def _key(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        return self._storages.setdefault(storage._cdata, storage)._cdata

    def _next(self) -> int:
        self._made += 1
        return self._made


def _is_kernel(func: Any) -> bool:
    name, returns = func._schema.name, func._schema.returns
    view = any(item.alias_info is not None and not item.alias_info.is_write for item in returns)
    return not (view or name.startswith("prim::") or "empty" in name or func.overloadpacket is aten._unsafe_view)


def _changed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The arguments that an operation writes to."""
    found = []
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            found += _tensors(value)
    return found


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [item for item in tree_leaves(tree) if isinstance(item, torch.Tensor)]


def _describe(op: _Op, packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
    """What kind of kernel it is, its FLOPs and their rate, and what the dispatcher does not show."""
    if packet in _PRODUCTS:
        op.kind = _PRODUCTS[packet]
        op.flops = flop_registry[packet](*args, **kwargs, out_val=made)
    elif "scaled_dot_product" in op.op:
        op.kind = "attention"
        op.flops = sdpa_flop_count(*(item.shape for item in args[:3]))
    elif packet in _REDUCTIONS and _spans(args[0], _tensors(made)[0], packet):
        op.kind = "alone"
    if packet is aten.convolution and args[8] == args[0].shape[1] > 1:  # as many groups as channels
        op.kind = "depthwise"
    if op.flops:
        op.rate = _rate(op.kind, packet, args[0].dtype)
    if packet is aten.constant_pad_nd:
        op.again, op.launches = op.reads[0].size, 2  # the copy writes once more what was filled
    if packet is aten.native_group_norm:
        op.again = op.reads[0].size


def _rate(kind: Kind, packet: Any, dtype: torch.dtype) -> Rate:
    if kind == "depthwise":
        return "float32"
    if dtype != torch.float32:
        return "matrix"
    return "tf32" if packet is aten.convolution else "float32"


def _spans(given: torch.Tensor, made: torch.Tensor, packet: Any) -> bool:
    """Whether a reduction goes over more than one axis."""
    return packet is aten.native_group_norm or given.numel() > made.numel() * max(given.shape, default=1)


def _adds_bias(op: _Op, given: torch.Tensor) -> bool:
    """Whether a convolution is torch's own depthwise kernel, which adds the bias in passing."""
    return op.kind == "depthwise" and given.ndim == 4 and given.is_contiguous()


def _size(made: Any) -> int:
    return sum(item.numel() * item.element_size() for item in _tensors(made))


# Chains


def _fused(ops: Sequence[_Op], times: int) -> Iterator[Kernel]:
    """The kernels of operations, each with its share of what its chain moves."""
    makers = {piece.value: number for number, op in enumerate(ops) for piece in op.writes}
    chains = _chains(ops, makers)
    leaving = _leaving(ops, makers, chains)
    read: set[tuple[int, int, tuple[int, int]]] = set()
    for number, op in enumerate(ops):
        moved = sum(piece.size for piece in (*op.reads, *op.writes)) + op.again
        fused = op.again if op.kind != "chain" else 0
        for piece in op.reads:
            key = (chains[number], piece.value, piece.region)
            inside = piece.value in makers and chains[makers[piece.value]] == chains[number]
            fused += 0 if inside or key in read else piece.size
            read.add(key)
        fused += sum(piece.size for piece in op.writes if piece.value in leaving)
        yield Kernel(
            op=op.op, place=op.place, attends=op.attends, kind=op.kind, rate=op.rate, flops=op.flops, moved=moved,
            fused=fused, launches=op.launches, times=times,
        )  # fmt: skip


def _chains(ops: Sequence[_Op], makers: Mapping[int, int]) -> list[int]:
    """For each operation the number of the first of its chain."""
    depths: list[int] = []  # how many stand alone before it, on the longest way
    first = list(range(len(ops)))

    def root(number: int) -> int:
        while first[number] != number:
            number = first[number]
        return number

    for number, op in enumerate(ops):
        before = [makers[value] for value in op.inputs if value in makers]
        depths.append(max((depths[one] + (ops[one].kind != "chain") for one in before), default=0))
        if op.kind != "chain":
            continue
        for one in before:
            if ops[one].kind == "chain" and depths[one] == depths[number]:
                ends = sorted((root(one), root(number)))
                first[ends[1]] = ends[0]
    return [root(number) for number in range(len(ops))]


def _leaving(ops: Sequence[_Op], makers: Mapping[int, int], chains: Sequence[int]) -> set[int]:
    """The values needed outside of the chain that makes them; those that no operation reads are results."""
    used = {value for op in ops for value in op.inputs}
    found = set(makers) - used
    for number, op in enumerate(ops):
        found |= {value for value in op.inputs if value in makers and chains[makers[value]] != chains[number]}
    return found
