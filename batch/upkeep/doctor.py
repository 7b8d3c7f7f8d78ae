"""What this machine has, and what keeps it from rendering.

Looks at each thing by itself and goes on where one is missing or broken: torch is asked in a child process,
the driver through NVML, the packages through their metadata. Prints nothing.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from batch import __version__, hub
from batch.base import disk, machine
from batch.manifest.schema import RunOptions
from batch.render import probe
from batch.store.embeds import default_folder

PROBE_SECONDS = 180
"""The first import of torch and diffusers from a cold, slow disk takes minutes."""

NOT_FOR_USERS = {"test", "dev"}

DISTRIBUTION = "run-batch"

ROOM_FOR_A_MODEL = 20 * 2**30
"""Bytes: SANA takes 10 GiB, Flux 32 GiB. With less, how to move the models is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something to know; ``stops`` when nothing can be rendered until it is put right."""

    text: str
    remedy: str = ""
    stops: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU as the driver shows it; memory in bytes."""

    name: str
    memory: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Torch:
    """What torch said of itself; ``stage`` and ``error`` are set where it failed: torch, cuda or diffusers."""

    version: str | None = None
    cuda: str | None = None
    mps: bool = False
    devices: tuple[Mapping[str, Any], ...] = ()
    stage: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder the program writes to, its free space in bytes, and what moves it elsewhere."""

    what: str
    path: str
    free: int | None
    moved_by: str
    decided_by: str = ""
    """The variable that says it is there; empty for the place where it is by itself."""
    used: int | None = None
    """Bytes in it, where they count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Everything that was looked at."""

    program: str
    python: str
    executable: str
    system: str
    cores: int
    memory: int
    memory_free: int
    driver: str
    cards: tuple[Card, ...]
    torch: Torch
    no_compiler: str
    """Why models cannot be compiled for a card; empty where they can."""
    packages: Mapping[str, str | None]
    extras: Mapping[str, Mapping[str, str | None]]
    """By extra, its packages and their versions; None is missing."""
    places: tuple[Place, ...]
    notes: tuple[Note, ...]

    @property
    def device(self) -> str:
        """What a run would render on: ``cuda``, ``mps`` or ``cpu``; empty where nothing can be rendered."""
        if any(note.stops for note in self.notes):
            return ""
        return "cuda" if self.torch.devices else "mps" if self.torch.mps else "cpu"


def examine() -> Examination:
    """Look at the machine. Takes as long as importing torch and diffusers."""
    import psutil

    needed, extras = _requirements()
    driver, cards = _nvidia()
    torch = _torch()
    places = _places()
    memory = psutil.virtual_memory()
    notes = [*_package_notes(needed), *torch_notes(torch, cards), *_place_notes(places), *_switch_notes()]
    return Examination(
        program=__version__,
        python=platform.python_version(),
        executable=sys.executable,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        memory=memory.total,
        memory_free=memory.available,
        driver=driver,
        cards=cards,
        torch=torch,
        no_compiler=machine.no_compiler(),
        packages={item.name: _version(item.name) for item in needed},
        extras={
            extra: {item.name: _version(item.name) for item in items} for extra, items in sorted(extras.items())
        },
        places=places,
        notes=tuple(notes),
    )


# Packages


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What the program needs, and what each extra adds: from the checkout, else as it was installed."""
    here = Path(__file__).parents[2] / "pyproject.toml"
    try:
        project = tomllib.loads(here.read_text(encoding="utf-8"))["project"]
        if project["name"] == DISTRIBUTION:
            extras = project.get("optional-dependencies", {})
            return _here(project["dependencies"]), {
                extra: _here(lines) for extra, lines in extras.items() if extra not in NOT_FOR_USERS
            }
    except (OSError, ValueError, KeyError):
        pass
    return _installed_requirements()


def _installed_requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    try:
        lines = metadata.requires(DISTRIBUTION) or []
        names = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return [], {}
    needed = _here(lines)
    known = {str(item) for item in needed}
    return needed, {
        extra: [item for item in _here(lines, extra) if str(item) not in known]
        for extra in names
        if extra not in NOT_FOR_USERS
    }


def _here(lines: Iterable[str], extra: str = "") -> list[Requirement]:
    """The requirements that count on this system, with the extra switched on."""
    items = [Requirement(line) for line in lines]
    return [item for item in items if item.marker is None or item.marker.evaluate({"extra": extra})]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _plain(item: Requirement) -> str:
    return f"{item.name}{item.specifier}"


def _package_notes(needed: list[Requirement]) -> list[Note]:
    found = {item: _version(item.name) for item in needed if item.name != "torch"}  # torch speaks for itself
    missing = [item for item, version in found.items() if version is None]
    old = [
        item
        for item, version in found.items()
        if version is not None and not item.specifier.contains(version, prereleases=True)
    ]
    notes = []
    if missing:
        names = ", ".join(item.name for item in missing)
        notes.append(
            Note(text=f"not installed: {names}", remedy=machine.install(map(_plain, missing)), stops=True)
        )
    if old:
        names = ", ".join(f"{item.name} {found[item]} ({item.specifier} is needed)" for item in old)
        notes.append(Note(text=f"of another version: {names}", remedy=machine.install(map(_plain, old))))
    return notes


def extra_remedy(extra: str) -> str:
    """The command that installs what an extra lacks."""
    _, extras = _requirements()
    return machine.install(_plain(item) for item in extras[extra] if _version(item.name) is None)


