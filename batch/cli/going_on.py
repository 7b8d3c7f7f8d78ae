"""The commands that go on with what is in a run folder, as they are pasted into a shell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.shell import program, quoted, typed_option
from batch.base.text import plural, roughly

if TYPE_CHECKING:
    from batch.store.parts import IdleShard
    from batch.store.status import Summary

COMMANDS = 4
"""Shards with a command of their own: those of the others are alike."""

NAMES = 8
"""Shards that are named in one line."""


def again(summary: Summary, option: str = "", shard: IdleShard | None = None) -> str:
    """The command that goes on, or tries again what ``option`` is for, as it was asked; of a shard that part's."""
    more = [f"--shard {shard.shard}"] if shard is not None else []
    more += [option] if option else []
    if not summary.source:
        return f"the same command with {' '.join(more)}" if more else "the same command again"
    out = [] if Path(summary.root) == Path("outputs") / summary.name else [f"--out {quoted(Path(summary.root))}"]
    given = map(typed_option, summary.options if shard is None else shard.options)
    return " ".join([program(), "run", quoted(Path(summary.source)), *out, *given, *more])


def commands(summary: Summary) -> list[str]:
    """What goes on with all that is to be rendered: one command, or one for each shard."""
    return [again(summary, shard=shard) for shard in summary.idle_shards] or [again(summary)]


def of_idle_shards(summary: Summary) -> Iterator[str]:
    """Who has what to render and is not at work, with the command."""
    first, others = summary.idle_shards[:COMMANDS], summary.idle_shards[COMMANDS:]
    for shard in first:
        takes = f", about {roughly(shard.eta_s)}" if shard.eta_s is not None else ""
        yield f"  not at work: shard {shard.shard}, with {plural(shard.to_render, 'image')} to render{takes}"
        yield f"    go on with it: {again(summary, shard=shard)}"
    if others:
        images = plural(sum(shard.to_render for shard in others), "image")
        yield f"  nor {named([shard.shard for shard in others])}, with {images} to render: likewise"


def named(shards: Sequence[str]) -> str:
    """``shards 1/8, 3/8 and 5 more``."""
    more = f" and {len(shards) - NAMES} more" if shards[NAMES:] else ""
    return f"{'shard' if len(shards) == 1 else 'shards'} {', '.join(shards[:NAMES])}{more}"
