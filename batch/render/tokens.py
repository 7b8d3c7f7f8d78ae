"""How much of a text its encoders read: whatever pipeline, by watching the tokenizers at work.

A tokenizer that is told to cut a text does so without a word, and what stood behind is not in the picture.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diffusers import DiffusionPipeline
from transformers import PreTrainedTokenizerBase

from batch.records.receipts import TextTokens

if TYPE_CHECKING:
    from batch.render.untyped import Keywords


def told(readings: Sequence[TextTokens]) -> TextTokens:
    """Of several encoders the one that reads furthest: what it reads is in the picture.

    Flux and Stable Diffusion 3 give a long text to T5 and its beginning to CLIP.
    """
    return max(readings, key=lambda reading: reading.read / max(1, reading.tokens))


@dataclass(slots=True)
class Watched:
    """What tokenizers have made of a text."""

    text: str
    most: int | None
    """Tokens that the pipeline keeps of what a tokenizer gives, where it cuts once more."""
    _as_written: list[TextTokens] = field(default_factory=list)
    _cleaned: list[TextTokens] = field(default_factory=list)
    """Of texts in which ours does not stand as it was written."""

    @property
    def tokens(self) -> TextTokens | None:
        """How much of the text was read; None where no tokenizer cuts."""
        readings = self._as_written or self._cleaned
        if not self.text.strip():
            return TextTokens(tokens=0, read=0)
        return told(readings) if readings else None

    def see(self, tokenizer: PreTrainedTokenizerBase, given: Keywords) -> None:
        """A tokenizer was called so."""
        texts, ours = given.get("text"), self.text.strip()
        if not given.get("truncation") or not ours:
            return
        for text in [texts] if isinstance(texts, str) else texts or ():
            if not isinstance(text, str):
                continue
            at = text.lower().rfind(ours.lower())  # there may be a template around it
            if at >= 0:
                self._as_written.append(self._reading(tokenizer, text, at, at + len(ours), given))
            else:
                self._cleaned.append(self._reading(tokenizer, text, 0, len(text), given))

    def _reading(
        self, tokenizer: PreTrainedTokenizerBase, text: str, begin: int, end: int, given: Keywords
    ) -> TextTokens:
        """How much of a stretch of a text is read."""
        limit, special = (
            given.get("max_length") or tokenizer.model_max_length,
            given.get("add_special_tokens", True),
        )
        if not tokenizer.is_fast:
            return self._without_places(tokenizer, text[:begin], text[begin:end], limit)
        whole = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        places = [place for place in whole["offset_mapping"] if place[1] > place[0]]
        room = limit - (len(whole["input_ids"]) - len(places))
        ours = [(index, at) for index, (at, until) in enumerate(places) if until > begin and at < end]
        read = self._kept(sum(index < room for index, _ in ours))
        return TextTokens.of(len(ours), read, text[ours[read][1] : end] if read < len(ours) else "")

    def _without_places(
        self, tokenizer: PreTrainedTokenizerBase, before: str, text: str, limit: int
    ) -> TextTokens:
        """Of a tokenizer in Python, which does not say where in a text its tokens stand."""
        used, ours = (
            tokenizer(part, add_special_tokens=False, verbose=False).input_ids for part in (before, text)
        )
        read = self._kept(min(len(ours), max(0, limit - len(used) - tokenizer.num_special_tokens_to_add())))
        return TextTokens.of(len(ours), read, tokenizer.decode(ours[read:]) if read < len(ours) else "")

    def _kept(self, read: int) -> int:
        return read if self.most is None else min(read, self.most)


@contextmanager
def watched(pipe: DiffusionPipeline, text: str, most: int | None = None) -> Iterator[Watched]:
    """Watch the tokenizers of a pipeline while it encodes a text."""
    seen = Watched(text, most)
    parts = [getattr(part, "tokenizer", part) for part in pipe.components.values()]  # of a processor its own
    theirs = [part for part in parts if isinstance(part, PreTrainedTokenizerBase)]
    kinds = [type(part) for part in theirs]
    for part, kind in zip(theirs, kinds, strict=True):
        part.__class__ = _watching(kind, seen)  # a call is looked up in the class, and a pipeline checks its parts
    try:
        yield seen
    finally:
        for part, kind in zip(theirs, kinds, strict=True):
            part.__class__ = kind


def _watching(kind: type[PreTrainedTokenizerBase], seen: Watched) -> type[PreTrainedTokenizerBase]:
    takes = inspect.signature(kind.__call__)

    def call(self: PreTrainedTokenizerBase, *args: Any, **given: Any) -> Any:
        made = kind.__call__(self, *args, **given)
        self.__class__ = kind  # counting asks it too
        try:
            seen.see(self, takes.bind_partial(self, *args, **given).arguments)
        finally:
            self.__class__ = watching
        return made

    watching = type(kind.__name__, (kind,), {"__call__": call})
    return watching