# Devices


def _nvidia() -> tuple[str, tuple[Card, ...]]:
    """The driver's version and its cards; empty without an NVIDIA driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - no package, no driver, or one that does not answer: no card to show
        return "", ()
    driver, cards = "", []
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            cards.append(Card(name=str(pynvml.nvmlDeviceGetName(handle)), memory=memory.total, free=memory.free))
    except pynvml.NVMLError:  # a card that has fallen off the bus: what was found stands
        pass
    return driver, tuple(cards)


def _torch() -> Torch:
    # -P: the script's own folder must not be searched for modules.
    command = [sys.executable, "-P", "-W", "ignore", probe.__file__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Torch(stage="torch", error=f"it did not load within {PROBE_SECONDS} seconds")
    try:
        facts = json.loads(done.stdout.strip().splitlines()[-1])
        return Torch(**{**facts, "devices": tuple(facts["devices"])})
    except (ValueError, IndexError, TypeError):
        said = done.stderr.strip().splitlines()
        why = f": {said[-1]}" if said else ""
        return Torch(stage="torch", error=f"loading it ended the process with code {done.returncode}{why}")


def torch_notes(torch: Torch, cards: tuple[Card, ...]) -> list[Note]:
    """What is wrong between torch, the driver and the cards."""
    if torch.stage == "torch":
        remedy = machine.install_cuda_torch() if cards else machine.install(["torch"])
        return [Note(text=f"torch cannot be loaded: {torch.error}", remedy=remedy, stops=True)]
    notes = []
    if torch.stage == "diffusers":
        text = f"diffusers cannot be loaded: {torch.error}"
        notes.append(
            Note(text=text, remedy=machine.install(["--upgrade", "diffusers", "transformers"]), stops=True)
        )
    if cards and not torch.cuda:
        text = (
            f"torch {torch.version} is a CPU-only build, and this machine has an NVIDIA card; "
            "a run ends at once unless it is told --devices cpu"
        )
        notes.append(Note(text=text, remedy=machine.install_cuda_torch(), stops=True))
    elif torch.stage == "cuda":
        text = f"torch {torch.version} cannot use the card: {torch.error}"
        notes.append(
            Note(
                text=text,
                remedy="install the newest driver from nvidia.com, or render with --devices cpu",
                stops=True,
            )
            if cards
            else Note(text=text)
        )
    elif len(torch.devices) != len(cards) and cards:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = f"CUDA_VISIBLE_DEVICES is {visible!r}" if visible is not None else "the driver hides the others"
        notes.append(Note(text=f"torch sees {len(torch.devices)} of {len(cards)} cards: {why}"))
    return notes


# Places


def _places() -> tuple[Place, ...]:
    pictures, models, embeddings = Path("outputs").absolute(), hub.hub_cache(), default_folder()
    return (
        Place(what="pictures", path=str(pictures), free=disk.free(pictures), moved_by="--out"),
        Place(
            what="models",
            path=str(models),
            free=disk.free(models),
            moved_by="--cache-dir, HF_HUB_CACHE or HF_HOME",
            decided_by=hub.decided_by(),
            used=_used(models),
        ),
        Place(
            what="prompt embeddings",
            path=str(embeddings),
            free=disk.free(embeddings),
            moved_by="RUN_BATCH_CACHE",
            decided_by="RUN_BATCH_CACHE" if os.environ.get("RUN_BATCH_CACHE", "").strip() else "",
        ),
    )


def _used(folder: Path) -> int:
    """Bytes of the files in a folder; links count nothing."""
    size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(f"{root}/{name}").st_size
    return size


def _place_notes(places: tuple[Place, ...]) -> list[Note]:
    notes = []
    floor = RunOptions().min_free_disk
    for place in places:
        if place.free is None or not disk.writable(Path(place.path)):
            text = f"{place.path} cannot be written ({place.what})"
            notes.append(Note(text=text, remedy=f"name another folder with {place.moved_by}", stops=True))
        elif place.what == "pictures" and place.free < floor:
            text = (
                f"{place.free / 2**30:.1f} GiB are free for pictures, less than run.min_free_disk "
                f"({floor / 2**30:.0f} GiB unless the manifest says otherwise): a run stops before it begins"
            )
            notes.append(
                Note(text=text, remedy="make room, or name a folder on another disk with --out", stops=True)
            )
        elif place.what == "models" and place.free < ROOM_FOR_A_MODEL:
            text = (
                f"{place.free / 2**30:.1f} GiB are free for models in {place.path}, and one takes 5 to 30 GiB. To "
                "move them: make a folder on a larger disk, move what is in this one there, and set HF_HUB_CACHE "
                "to it for good; or name it with --cache-dir each time"
            )
            notes.append(Note(text=text, remedy=_set_for_good("HF_HUB_CACHE")))
    return notes


def _set_for_good(variable: str) -> str:
    """How a variable is set for every terminal to come."""
    if os.name == "nt":
        return f'setx {variable} "D:\\models"    (then open a new terminal)'
    profile = "~/.zprofile" if sys.platform == "darwin" else "~/.profile"
    return f"echo 'export {variable}=/mnt/large/models' >> {profile}    (then log in anew)"


def _switch_notes() -> list[Note]:
    notes = [Note(text=text) for text in hub.old_switches()]
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        notes.append(Note(text="HF_HUB_OFFLINE is set: only models that are on this machine can be rendered"))
    return notes
