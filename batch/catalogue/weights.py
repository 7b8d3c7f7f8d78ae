"""Which files of a model a session loads, from its index and the names of its files alone.

Of weights that are there in several precisions one variant, component by component, as diffusers chooses them;
pickles only of components that have nothing else; code only where the index names it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from batch.base.errors import ModelError
from batch.catalogue import modular

INDEX = modular.CLASSIC
SAFETENSORS, BIN = ".safetensors", ".bin"
PICKLES = (BIN, ".ckpt", ".pt", ".pth")
WEIGHTS = (SAFETENSORS, *PICKLES)
VARIANTS = {"float16": "fp16", "bfloat16": "bf16"}
"""What weights of a dtype are called."""

VOCABULARY = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
)
_WEIGHTED = re.compile(r"transformer(_\d)?|unet|vae|movq|vqgan|text_encoder(_\d)?|text_conditioner|image_encoder")
_NOT_LOADED = {
    ".md", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".mp4", ".py", ".msgpack", ".h5", ".onnx", ".onnx_data",
    ".xml", ".gguf", ".zip", *PICKLES,
}  # fmt: skip
REWRITERS = frozenset(
    {"pe", "pe_tokenizer", "prompt_enhancer_head", "prompt_upsampler", "prompt_upsampler_processor"}
)
"""Language models that put a prompt into other words before it is encoded: ERNIE-Image, Ideogram 4 and FLUX.3 have
them. They draw their words, so that the same seed gives another picture: never downloaded, loaded or called."""

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The files of a model, and what is special about them."""

    files: frozenset[str]
    variant: str
    """Of the weights; "" where they are plain, or of several variants."""
    pickled: Mapping[str, str]
    """Components whose weights are pickles only, each with such a file."""
    code: tuple[str, ...]
    """Files of code that the index names."""
    elsewhere: Mapping[str, str]
    """Components without a file here, each with the place where the index says that they lie."""


