"""Drives an engine through the tasks of a plan: texts before images, what happens to who watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from batch import engines, hub
from batch.base.errors import UserError
from batch.engines.base import Beat, Control
from batch.plan import Plan, encode_tasks
from batch.plan.alike import SessionKey, session_key
from batch.records import EncodeTask, Happening, Outcome, RunSpec, Task
from batch.store.embeds import EmbedCache, default_folder
from batch.store.folder import RunFolder


class Watcher(hub.Teller, Protocol):
    """What is told while images are rendered; before that, while models are downloaded."""

    def loading(self, texts: int) -> None:
        """The model is about to be loaded and that many texts encoded."""

    def encoding(self, text: int, texts: int) -> None:
        """So many texts of so many are encoded."""

    def step(self, name: str, step: int, steps: int) -> None:
        """One denoising step of the current image is done."""

    def happened(self, happening: Happening) -> None:
        """Something that the user should know: memory ran out, the worker died."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Which engine renders, and where."""

    name: str = ""
    """Empty takes the default."""
    devices: str | None = None
    faults: tuple[Any, ...] = ()
    """Not empty: the stand-in session goes through these."""


def render(
    plan: Plan,
    tasks: Sequence[Task],
    folder: RunFolder,
    engine: Engine,
    watcher: Watcher,
    *,
    stop: Event,
    settings: Mapping[str, Any],
    admit: Callable[[Task], None] = lambda _task: None,
) -> Iterator[Outcome]:
    """Render tasks of a plan into a folder through the engine; yields the outcome of every image.

    ``settings`` are fields of :class:`~batch.records.RunSpec`. ``admit`` is asked before each image is
    started. Models that are not on this machine are downloaded first; a session reads local files only.
    """
    if not tasks:
        return
    models = {name: plan.models[name] for name in dict.fromkeys(task.model for task in tasks)}
    hub.ensure(models.values(), hub.Fetching(tell=watcher, stop=stop))
    made = engines.make(engine.name or engines.default(), folder.state, fake=bool(engine.faults))
    try:
        device = made.start(engine.devices, stop)
        spec = RunSpec(
            root=str(folder.root),
            device=device,
            models={name: hub.source(model) for name, model in models.items()},
            runner=folder.runner,
            **{"cache": str(default_folder()), **settings},
        )
        _check_limit(spec)
        work = list(tasks) if spec.latents else with_texts(tasks, plan, device, EmbedCache(Path(spec.cache)))
        texts = {item.key for item in work if isinstance(item, EncodeTask)}
        watcher.loading(len(texts))
        encoded = 0
        control = Control(stop, lambda beat: _show(beat, watcher), watcher.happened, admit)
        for outcome in made.execute(work, spec, control):
            if outcome.key in texts:
                encoded += 1
                watcher.encoding(encoded, len(texts))
            else:
                yield outcome
    finally:
        made.close()


def _check_limit(spec: RunSpec) -> None:
    if spec.vram_limit is not None and not spec.device.startswith("cuda"):
        raise UserError(
            "--vram-limit has no effect here: it caps what a process takes of an NVIDIA card, and this run "
            f"renders on {spec.device}"
        )


def _show(beat: Beat, watcher: Watcher) -> None:
    if beat.stage in {"denoise", "render"} and beat.part:
        watcher.step(beat.name, beat.part, beat.parts)


def with_texts(tasks: Sequence[Task], plan: Plan, device: str, cache: EmbedCache) -> list[Task | EncodeTask]:
    """The tasks, with the texts that are not in the cache before the first task of their session."""
    texts: dict[SessionKey, dict[str, EncodeTask]] = {}
    known: dict[str, bool] = {}
    for task in tasks:
        for text in encode_tasks(task, plan.models[task.model].family, device):
            if text.key not in known:
                known[text.key] = cache.has(text.key)
            if not known[text.key]:
                texts.setdefault(session_key(task), {})[text.key] = text
    work: list[Task | EncodeTask] = []
    for task in tasks:
        work.extend(texts.pop(session_key(task), {}).values())
        work.append(task)
    return work
