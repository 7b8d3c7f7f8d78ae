"""Names of models to models: the catalogue, local folders, and the Hugging Face Hub's cache.

A revision says which weights: for a Hub model the commit, for files on disk a hash of their content.
Hashing ten gigabytes takes longer than planning should, so large files are sampled: the header (which
in safetensors names every tensor) and blocks spread over the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from batch import configs
from batch.errors import ModelError
from batch.plan import Lookup, Pins, architectures
from batch.plan.catalogue import Model
from batch.plan.models import known_models
from batch.records import Lora, ModelSource
from batch.refusals import refusal

RANDOM = "random:"
"""Before the name of a model: the same architecture with random weights."""

RANDOM_REVISION = "random-1"
"""Which random weights: another way of drawing them gets another number."""

_WHOLE = 32 * 2**20
_BLOCK = 2**16
_BLOCKS = 128


def lookup(
    folder: str,
    pins: Pins,
    *,
    online: bool,
    allow_pickle: frozenset[str] = frozenset(),
    trust_remote_code: frozenset[str] = frozenset(),
) -> Lookup:
    """How a plan finds what it names. ``folder`` is the manifest's: model folders are relative to it.

    ``online`` allows asking the Hub for a revision and the configuration files that neither pins nor cache
    hold. ``allow_pickle`` and ``trust_remote_code`` name the models for which that is accepted.
    """
    return Lookup(
        model=lambda name: find_model(
            name,
            Path(folder),
            pins.revisions,
            online=online,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        ),
        lora=lambda path, scale: _lora(path, scale, Path(folder)),
        draw=lambda count: tuple(secrets.randbelow(2**32) for _ in range(count)),
    )


def find_model(
    name: str,
    base: Path,
    revisions: Mapping[str, str],
    *,
    online: bool,
    allow_pickle: frozenset[str] = frozenset(),
    trust_remote_code: frozenset[str] = frozenset(),
) -> Model:
    """The model of that name. Raises :class:`ModelError` when there is none that can be rendered."""
    if name.startswith(RANDOM):
        return _random_model(name, base)
    known = known_models().get(name)
    if known is not None and known.package:
        return replace(known, revision=_folder_revision(_package_folder(known.package)))
    folder = Path(name) if Path(name).is_absolute() else base / name
    pickles, trusted = name in allow_pickle, name in trust_remote_code
    if known is None and (folder / "model_index.json").is_file():
        return _folder_model(name, folder, pickles=pickles, trusted=trusted)
    repo, _, wanted = name.partition("@")
    known = known or next((model for model in known_models().values() if model.repo == repo), None)
    if known is None and (folder.is_dir() or not _HUB_ID.fullmatch(repo)):
        raise ModelError(_unknown(name, folder))
    if known is not None:
        repo = known.repo
    revision = revisions.get(name) or _hub_revision(repo, wanted or "main", online=online)
    if known is not None:
        return replace(known, name=name, revision=revision)
    return _hub_model(name, repo, revision, online=online, pickles=pickles, trusted=trusted)


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def _unknown(name: str, folder: Path) -> str:
    if folder.is_dir():
        return f"the folder {folder} holds no diffusers model (no model_index.json)"
    names = ", ".join(known_models())
    return (
        f"'{name}' is not known; write one of {names}, a repository of the Hub (owner/name), or a model's folder"
    )


def source(model: Model) -> ModelSource:
    """Where a session loads the model from."""
    location = str(_package_folder(model.package)) if model.package else model.folder or model.repo
    return ModelSource(
        name=model.name,
        family=model.family,
        location=location,
        revision=model.revision if model.repo else "",
        variant=model.variant,
        overrides=model.overrides,
        allow_pickle=model.allow_pickle,
        trust_remote_code=model.trust_remote_code,
        random=model.random,
        architecture=model.architecture,
    )


def _random_model(name: str, base: Path) -> Model:
    """A model with random weights: of a packaged configuration, or of one that lies on this machine."""
    inner = name.removeprefix(RANDOM)
    inner = next((model.name for model in known_models().values() if model.repo == inner != ""), inner)
    known, packaged = known_models().get(inner), architectures.known().get(inner)
    place: dict[str, Any] = {}
    if packaged is not None:
        model = known or _described(name, packaged.get, trusted=False)
        place = {"repo": "", "package": architectures.WORDS, "architecture": inner}
        revision = RANDOM_REVISION
    else:
        folder = _package_folder(known.package) if known is not None else _configured(name, inner, base)
        _check_buildable(name, folder)
        model = known or _described(name, _in_folder(folder), trusted=False)
        place = {} if known is not None else {"folder": str(folder.resolve())}
        revision = f"{RANDOM_REVISION}-{_folder_revision(folder, without=(*_WEIGHTS, '.py'))[:8]}"
    about = f"random weights: {model.about or model.pipeline}"
    # What trained weights are made for, or what must be downloaded, says nothing of these.
    untrained: dict[str, Any] = {"dtypes": (), "steps_range": None, "guidance_range": None, "largest": None}
    untrained |= {"variant": "", "licence": "", "download_gb": None, "gated": False}
    return replace(model, name=name, about=about, random=True, revision=revision, **untrained | place)


def _configured(name: str, inner: str, base: Path) -> Path:
    """Where the configuration files of a model lie: its folder, or a snapshot in the Hub's cache."""
    folder = Path(inner) if Path(inner).is_absolute() else base / inner
    repo, _, wanted = inner.partition("@")
    if inner and (folder / "model_index.json").is_file():
        return folder
    if _HUB_ID.fullmatch(repo):
        revision = _hub_revision(repo, wanted or "main", online=False)
        snapshot = cache_folder(repo) / "snapshots" / revision
        if revision and (snapshot / "model_index.json").is_file():
            return snapshot
    names = [*architectures.known(), *(model.name for model in known_models().values() if model.package)]
    near = get_close_matches(inner, names, 1)
    hint = f"did you mean {RANDOM}{near[0]}? Possible" if near else "possible"
    raise ModelError(
        f"{name}: there is no such model on this machine; {hint} after {RANDOM} are {', '.join(names)}, and a "
        "folder with a model's configuration and tokenizer files"
    )


