"""Values that can be hashed, compared and written as the same JSON every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from typing_extensions import TypeAliasType

Scalar = str | int | float | bool | None
Value = TypeAliasType("Value", "Scalar | tuple[Value, ...]")
"""Named, because pydantic cannot follow a plain alias that contains itself."""
Arguments = tuple[tuple[str, Value], ...]
"""Keyword arguments as sorted pairs: hashable, and the same JSON every time."""


@dataclass(frozen=True, slots=True)
class _AtLeast:
    """What a number of a record is at least: one that is less is refused when the record is read."""

    least: int

    def __get_pydantic_core_schema__(
        self, source: object, handler: Callable[[object], dict[str, object]]
    ) -> dict[str, object]:
        return handler(source) | {"ge": self.least}


Amount = Annotated[float, _AtLeast(0)]
"""Seconds and the like."""
Count = Annotated[int, _AtLeast(0)]
"""Bytes and the like."""
Length = Annotated[int, _AtLeast(1)]
"""Pixels of a side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A name with arguments, as users write it: ``vae_tiling(1024, 896)``, ``dpm++(flow_shift=6)``."""

    name: str
    arguments: Arguments = ()

    def __str__(self) -> str:
        """The canonical spelling, arguments by name."""
        if not self.arguments:
            return self.name
        return f"{self.name}({', '.join(f'{key}={_written(value)}' for key, value in self.arguments)})"


def _written(value: Value) -> str:
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, tuple) else str(value)
