"""Configuration files that lead elsewhere: to another model, or to code that is fetched by its name.

transformers loads what a configuration names. A component that is an adapter has the name of the model that it is
for, an attention may be a kernel of the Hub, and a backbone a model of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batch.base.errors import ModelError
from batch.catalogue import weights
from batch.hub import folders

ADAPTER = "adapter_config.json"

_IMPLEMENTATIONS = {
    f"{hidden}{kind}_implementation{internal}"
    for kind in ("attn", "experts") for hidden in ("", "_") for internal in ("", "_internal")
}  # fmt: skip
_NAMES = _IMPLEMENTATIONS | {"backbone", "backbone_checkpoint"}
"""Keys of which a plain word is harmless, and ``owner/name`` or ``hf-hub:name`` is not."""

_NEVER = {"use_pretrained_backbone", "configuration_files"}
"""Keys that have other weights, or other files, be read in place of these."""


def check(name: str, folder: Path) -> None:
    """Raise :class:`ModelError` for a model of which a component leads elsewhere."""
    for part in (".", *weights.components(folders.index_of(folder))):
        check_component(name, folder, part)


def check_component(name: str, folder: Path, part: str = ".") -> None:
    """Raise :class:`ModelError` for a component that leads elsewhere; ``.`` is the folder itself."""
    if (folder / part / ADAPTER).exists():
        place = ADAPTER if part == "." else f"{part}/{ADAPTER}"
        raise ModelError(
            f"{name} holds {place}: an adapter, which names another model to be loaded. Adapters are named with "
            "lora"
        )
    for path in sorted((folder / part).glob("config*.json")):
        if found := next(_leads(folders.json_of(path)), ""):
            raise ModelError(
                f"{name} leads elsewhere: {found} in {path.relative_to(folder).as_posix()}. Only what lies in a "
                "model's folder is loaded; remove the key"
            )


def _leads(config: object) -> Iterator[str]:
    """Keys with a value that names what lies elsewhere, at any depth."""
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            for key, value in item.items():
                if (key in _NEVER and value) or (key in _NAMES and any(map(_is_place, _texts(value)))):
                    yield key
            pending += item.values()
        elif isinstance(item, list):
            pending += item


def _texts(value: object) -> Iterator[str]:
    """The texts of a value: one, or of each part of the model one."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (item for item in value.values() if isinstance(item, str))


def _is_place(text: str) -> bool:
    return "/" in text or ":" in text
