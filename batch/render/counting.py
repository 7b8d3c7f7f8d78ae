"""How much a model reads of many texts, without its weights: its tokenizers are real, its encoders have shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer

from batch.records.receipts import TextTokens
from batch.records.tasks import EncodeTask
from batch.render import pieces, tokens
from batch.render.families import common
from batch.render.families.table import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch.memory.questions import TextReading, TextsQuestion


def cut(pipe: DiffusionPipeline, family: str, texts: Sequence[EncodeTask]) -> dict[str, TextTokens]:
    """By their number those of the texts that are not read to the end."""
    encoders = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    found = {}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for encoder in encoders:
            stack.enter_context(_once(encoder))
        for number, text in enumerate(texts):
            most = common.text_arguments(pipe, text, family).get("max_sequence_length")
            with tokens.watched(pipe, text.text, most) as seen:
                FAMILIES[family].encode(pipe, text, "cpu")
            if seen.tokens is not None and seen.tokens.cut:
                found[str(number)] = seen.tokens
    return found


def cut_by_clip(question: TextsQuestion) -> dict[str, TextReading]:
    """The same of the one text encoder of a pipeline that is called whole."""
    words = CLIPTokenizer.from_pretrained(
        Path(str(question["source"]["location"]), "tokenizer"), local_files_only=True
    )
    found = {str(number): pieces.read(words, text) for number, text in enumerate(question["texts"])}
    return {
        number: {"tokens": item.tokens, "read": item.read, "lost": item.lost}
        for number, item in found.items()
        if item.cut
    }


@contextmanager
def _once(encoder: nn.Module) -> Iterator[None]:
    """While it lasts, an encoder goes through each shape of its inputs once: nobody looks at what it gives."""
    forward: Callable[..., object] = encoder.forward
    known: dict[object, object] = {}

    def again(*given: object, **named: object) -> object:
        parts = (*given, *named.values())
        key = tuple(tuple(part.shape) if isinstance(part, torch.Tensor) else str(part) for part in parts)
        if key not in known:
            known[key] = forward(*given, **named)
        return known[key]

    encoder.forward = again
    try:
        yield
    finally:
        encoder.forward = forward