def _check_buildable(name: str, folder: Path) -> None:
    """Refuse a configuration that random weights cannot fill."""
    index = _json(folder / "model_index.json")
    code = [part for part, library, files in _components(folder) if f"{library}.py" in files]
    if code or isinstance(index.get("_class_name"), list):
        raise ModelError(f"{name} needs code of its own; random weights are for diffusers' own classes only")
    _check_vocabularies(name, folder)
    for part, _, files in _components(folder):
        if part in _WEIGHTED and "config.json" not in files:
            raise ModelError(f"{name} is not complete: {part}/ holds no config.json")


def _package_folder(name: str) -> Path:
    return Path(str(resources.files("batch").joinpath("models", name)))


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} is not a configuration")
    return data


def _in_folder(folder: Path) -> configs.Read:
    return lambda path: _json(folder / path) if (folder / path).is_file() else None


def _folder_model(name: str, folder: Path, *, pickles: bool, trusted: bool) -> Model:
    model = _described(name, _in_folder(folder), trusted=trusted)
    _check_complete(name, folder)
    variant = _check_files(name, folder, pickles=pickles, trusted=trusted)
    return replace(
        model,
        folder=str(folder.resolve()),
        revision=_folder_revision(folder),
        variant=variant,
        allow_pickle=pickles,
    )


def _described(name: str, read: configs.Read, *, trusted: bool) -> Model:
    try:
        return configs.describe(name, read, trusted=trusted)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ModelError(f"the configuration of {name} cannot be understood: {error}") from None


