"""Which pictures are compared with which.

Two images belong together when their ``picture_id`` is the same, which leaves the memory setting out. The
reference is the setting that the first run names first; where that is not done anywhere, the next one. A setting
is compared with the reference of its own run, so that the difference is the setting's and not the card's, and the
reference of a run with that of the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from batch.records.receipts import Receipt
from batch.report.compare.pixels import SAME, of_files
from batch.report.images import memory_used
from batch.store.images.reading import read_pixels

if TYPE_CHECKING:
    from batch.report.compare.pixels import Difference
    from batch.report.compare.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneImage:
    """A done image and the run it is in."""

    run: Run
    receipt: Receipt

    @property
    def path(self) -> Path:
        """Its file."""
        return self.run.root / self.receipt.file.path

    @property
    def key(self) -> tuple[str, str]:
        """Its run's label and its id."""
        return self.run.label, self.receipt.task.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A picture, the one it was compared with, and how far they are apart."""

    picture: DoneImage
    base: DoneImage
    difference: Difference

    @property
    def named_base(self) -> str:
        """What the picture was compared with: the setting, and the run where that is another one."""
        setting = memory_used(self.base.receipt)
        return setting if self.base.run is self.picture.run else f"{self.base.run.label}: {setting}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the settings of one picture are compared with."""

    base: DoneImage
    setting: str
    wanted: str
    """The setting that was to be it: the first one named."""
    touched: str
    """What somebody did to the picture of that setting, where that is why it is not it."""
    own: Mapping[str, DoneImage]
    """The same setting by run, where it is done there: a picture is compared with its own run's."""

    def base_of(self, picture: DoneImage) -> DoneImage | None:
        """What a picture is compared with; None for the reference itself."""
        own = self.own.get(picture.run.label)
        if own is not None and own.receipt is not picture.receipt:
            return own
        return None if self.base.receipt is picture.receipt else self.base


def references(runs: Sequence[Run]) -> dict[str, Reference]:
    """By ``picture_id``. What warms a measurement's process up is no picture; the first repeat stands for all."""
    found: dict[str, dict[str, dict[str, DoneImage]]] = defaultdict(lambda: defaultdict(dict))
    touched: dict[tuple[str, str], str] = {}
    for run in runs:
        for image in run.images:
            if not image.task.warmup:
                there = found[image.task.picture_id][image.task.memory]  # in order, also where it is not done
                if image.touched and image.touched.shows:
                    touched[image.task.picture_id, image.task.memory] = str(image.touched)
                elif image.receipt:
                    there.setdefault(run.label, DoneImage(run=run, receipt=image.receipt))
    chosen = {}
    for picture, settings in found.items():
        setting, own = next(((name, own) for name, own in settings.items() if own), ("", {}))
        if own:
            base, wanted = next(iter(own.values())), next(iter(settings))
            why = touched.get((picture, wanted), "")
            chosen[picture] = Reference(base=base, setting=setting, wanted=wanted, own=own, touched=why)
    return chosen


def pairs(runs: Sequence[Run], found: Mapping[str, Reference], unread: list[str]) -> Iterator[Pair]:
    """Compare every picture that has another one to be compared with, by the references ``found``.

    Reads the files that differ; what cannot be read is said in ``unread``.
    """
    wanted = []
    for run in runs:
        for image in run.images:
            if image.receipt is None or image.task.warmup:
                continue
            picture = DoneImage(run=run, receipt=image.receipt)
            if image.touched and image.touched.shows:
                unread.append(f"not compared: {picture.path}: {image.touched.change}")
            elif (base := found[image.task.picture_id].base_of(picture)) is not None:
                wanted.append((picture, base))
    wanted.sort(key=lambda pair: str(pair[1].path))  # each reference is decoded once
    pixels = lru_cache(maxsize=2)(read_pixels)
    for picture, base in tqdm(wanted, desc="comparing", unit="image", disable=None, leave=False):
        try:
            one, other = picture.receipt.file, base.receipt.file
            same = one.sha256 == other.sha256 or "" != one.pixels_sha256 == other.pixels_sha256
            apart = SAME if same else of_files(base.path, picture.path, pixels)
        except (OSError, ValueError) as error:
            unread.append(f"not compared: {picture.path} with {base.path}: {error}")
        else:
            yield Pair(picture=picture, base=base, difference=apart)
