"""Tokenizers for models with random weights, without a download: their words are pairs of letters, and bytes.

The class, the length and the special tokens, with their ids, are those of the real ones, and so is what stands
around a text. A text itself becomes two to three times the tokens, up to the length at which it is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

if TYPE_CHECKING:
    from batch.render.untyped import Config, Keywords

_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
_PAIRS = [(first, second) for first in ascii_lowercase for second in ascii_lowercase]
_SPACE = "Ġ"
"""How byte-level vocabularies write a space."""

_CHARACTERS = [chr(code) for code in range(ord("!"), 0x250)]
"""For tokenizers that know characters, not bytes; any other one is unknown to them, and a token as well."""

_FIRST = 1000
"""The id of the first byte, behind all special tokens of a small id."""


@dataclass(frozen=True, slots=True)
class Processor:
    """The half of a processor that reads texts; the other one wants torchvision, and pictures."""

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, text: list[str], **given: Any) -> Any:
        """Token ids of texts, as a tokenizer gives them."""
        return self.tokenizer(text, **given)

    def apply_chat_template(self, messages: list[Any], **given: Any) -> Any:
        """Of one conversation its text, or a list with its tokens, as a processor gives them."""
        made = self.tokenizer.apply_chat_template([messages], **given)
        return made if given.get("tokenize") else made[0]


def build(kind: type, config: Config) -> PreTrainedTokenizerBase | Processor:
    """A tokenizer of a class: ``special_tokens`` by their ids, the tokens it ``begins_with``, and its settings."""
    settings = dict(config)
    special: Mapping[str, int] = settings.pop("special_tokens")
    if kind.__name__ == "Qwen3VLProcessor":
        return Processor(_qwen(Qwen2Tokenizer, special, settings))
    return _BUILDERS[kind.__name__](kind, special, settings)


def _clip(kind: type[Any], special: Mapping[str, int], settings: Keywords) -> PreTrainedTokenizerBase:
    merges = [(first, second + end) for end in ("", "</w>") for first, second in _PAIRS]
    words = [*_BYTES, *(f"{byte}</w>" for byte in _BYTES), *map("".join, merges)]
    made: PreTrainedTokenizerBase = kind(vocab={**_numbered(words), **special}, merges=merges, **settings)
    return made


def _qwen(kind: type[Any], special: Mapping[str, int], settings: Keywords) -> PreTrainedTokenizerBase:
    vocabulary, merges = _of_bytes()
    more = {"additional_special_tokens": list(special)}
    made: PreTrainedTokenizerBase = kind(vocab={**vocabulary, **special}, merges=merges, **settings, **more)
    return made


def _t5(kind: type[Any], special: Mapping[str, int], settings: Keywords) -> PreTrainedTokenizerBase:
    pairs = ["".join(pair) for pair in _PAIRS]
    words = ["▁", *_CHARACTERS, *pairs, *(f"▁{pair}" for pair in pairs)]
    vocabulary = [*((word, 0.0) for word in special), *((word, -2.0) for word in words)]
    made: PreTrainedTokenizerBase = kind(vocab=vocabulary, extra_ids=0, **settings)
    return made


def _bert(kind: type[Any], special: Mapping[str, int], settings: Keywords) -> PreTrainedTokenizerBase:
    words = [*_CHARACTERS, *map("".join, _PAIRS)]
    vocabulary = _numbered([*words, *(f"##{word}" for word in words)], _FIRST)
    made: PreTrainedTokenizerBase = kind(vocab={**special, **vocabulary}, **settings)
    return made


def _plain(kind: type[Any], special: Mapping[str, int], settings: Keywords) -> PreTrainedTokenizerBase:
    vocabulary, merges = _of_bytes(_FIRST)
    words = Tokenizer(models.BPE(vocab={**special, **vocabulary}, merges=merges))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens(list(special))
    begins = settings.pop("begins_with", [])
    words.post_processor = processors.TemplateProcessing(
        single=[*begins, "$A"], special_tokens=[(word, special[word]) for word in begins]
    )
    made: PreTrainedTokenizerBase = kind(tokenizer_object=words, **settings)
    return made


_BUILDERS = {
    "CLIPTokenizer": _clip,
    "Qwen2Tokenizer": _qwen,
    "T5Tokenizer": _t5,
    "BertTokenizer": _bert,
    PreTrainedTokenizerFast.__name__: _plain,
}


def _of_bytes(first: int = 0) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of bytes, pairs of letters, and such pairs behind a space; and what is merged to these."""
    merges: list[tuple[str, str]] = [*_PAIRS, *((_SPACE, "".join(pair)) for pair in _PAIRS)]
    return _numbered([*_BYTES, *map("".join, merges)], first), merges


def _numbered(words: Iterable[str], first: int = 0) -> dict[str, int]:
    return {word: number for number, word in enumerate(words, first)}
