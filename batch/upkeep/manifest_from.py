"""Pictures and run folders back to a manifest that renders them again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batch.base.errors import UserError
from batch.manifest import recover
from batch.manifest.foreign.draft import named
from batch.manifest.recovered import Recovered
from batch.manifest.writing import to_data, to_yaml
from batch.records.kinds import RunKind
from batch.store.folder import RunFolder
from batch.upkeep.albums import Album
from batch.upkeep.changes import Changes
from batch.upkeep.fitting import Fitting
from batch.upkeep.picks import read_picks
from batch.upkeep.pictures import expanded, read_pictures

if TYPE_CHECKING:
    from batch.upkeep.picks import Picked

Only = Literal["done", "failed", "missing"]

Found = list[tuple[str, Recovered]]
"""Pictures by the name they came from."""

MOST_REASONS = 5
"""Of pictures that say nothing, where there are others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which pictures, and what of them is to be another."""

    only: Only | None = None
    """Of run folders the tasks in one state."""
    picks: Path | None = None
    """A list of images of run folders: see :mod:`batch.upkeep.picks`."""
    model: str | None = None
    """In place of the models of all."""
    overrides: Sequence[str] = ()
    """``KEY=VALUE`` of ``--set``."""


def manifest_from(sources: Sequence[Path], wanted: Wanted, path: Path = Path()) -> tuple[str, list[str]]:
    """The YAML of a manifest, and what could not be carried over, which stands in its comments, too.

    A source is an image, a pattern of images, a folder with images, a log of Fooocus, or a run folder. ``path`` is
    where the manifest will lie. Raises :class:`UserError` where nothing is said of any picture.
    """
    changes = Changes.read(wanted.overrides, wanted.model)
    found, notes, head = _found(sources, wanted)
    if not found:
        raise UserError(f"no {wanted.only or 'planned'} image in {', '.join(map(str, sources))}")
    fitting = Fitting(path.parent, changes.model, frozenset(changes.axes))
    for asked in (each for _, picture in found for each in changes.each(picture)):
        fitting.fitted(asked)  # raises where a value is none for the model
    fitted = [(name, fitting.fitted(changes.before(picture))) for name, picture in found]
    pictures = [(name, changes.of(picture)) for name, picture in fitted]
    _check_texts(pictures)
    outputs = [dict(picture.output) for _, picture in pictures]
    if any(output != outputs[0] for output in outputs):
        notes.append("the pictures are of several formats; the manifest writes png")
    if places := dict.fromkeys(
        place for _, picture in fitted for place in recover.places(changes.without(picture))
    ):
        notes.append(f"look at the places that the pictures name before you run it: {named(places)}")
    size = changes.axes.get("size")
    if size is not None and any(picture.axes.get("size", size) != size for _, picture in found):
        notes.append("at another size the same seed is another picture")
    notes += _merged([picture for _, picture in found], [picture for _, picture in pictures], changes.several)
    notes += _by_note(pictures)
    data = to_data([picture for _, picture in pictures], head, changes.several)
    data = changes.apply(data, path)
    return to_yaml(data, [name for name, _ in pictures], notes), notes


def _found(sources: Sequence[Path], wanted: Wanted) -> tuple[Found, list[str], Mapping[str, object]]:
    """The pictures of the sources, what is to be said of them, and what makes a measurement of the manifest."""
    paths = expanded(sources)
    runs = [path for path in paths if RunFolder(path).exists()]
    if len(runs) < len(paths):
        other = next(path for path in paths if path not in runs)
        for option, value in (("--only", wanted.only), ("--picks", wanted.picks)):
            if value is not None:
                raise UserError(f"{other} is not a run folder; {option} is for run folders")
    pictures, notes = _from_images([path for path in paths if path not in runs])
    albums = [Album.opened(run) for run in runs]
    head = _measured(albums) if runs and len(runs) == len(paths) else {}
    chosen = _chosen(albums, wanted)
    return [*pictures, *_from_runs(chosen, measured=bool(head))], notes, head


def _chosen(albums: Sequence[Album], wanted: Wanted) -> list[Picked]:
    if wanted.picks is None:
        chosen = [(album, task.id) for album in albums for task in album.tasks]
        chosen = [(album, key) for album, key in chosen if not album.by_id[key].warmup]
    else:
        chosen = read_picks(wanted.picks, albums)
    found = [(album, key) for album, key in chosen if wanted.only in (None, album.state(key))]
    if chosen and not found and wanted.picks is not None:
        raise UserError(f"no image that the list of picks names is {wanted.only}")
    return found


def _check_texts(pictures: Found) -> None:
    one, texts = pictures[0][0], pictures[0][1].texts
    if another := next((name for name, picture in pictures if picture.texts != texts), None):
        raise UserError(
            f"{one} and {another} differ in long_prompts or prompt_syntax, which hold for a whole manifest; "
            "make one of each kind"
        )


def _from_images(paths: Sequence[Path]) -> tuple[Found, list[str]]:
    """What images say; of many, those that say nothing are told, and left out."""
    found: Found = []
    silent: list[str] = []
    for path in paths:
        try:
            found += read_pictures(path)
        except UserError as error:
            if len(paths) == 1 or not path.exists():
                raise
            silent.append(str(error))
    if silent and not found:
        raise UserError("\n".join(silent[:MOST_REASONS]) + _more(silent))
    return found, [*silent[:MOST_REASONS], *([f"{_more(silent).strip()} say nothing"] if _more(silent) else [])]


def _more(silent: Sequence[str]) -> str:
    return f"\nand {len(silent) - MOST_REASONS:,} more" if len(silent) > MOST_REASONS else ""


def _by_note(pictures: Found) -> Iterator[str]:
    """What is to be said of pictures, each thing once."""
    names: dict[str, list[str]] = {}
    for name, picture in pictures:
        for note in dict.fromkeys(picture.notes):
            names.setdefault(note, []).append(name)
    for note, those in names.items():
        more = f" and {len(those) - 1:,} more" if len(those) > 1 else ""
        yield f"{those[0]}{more}: {note}"


def _merged(before: Sequence[Recovered], after: Sequence[Recovered], several: Collection[str]) -> Iterator[str]:
    """That pictures have become one: they differed in nothing but what is now the same for all of them.

    Each is then made under every value of the axes that have ``several``.
    """
    groups: dict[frozenset[object], list[dict[str, str]]] = {}
    for old, new in zip(before, after, strict=True):
        axes, alike = _shown(old), groups.setdefault(frozenset(_shown(new).items()), [])
        if axes not in alike:
            alike.append(axes)
    merged = [alike for alike in groups.values() if len(alike) > 1]
    if merged:
        names = {name: None for alike in merged for axes in alike for name in axes if _differs(name, alike)}
        count = sum(map(len, merged))
        each = f", under each value of {' and '.join(sorted(several))}" if several else ""
        yield f"{count:,} pictures that differed in {' and '.join(names)} alone become {len(merged):,}{each}"


def _shown(picture: Recovered) -> dict[str, str]:
    """The axes as texts, which compare whatever the values are."""
    return {name: repr(value) for name, value in picture.axes.items()}


def _differs(name: str, pictures: Sequence[Mapping[str, str]]) -> bool:
    return any(axes.get(name) != pictures[0].get(name) for axes in pictures)


def _measured(albums: Iterable[Album]) -> Mapping[str, object]:
    """What makes a measurement of a manifest, where all of the runs are measurements."""
    if any(album.folder.kind() != RunKind.MEASURE for album in albums):
        return {}
    return {"kind": "measure", "repeats": max(task.repeat or 1 for album in albums for task in album.tasks)}


def _from_runs(chosen: Iterable[Picked], *, measured: bool) -> Iterator[tuple[str, Recovered]]:
    """Tasks of runs. A measurement that becomes no measurement has every picture once: a setting is none."""
    once: dict[object, Picked] = {}
    for album, key in chosen:
        task = album.by_id[key]
        same = ((task.memory if measured else ""), task.picture_id) if task.repeat else key
        once.setdefault((album, same), (album, key))
    for album, key in once.values():
        task = album.by_id[key]
        try:
            picture = recover.of_task(task)
        except ValueError as error:
            raise UserError(f"{task.name} of {album.root} cannot be said in a manifest: {error}") from None
        receipt, model = album.scan.receipts.get(key), picture.axes["model"]
        # Said, and not written: what runs code is allowed by whoever runs it.
        allowed = receipt.allowed if receipt else ()
        notes = [f"{model} needs `{name}: [{model}]` in the manifest" for name in allowed]
        yield task.name, replace(picture, notes=(*picture.notes, *notes))
