"""Drives an engine through the tasks of a plan: models first, and texts before the images that need them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batch import engines
from batch.base.errors import UserError
from batch.engines.base import admit_all
from batch.engines.ray.choice import RayChoice
from batch.hub.downloads import FetchOptions
from batch.hub.ensure import ensure
from batch.hub.models import source
from batch.plan.alike import session_key
from batch.plan.texts import each_text
from batch.records.events import Crew, Encoded, Happening, Listener, Loading, Preparing
from batch.records.kinds import HappeningKind
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task
from batch.render.diffusers_backend import Diffusers
from batch.run import encoders
from batch.run.portions import Portions
from batch.store.embeds import EmbedCache

if TYPE_CHECKING:
    from batch.engines.base import Admit, Check, Engine, Helm
    from batch.engines.keep import Keep
    from batch.plan.alike import SessionKey
    from batch.plan.plan import Plan
    from batch.records.spec import ModelSource
    from batch.render.backend import Backend
    from batch.run.portions import Ahead
    from batch.store.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """Which engine renders, and where."""

    name: str = ""
    """Empty takes the default."""
    devices: str | None = None
    backend: Backend = field(default_factory=Diffusers)
    keep: Keep | None = None
    """A worker that runs share, one after the other."""
    ray_address: str = ""
    """Of the Ray cluster; empty starts one."""


def all_ahead(tasks: Iterable[Task]) -> Iterable[Task]:
    """There are no limits."""
    return tasks


def render(
    plan: Plan,
    tasks: Sequence[Task],
    folder: RunFolder,
    spec: RunSpec,
    engine: EngineChoice,
    listener: Listener,
    *,
    stop: Helm,
    admit: Admit = admit_all,
    check: Check = admit_all,
    ahead: Ahead = all_ahead,
) -> Iterator[Outcome]:
    """Render tasks of a plan into a folder through the engine; yields the outcome of every image.

    Of ``spec`` the device and the models are filled in. ``admit`` is asked before each image is started, ``check``
    before a pause whether the next one may be, ``ahead`` which of those that wait limits would let start: texts
    are encoded for no others. Models that are not on this machine are downloaded first; a session reads local
    files only.
    """
    if not tasks:
        return
    models = {name: plan.models[name] for name in dict.fromkeys(task.model for task in tasks)}
    ensure(models.values(), FetchOptions(listener=listener, stop=stop))
    ray = RayChoice(address=engine.ray_address, models=tuple(models.values()), tasks=tasks, listener=listener)
    made = engines.make(engine.name or engines.default(), folder.own, engine.backend, engine.keep, ray)
    try:
        listener.on(Preparing("starting torch, which renders"))
        seated = made.start(engine.devices, stop, most=1 if spec.measure else len(tasks))
        for note in seated.notes:
            listener.on(Happening(kind=HappeningKind.SEAT_LEFT, text=note))
        listener.on(Crew(seated.seats))
        device = seated.seats[0].device
        if spec.vram_limit is not None and not device.startswith("cuda"):
            raise UserError(
                "--vram-limit has no effect here: it caps what a process takes of an NVIDIA card, and this run "
                f"renders on {device}"
            )
        sources = {name: source(model) for name, model in models.items()}
        spec = replace(spec, device=device, models=sources)
        if spec.measure:
            yield from _measured(made, plan, tasks, spec, listener, stop, admit)
            return
        if spec.latents:
            listener.on(Loading(0))
            yield from made.execute(tasks, spec, listener, stop=stop, admit=admit, check=check)
            return
        here = max(Counter(seat.host for seat in seated.seats).values())
        spec = replace(spec, models=_settled(sources, tasks, spec, engine.devices, here))
        portions = Portions(spec, listener, ahead, len(seated.seats))
        work = made.execute(tasks, spec, listener, stop=stop, admit=admit, check=check, texts=portions)
        for outcome in work:
            if not portions.encoded(outcome):
                yield outcome
    finally:
        made.close()


def _settled(
    sources: dict[str, ModelSource], tasks: Sequence[Task], spec: RunSpec, devices: str | None, workers: int
) -> dict[str, ModelSource]:
    """Models, with whether their text encoders stay beside what renders, of so many workers on one machine."""
    found = encoders.by_model(tasks)
    return {
        name: replace(
            item,
            keeps_encoders=not encoders.apart(
                item,
                found[name],
                spec.device,
                limit=spec.vram_limit,
                recycled=spec.recycle_after > 0,
                devices=devices,
                workers=workers,
            ),
        )
        for name, item in sources.items()
    }


def _measured(
    made: Engine, plan: Plan, tasks: Sequence[Task], spec: RunSpec, listener: Listener, stop: Helm, admit: Admit
) -> Iterator[Outcome]:
    """All texts first, so that what encoding takes is measured by itself."""
    work = with_texts(tasks, plan, spec.device, EmbedCache(Path(spec.cache)))
    texts = {item.key for item in work if isinstance(item, EncodeTask)}
    listener.on(Loading(len(texts)))
    encoded = 0
    for outcome in made.execute(work, spec, listener, stop=stop, admit=admit):
        if outcome.key in texts:
            encoded += 1
            listener.on(Encoded(encoded, len(texts)))
        else:
            yield outcome


def with_texts(tasks: Sequence[Task], plan: Plan, device: str, cache: EmbedCache) -> list[Task | EncodeTask]:
    """The tasks, with the texts that are not in the cache before the first task of their session."""
    texts: dict[SessionKey, list[EncodeTask]] = {}
    for text in each_text(tasks, lambda name: plan.models[name].family, device):
        if not cache.has(text.key):
            texts.setdefault(session_key(text), []).append(text)
    work: list[Task | EncodeTask] = []
    for task in tasks:
        work.extend(texts.pop(session_key(task), ()))
        work.append(task)
    return work