_VOCABULARY = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
)
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_WEIGHTS = (".safetensors", *_PICKLES)
_WEIGHTED = {"transformer", "unet", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"}


def _components(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Every component a model names: its name, the library it is from, and the files of its folder."""
    for part, entry in _json(folder / "model_index.json").items():
        if isinstance(entry, list) and entry and entry[0] is not None:
            inside = folder / part
            yield part, str(entry[0]), [item.name for item in inside.iterdir()] if inside.is_dir() else []


def _check_complete(name: str, folder: Path) -> None:
    """Refuse a folder that was copied by half."""
    _check_vocabularies(name, folder)
    for part, _, files in _components(folder):
        if part in _WEIGHTED and not any(file.endswith(_WEIGHTS) for file in files):
            raise ModelError(f"{name} is not complete: {part}/ holds no weights")


def _check_vocabularies(name: str, folder: Path) -> None:
    """Refuse a tokenizer without words: it would render other pictures in silence."""
    for part, _, files in _components(folder):
        if part.startswith("tokenizer") and not set(_VOCABULARY).intersection(files):
            raise ModelError(f"{name} is not complete: {part}/ holds no vocabulary ({_VOCABULARY[0]})")


def _check_files(name: str, folder: Path, *, pickles: bool, trusted: bool) -> str:
    """Refuse what would run code when it is loaded; returns the variant if the weights exist as one only."""
    variants: set[str] = set()
    for part, library, files in _components(folder):
        code = f"{library}.py"
        if code in files and not trusted:
            raise ModelError(f"{name} runs code of its own ({part}/{code}); allow it with trust_remote_code")
        weights = [file for file in files if file.endswith(".safetensors")]
        pickled = [file for file in files if file.endswith(_PICKLES)]
        if pickled and not weights and not pickles:
            raise ModelError(
                f"{part} of {name} is there as {pickled[0]} only: a pickle, which can run any code when it is "
                "loaded. Convert it to safetensors, or accept it with allow_pickle"
            )
        variants.update(_variants(weights))
    return variants.pop() if len(variants) == 1 else ""


def _variants(weights: list[str]) -> set[str]:
    """The variants of a component that has no plain weights: ``model.fp16.safetensors`` gives fp16."""
    found = {match[1] for file in weights if (match := _VARIANT.fullmatch(file))}
    plain = [file for file in weights if not _VARIANT.fullmatch(file)]
    return set() if plain else found


_VARIANT = re.compile(r"[\w-]+\.([a-z]\w*?)(?:-\d{5}-of-\d{5})?\.safetensors")


def _hub_model(name: str, repo: str, revision: str, *, online: bool, pickles: bool, trusted: bool) -> Model:
    snapshot = cache_folder(repo) / "snapshots" / revision
    if not revision or not (online or (snapshot / "model_index.json").is_file()):
        raise ModelError(
            f"{repo} is not on this machine, so its sizes and defaults are not known: `fetch` the manifest first"
        )
    cached = _in_folder(snapshot)

    def read(path: str) -> configs.Config | None:
        found = cached(path)
        return found if found is not None or not online else _download(repo, revision, path)

    model = _described(name, read, trusted=trusted)
    variant = ""
    if (snapshot / "model_index.json").is_file():
        variant = _check_files(name, snapshot, pickles=pickles, trusted=trusted)
    return replace(model, repo=repo, revision=revision, variant=variant, allow_pickle=pickles)


def _download(repo: str, revision: str, path: str) -> dict[str, Any] | None:
    """One configuration file from the Hub; None when the repository has no such file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        return _json(Path(hf_hub_download(repo, path, revision=revision)))
    except RemoteEntryNotFoundError:
        return None
    except Exception as error:
        raise refusal(error, repo, revision) from error


def hub_cache() -> Path:
    """Where huggingface_hub keeps models; told by its variables, since importing it takes a second."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return Path(os.path.expandvars(named)).expanduser()


def cache_folder(repo: str) -> Path:
    """Where one repository lies in it."""
    return hub_cache() / f"models--{repo.replace('/', '--')}"


def _folder_revision(folder: Path, *, without: tuple[str, ...] = ()) -> str:
    total, skipped = hashlib.sha256(), (".md", *without)
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and item.suffix not in skipped):
        if any(part.startswith((".", "__")) for part in path.relative_to(folder).parts):
            continue
        total.update(f"{path.relative_to(folder).as_posix()}\0{_sampled(path)}\n".encode())
    return total.hexdigest()[:16]


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE:
            found.update(file.read())
        else:
            for index in range(_BLOCKS):
                file.seek((size - _BLOCK) * index // (_BLOCKS - 1))
                found.update(file.read(_BLOCK))
    return found.hexdigest()


def _lora(path: str, scale: float, base: Path) -> Lora:
    file = Path(path) if Path(path).is_absolute() else base / path
    if file.suffix != ".safetensors":
        raise ModelError(f"{path} is not a .safetensors file")
    if not file.is_file():
        raise ModelError(f"there is no file {file}")
    return Lora(path=str(file.resolve()), sha256=_sampled(file), scale=scale, in_text=_changes_texts(file))


def _changes_texts(file: Path) -> bool:
    """Whether a LoRA holds weights of text encoders, in the spelling of diffusers, kohya or ComfyUI."""
    try:
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return any(re.match(r"text_encoder|lora_te|te\d?_|text_model", name) for name in header)
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        raise ModelError(f"{file} is no safetensors file: {error}") from None


def _hub_revision(repo: str, wanted: str, *, online: bool) -> str:
    """The commit a revision means: from the local cache, else from the Hub; "" when not known."""
    if len(wanted) == 40 and set(wanted) <= set("0123456789abcdef"):
        return wanted
    reference = cache_folder(repo) / "refs" / wanted
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    if not online:
        return ""
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(repo, revision=wanted, timeout=20).sha)
    except Exception as error:
        raise refusal(error, repo, wanted) from error
