"""Models that diffusers has in blocks alone, not as a pipeline: their index, as all others are read.

Such a folder holds ``modular_model_index.json``. Of a component that says three things: its library, its class,
and where its files lie, which may be another repository, or the folder of whoever saved it. diffusers takes what
lies in the model's own folder first; here nothing else is taken, and what does not lie there is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Config = Mapping[str, Any]
"""What a configuration file says."""

Read = Callable[[str], Config | None]
"""A configuration file by its path in the model; None when it is not there."""

INDEX = "modular_model_index.json"
CLASSIC = "model_index.json"

PLACES = "_places"
"""Key of a translated index: where the components' files lie, as the model's own file says."""

_BLOCKS = "_blocks_class_name"
_GUIDER = "guider"
"""Guidance is the task's."""

_SCHEDULER = "scheduler/scheduler_config.json"
_OF_FLUX3 = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 6.93}
_SCHEDULERS = {"Flux3ModularPipeline": _OF_FLUX3, "Flux3DistilledModularPipeline": _OF_FLUX3}
"""Of pipelines whose blocks make their scheduler themselves, so that nobody saves it."""


def translated(read: Read) -> Read:
    """Configuration files by their path; the index is a pipeline's, even where there is one of blocks only."""

    def found(path: str) -> Config | None:
        here = read(path)
        if here is None and path == CLASSIC:
            blocks = read(INDEX)
            return None if blocks is None else classic(blocks)
        if here is None and path == _SCHEDULER:
            return _SCHEDULERS.get(str((read(INDEX) or {}).get("_class_name")))
        if here is not None and path == CLASSIC:
            return {key: value for key, value in here.items() if key != PLACES}
        return here

    return found


def classic(blocks: Config) -> dict[str, Any]:
    """The index of a pipeline that says the same."""
    made: dict[str, Any] = {}
    places: dict[str, str] = {}
    for name, value in blocks.items():
        if not (isinstance(value, list) and len(value) == 3 and isinstance(value[2], dict)):
            made[name] = value
            continue
        library, kind, said = value
        if name == _GUIDER:
            continue
        hint = said.get("type_hint")
        if library is None and isinstance(hint, list) and len(hint) == 2:  # not loaded where this was saved
            library, kind = hint
        made[name] = [library, kind]
        place = said.get("pretrained_model_name_or_path") or said.get("repo")
        places[name] = "/".join(str(part) for part in (place, said.get("subfolder")) if part)
    return {**made, _BLOCKS: blocks.get(_BLOCKS) or "", PLACES: places}


def file_of(index: Config) -> str:
    """The name of the file that an index was read from."""
    return INDEX if PLACES in index else CLASSIC
