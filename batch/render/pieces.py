"""CLIP's text encoders beyond their 77 tokens and with weights, as A1111 has them.

A prompt is encoded in pieces of 75 tokens, each between the beginning and the end that the encoder was trained
with, and the embeddings stand behind one another: the denoiser attends to any number of them. The pooled embedding
is that of the first piece. A weight multiplies the embedding of its tokens, after which the mean of the piece is
put back to what it was (``modules/sd_hijack_clip.py`` of AUTOMATIC1111/stable-diffusion-webui).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline

from batch.manifest import emphasis
from batch.manifest.emphasis import Weighted
from batch.records.receipts import TextTokens
from batch.records.tasks import EncodeTask, Task
from batch.render.tokens import told

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerBase

    from batch.render.untyped import Keywords

COMMA = 20
"""Tokens from the end of a piece in which a comma is sought, A1111's default: what belongs together stays so."""

_NO_MEAN = 0.005
"""Of the spread: what is smaller is no mean. SD 1.5's encoder has about a tenth."""

Tokens = list[tuple[int, float]]
"""Ids with their weights."""

Pooled = torch.Tensor | None

Layer = Callable[[Any], torch.Tensor]
"""The hidden states that a pipeline takes, of what its encoder gives."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """One of a pipeline's text encoders with the text that it reads."""

    tokenizer: PreTrainedTokenizerBase
    model: CLIPTextModel | CLIPTextModelWithProjection
    layer: Layer
    text: str


def asked(task: Task | EncodeTask) -> bool:
    """Whether texts are encoded here, and not by the pipeline."""
    return bool(task.long_prompts or task.prompt_syntax)


def encode(encoders: Sequence[Encoder], task: Task | EncodeTask, device: str) -> tuple[torch.Tensor, Pooled]:
    """Embeddings ``[1, 77 * pieces, width]`` of all encoders side by side, and the pooled one of the last.

    Encoders that read texts of different lengths get as many pieces each.
    """
    split = [_split(item.tokenizer, item.text, task)[0] for item in encoders]
    most = max(map(len, split))
    pooled: Pooled = None
    found = []
    for encoder, pieces in zip(encoders, split, strict=True):
        made = []
        for number, piece in enumerate([*pieces, *[[]] * (most - len(pieces))]):
            states, pool = _piece(encoder, piece, device)
            made.append(states)
            pooled = pool if number == 0 and pool is not None else pooled
        found.append(torch.cat(made, dim=1))
    return torch.cat(found, dim=-1), pooled


def padded(embeds: torch.Tensor, padding: torch.Tensor, length: int) -> torch.Tensor:
    """Embeddings with those of empty pieces behind, up to a length: two texts go into one call."""
    missing = (length - embeds.shape[1]) // padding.shape[1]
    return torch.cat([embeds, *[padding] * missing], dim=1)


def count(encoders: Sequence[Encoder], task: Task | EncodeTask) -> TextTokens:
    """How much of a text the encoders read."""
    return told([read(item.tokenizer, item.text, task) for item in encoders])


def for_call(pipe: DiffusionPipeline, task: Task) -> Keywords:
    """What the call of a Stable Diffusion 1 or 2 takes in place of its texts."""
    device = str(pipe._execution_device)
    texts = [
        encode(encoders_of(pipe, task, text), task, device)[0] for text in (task.prompt, task.negative_prompt)
    ]
    padding, _ = encode(encoders_of(pipe, task, ""), task, device)
    longest = max(text.shape[1] for text in texts)
    prompt, negative = (padded(text, padding, longest) for text in texts)
    return {"prompt_embeds": prompt, "negative_prompt_embeds": negative}


def encoders_of(pipe: DiffusionPipeline, task: Task, text: str) -> list[Encoder]:
    """The one encoder of a Stable Diffusion 1 or 2, and the layer that its call takes."""
    skip = dict(task.extra).get("clip_skip")

    def layer(output: Any) -> torch.Tensor:
        if skip is None:
            last: torch.Tensor = output[0]
            return last
        states = output.hidden_states[-(int(str(skip)) + 1)]
        normed: torch.Tensor = pipe.text_encoder.text_model.final_layer_norm(states)
        return normed

    return [Encoder(pipe.tokenizer, pipe.text_encoder, layer, text)]


def _split(
    tokenizer: PreTrainedTokenizerBase, text: str, task: Task | EncodeTask
) -> tuple[list[Tokens], TextTokens]:
    """The pieces of a text, at least one, and how much of it they hold."""
    room = tokenizer.model_max_length - 2
    written = emphasis.parse(text) if task.prompt_syntax else ((Weighted(text, 1.0),),)
    pieces: list[Tokens] = []
    for stretches in written:
        tokens = [
            (token, weight)
            for part, weight in stretches
            for token in tokenizer(part, add_special_tokens=False, verbose=False).input_ids
        ]
        while len(tokens) > room and task.long_prompts:
            end = _end(tokenizer, tokens[:room])
            pieces.append(tokens[:end])
            tokens = tokens[end:]
        pieces.append(tokens)
    total = sum(map(len, pieces))
    if task.long_prompts:
        return pieces, TextTokens(tokens=total, read=total)
    rest = [token for token, _ in pieces[0][room:]]
    return [pieces[0][:room]], TextTokens.of(total, total - len(rest), tokenizer.decode(rest) if rest else "")


def read(tokenizer: PreTrainedTokenizerBase, text: str, task: Task | EncodeTask) -> TextTokens:
    """How much of a text an encoder with such a tokenizer reads, in the way of a task."""
    return _split(tokenizer, text, task)[1]


def _end(tokenizer: PreTrainedTokenizerBase, tokens: Tokens) -> int:
    """Where a piece ends that is full: behind a comma that is near, as there, else behind a word."""
    words = tokenizer.convert_ids_to_tokens([token for token, _ in tokens])
    commas = [at for at, word in enumerate(words, start=1) if word == ",</w>" and len(words) - at <= COMMA]
    ends = [at for at, word in enumerate(words, start=1) if word.endswith("</w>")]
    return (commas or ends or [len(tokens)])[-1]


def _weighted(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Each token's row ``[1, 77, width]`` times its weight, with the mean of before.

    A mean that is nothing beside the numbers' spread would be put back by a factor that is chance, even without
    end or of the other sign: it is left as it comes.
    """
    changed = states * weights[None, :, None]
    before, after = states.mean(), changed.mean()
    is_none = torch.minimum(before.abs(), after.abs()) < _NO_MEAN * states.std()
    # Decided where the numbers lie: nothing waits for the device, and planning goes this way without numbers.
    return changed * torch.where(is_none | (before * after < 0), 1.0, before / after)


def _piece(encoder: Encoder, tokens: Tokens, device: str) -> tuple[torch.Tensor, Pooled]:
    """One piece alone, so that its numbers do not depend on how many there are."""
    words = encoder.tokenizer
    fill = words.model_max_length - len(tokens) - 2
    ids = [words.bos_token_id, *(token for token, _ in tokens), words.eos_token_id, *[words.pad_token_id] * fill]
    with torch.no_grad():
        output = encoder.model(torch.tensor([ids], device=device), output_hidden_states=True)
    states = encoder.layer(output)
    weights = [1.0, *(weight for _, weight in tokens), 1.0, *[1.0] * fill]
    if any(weight != 1.0 for weight in weights):
        states = _weighted(states, torch.tensor(weights, dtype=states.dtype, device=states.device))
    return states, output[0] if output[0].ndim == 2 else None
