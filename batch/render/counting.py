"""How much a model reads of many texts, without its weights: its tokenizers are real, its encoders have shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer

from batch.records.receipts import TextTokens
from batch.records.spec import ModelSource
from batch.records.tasks import EncodeTask, Task
from batch.render import pieces
from batch.render.families.table import encode

if TYPE_CHECKING:
    from collections.abc import Callable


def cut(pipe: DiffusionPipeline, family: str, texts: Sequence[EncodeTask]) -> dict[str, TextTokens]:
    """By their number those of the texts that are not read to the end."""
    encoders = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for encoder in encoders:
            stack.enter_context(_once(encoder))
        return _cut(encode(pipe, family, text, "cpu")[1] for text in texts)


def cut_by_clip(source: ModelSource, task: Task, texts: Sequence[str]) -> dict[str, TextTokens]:
    """The same of the one text encoder of a pipeline that is called whole."""
    words = CLIPTokenizer.from_pretrained(Path(source.location, "tokenizer"), local_files_only=True)
    return _cut(pieces.read(words, text, task) for text in texts)


def _cut(readings: Iterable[TextTokens | None]) -> dict[str, TextTokens]:
    return {str(number): found for number, found in enumerate(readings) if found is not None and found.cut}


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