def components(index: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """The folders a pipeline consists of, each with the library that its class is from, and the class's name."""
    named = {name: (str(value[0]), str(value[-1])) for name, value in _named(index) if value[0] is not None}
    return {name: entry for name, entry in named.items() if name not in REWRITERS}


def left_out(index: Mapping[str, object]) -> list[str]:
    """Components that the index itself names as left out, and those that are never loaded."""
    return [name for name, value in _named(index) if value[0] is None or name in REWRITERS]


def _named(index: Mapping[str, object]) -> Iterator[tuple[str, list[object]]]:
    for name, value in index.items():
        # Components are attributes of the pipeline; any other name would lead out of its folder. Other lists are
        # settings of the pipeline's own.
        if not isinstance(value, list) or not name.isidentifier() or name.startswith("_"):
            continue
        if len(value) == 2 and all(isinstance(item, str | None) for item in value):
            yield name, value


def of(
    index: Mapping[str, object],
    names: Iterable[str],
    *,
    variant: str | None = None,
    dtype: str = "",
    held: Collection[str] = (),
) -> Needs:
    """What a session loads of a model with these files; of components that are ``held`` elsewhere no weights.

    ``variant`` of the weights; None chooses the one of ``dtype`` where the model has it, else the only one there
    is where a component has no plain weights.
    """
    parts = components(index)
    inside: dict[str, list[str]] = {part: [] for part in parts}
    beside = []
    for name in names:
        path = PurePosixPath(name)
        if path.parent.name in parts and len(path.parts) == 2:
            inside[path.parent.name].append(path.name)
        elif len(path.parts) == 1:
            beside.append(name)
    for part in inside.keys() & set(held):
        inside[part] = [name for name in inside[part] if name.endswith(".json") and ".index." not in name]
    weights = {part: [] if part in held else _weights(files) for part, files in inside.items()}
    variant = _choose(weights.values(), dtype) if variant is None else variant
    if not any(variant_of(name) == variant for found in weights.values() for name in found):
        variant = ""
    code = [f"{part}/{library}.py" for part, (library, _) in parts.items() if f"{library}.py" in inside[part]]
    own = index.get("_class_name")
    code += [f"{own[0]}.py"] if isinstance(own, list) and own else []
    chosen = {modular.file_of(index)}
    for part, files in inside.items():
        chosen.update(f"{part}/{name}" for name in _of_component(files, weights[part], variant))
        if code:  # a file of code may import others beside it
            chosen.update(f"{part}/{name}" for name in files if name.endswith(".py"))
    chosen.update(name for name in beside if code and name.endswith(".py"))
    pickled = {part: found[0] for part, found in weights.items() if found and not _is(found[0], SAFETENSORS)}
    places: Mapping[str, str] = index.get(modular.PLACES) or {}  # type: ignore[assignment]
    return Needs(
        files=frozenset(chosen),
        variant=variant,
        pickled=pickled,
        code=tuple(code),
        elsewhere={part: places[part] for part in parts if part in places and not inside[part]},
    )


def check(name: str, needs: Needs, *, pickles: bool, trusted: bool) -> None:
    """Refuse what would run code when it is loaded, unless that is allowed. Raises :class:`ModelError`."""
    check_places(name, needs)
    if needs.code and not trusted:
        raise ModelError(
            f"{name} runs code of its own ({needs.code[0]}); allow it with trust_remote_code: [{name}]"
        )
    if needs.pickled and not pickles:
        part, file = next(iter(needs.pickled.items()))
        raise ModelError(
            f"{part} of {name} is there as {file} only: a pickle, which can run any code when it is loaded. "
            f"Convert it to safetensors, or accept it with allow_pickle: [{name}]"
        )


def check_places(name: str, needs: Needs) -> None:
    """Refuse a model of which a component lies elsewhere. Raises :class:`ModelError`."""
    for part, place in needs.elsewhere.items():
        raise ModelError(
            f"{name} holds no {part}: its {modular.INDEX} says that it lies in {place or 'another place'}. Only "
            f"what lies in a model's own folder is loaded; save it in {part}/ of a copy"
        )


def lacking(
    index: Mapping[str, object], names: Iterable[str], needs: Needs, held: Collection[str] = ()
) -> list[str]:
    """What a folder lacks, as far as its own files tell: nobody has listed what should be there.

    The weights of ``held`` components lie elsewhere.
    """
    files = {part: [] for part in components(index)}  # type: dict[str, list[str]]
    for name in sorted(needs.files.intersection(names)):
        part, _, file = name.rpartition("/")
        files.setdefault(part, []).append(file)
    found = [f"{part}/" for part in components(index) if not files[part]]
    weighted = [part for part in files if is_weighted(part)]
    found += [f"{part}/ (weights)" for part in weighted if part not in held and not _weights(files[part])]
    found += [f"{part}/ (configuration)" for part in weighted if "config.json" not in files[part]]
    found += [f"{part}/ (vocabulary)" for part in files if lacks_words(part, files[part])]
    for part, inside in files.items():
        # Of weights in several files: the numbers that are not there, and the index that names them.
        groups: dict[tuple[str, str, str], set[int]] = {}
        for name in inside:
            if match := _SHARD.search(name):
                key = (name[: match.start()], match[2], name[match.end() :])
                groups.setdefault(key, set()).add(int(match[1]))
        for (stem, count, rest), numbers in groups.items():
            gone = set(range(1, int(count) + 1)) - numbers
            found += [f"{part}/{stem}-{number:05}-of-{count}{rest}" for number in gone]
        if groups and not any(".index." in name for name in inside):
            found.append(f"{part}/the index of the weights")
    return found


def lacks_words(part: str, files: Sequence[str]) -> bool:
    """Whether a component is a tokenizer without vocabulary: it would render other pictures in silence."""
    return "tokenizer" in part and not set(VOCABULARY).intersection(files)


def is_weighted(part: str) -> bool:
    """Whether a component of that name has weights."""
    return _WEIGHTED.fullmatch(part) is not None


def _weights(files: Iterable[str]) -> list[str]:
    """The files of weights that count: safetensors, or pickles where there are none, with their indexes."""
    files = list(files)
    for kind in (SAFETENSORS, BIN):
        found = [name for name in files if _is(name, kind)]
        if any(name.endswith(kind) for name in found):
            return sorted(found, key=lambda name: not name.endswith(kind))
    return [name for name in files if name.endswith(PICKLES)]


def _is(name: str, kind: str) -> bool:
    stem = name.split(".", maxsplit=1)[0].partition("-")[0]
    if kind == BIN and stem not in ("pytorch_model", "diffusion_pytorch_model"):
        return False  # the weights of other libraries
    return name.endswith(kind) or f"{kind}.index." in name


def variant_of(name: str) -> str:
    """``bf16`` of ``model.bf16.safetensors``, of its shards in both spellings, and of their index; "" if plain."""
    known = {"safetensors", "bin", "index", "json"}
    return next((part.partition("-")[0] for part in name.split(".")[1:] if part not in known), "")


def _choose(weights: Iterable[Sequence[str]], dtype: str) -> str:
    wanted = VARIANTS.get(dtype.partition("(")[0], "")
    found = [{variant_of(name) for name in names if name.endswith((SAFETENSORS, BIN))} for names in weights]
    if wanted and any(wanted in variants for variants in found):
        return wanted
    only = {variant for variants in found if "" not in variants for variant in variants}
    return only.pop() if len(only) == 1 else ""


def files_of(names: Iterable[str], variant: str) -> list[str]:
    """Of the files of a component those that its weights are read from, without their index."""
    return [name for name in _pick(_weights(names), variant) if name.endswith((SAFETENSORS, BIN))]


def _pick(weights: Sequence[str], variant: str) -> list[str]:
    """Of a component's weights those of the variant; where it has none the plain ones; else what there is."""
    of_variant = [name for name in weights if variant and variant_of(name) == variant]
    return of_variant or [name for name in weights if not variant_of(name)] or list(weights)


def _of_component(files: Sequence[str], weights: Sequence[str], variant: str) -> Iterator[str]:
    """Weights and configurations of a component that has weights; of one without (tokenizer) everything."""
    if weights:
        yield from _pick(weights, variant)
        yield from (name for name in files if name.endswith(".json") and ".index." not in name)
    else:
        yield from (name for name in files if PurePosixPath(name).suffix not in _NOT_LOADED)
