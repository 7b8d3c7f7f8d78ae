"""The small world that the demo model learns: captions, and the picture each of them means.

A :class:`Scene` is a caption's content; :func:`caption` says it in words, :func:`paint` draws it in any size,
antialiased, and :func:`cells` names what every cell of the picture shows. Positions are shares of the picture's
sides and sizes shares of its shorter one, so that a scene looks the same in every size.

    python tools/demo_world.py world.png        # a sheet of scenes and their captions
"""

from __future__ import annotations

import argparse
import hashlib
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 60),
    "green": (50, 165, 70),
    "blue": (45, 90, 215),
    "purple": (130, 60, 170),
    "pink": (245, 150, 190),
    "white": (245, 245, 245),
    "black": (25, 25, 28),
}
KINDS = ("circle", "square", "triangle", "star", "heart", "house")
SIZES = {"small": 0.74, "": 1.0, "large": 1.2}
"""How much larger than usual a thing is that is called so."""

NIGHT = (18, 22, 58)
SURFACES = ("plain", "night", "sky", "hills", "water")
NAMES = (*SURFACES, "sun", *KINDS)
"""What a cell can show, in the order of the numbers of :func:`cells`."""

Grid = np.ndarray


@dataclass(frozen=True)
class Thing:
    """One object: its words, and where it is."""

    kind: str
    colour: str
    size: str = ""
    x: float = 0.5
    y: float = 0.5
    radius: float = 0.28
    """In shares of the shorter side."""


@dataclass(frozen=True)
class Scene:
    """What a caption says and a picture shows.

    ``ground`` is "plain" (``colours`` holds the background), "night" (none), "hills" or "water" (sky and ground).
    """

    ground: str
    colours: tuple[str, ...]
    things: tuple[Thing, ...] = ()
    sun: str = ""
    """The sun's colour, "" for none."""
    sun_x: float = 0.75
    wave: float = 0.0
    """Phase of the hills, 0 to 1."""
    places: bool = False
    """The caption says which thing is on the left and which on the right."""
    style: int = 0
    """Which of a caption's ways to say it."""


def _with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _named(thing: Thing) -> str:
    return _with_article(" ".join(word for word in (thing.size, thing.colour, thing.kind) if word))


def caption(scene: Scene) -> str:
    """The scene in words, lower case."""
    if scene.ground in ("hills", "water"):
        return _landscape(scene)
    names = [_named(thing) for thing in scene.things]
    text = f"{names[0]} on the left and {names[1]} on the right" if scene.places else " and ".join(names)
    if scene.ground == "night":
        return f"{text} at night"
    joint = "," if scene.places else ""
    return f"{text}{joint} on {_with_article(scene.colours[0])} background"


def _landscape(scene: Scene) -> str:
    sky, ground = scene.colours
    sun = f"{_with_article(scene.sun)} sun" if scene.sun else ""
    where = f"{ground} {scene.ground}"
    above = f"{_with_article(sky)} sky"
    if scene.things or scene.style == 0:
        house = f"{_named(scene.things[0])} on " if scene.things else ""
        return f"{house}{where} under {above}" + (f" with {sun}" if sun else "")
    return f"{sun} over {where} under {above}" if sun else f"{where} and {above}"


def held_out(scene: Scene) -> bool:
    """Whether training never shows this combination of kinds and colours; sizes and places do not matter."""
    words = [f"{thing.kind} {thing.colour}" for thing in scene.things]
    key = "|".join([*words, scene.ground, *scene.colours, *([scene.sun] if not words else [])])
    return hashlib.sha256(key.encode()).digest()[0] < 32  # one in eight


def draw_scene(random: np.random.Generator, kind: str = "") -> Scene:
    """Any scene: ``kind`` is "one", "two" or "landscape", or chance decides."""
    kind = kind or str(random.choice(["one", "two", "landscape"], p=[0.4, 0.4, 0.2]))
    if kind == "landscape":
        return _draw_landscape(random)
    count = 1 if kind == "one" else 2
    colours = list(random.permutation(list(COLOURS)))
    things = [Thing(_pick(random, KINDS), colours[index], _pick(random, _SIZE_WORDS)) for index in range(count)]
    night = random.random() < 0.15
    if night:
        things = [replace(thing, colour="yellow") if thing.colour == "black" else thing for thing in things]
        ground, background = "night", []
    else:
        ground, background = "plain", [colours[count]]
    scene = Scene(ground, tuple(background), tuple(things), places=count == 2 and random.random() < 0.5)
    return placed(scene, random)


def _draw_landscape(random: np.random.Generator) -> Scene:
    ground = _pick(random, ("hills", "water"))
    sky, land, sun, house = (str(colour) for colour in random.permutation(list(COLOURS))[:4])
    things = (Thing("house", house),) if ground == "hills" and random.random() < 0.4 else ()
    sun = "yellow" if random.random() < 0.3 and "yellow" not in (sky, land, house) else sun
    scene = Scene(ground, (sky, land), things, sun if random.random() < 0.5 else "", style=int(random.integers(2)))
    return placed(scene, random)


_SIZE_WORDS = ("", "", "small", "large")


def _pick(random: np.random.Generator, names: tuple[str, ...]) -> str:
    return str(names[random.integers(len(names))])


def placed(scene: Scene, random: np.random.Generator) -> Scene:
    """The scene with its things put in their places, a little by chance."""
    count = len(scene.things)
    things = []
    for index, thing in enumerate(scene.things):
        jitter_x, jitter_y = random.uniform(-0.02, 0.02, 2)
        scale = SIZES[thing.size] * random.uniform(0.95, 1.05)
        if scene.ground == "hills":
            x, y, radius = 0.38, 0.58, 0.2
        elif count == 1:
            x, y, radius = 0.5, 0.5, 0.28
        else:
            x, y, radius = (0.25, 0.75)[index], 0.5, 0.165
        things.append(replace(thing, x=x + jitter_x, y=y + jitter_y, radius=radius * scale))
    return replace(scene, things=tuple(things), wave=float(random.random()), sun_x=float(random.uniform(0.7, 0.8)))


# Outlines as corners, in shares of the radius around a thing's middle; x right, y down, up to about 1.

_TURN = np.linspace(0, 2 * np.pi, 72, endpoint=False)
Corners = list[tuple[float, float]]


def _corners(x: Grid, y: Grid) -> Corners:
    return list(zip(x.tolist(), y.tolist(), strict=True))


_STAR = np.where(np.arange(10) % 2 == 0, 1.08, 0.45)
_HEART = -(13 * np.cos(_TURN) - 5 * np.cos(2 * _TURN) - 2 * np.cos(3 * _TURN) - np.cos(4 * _TURN)) / 17
OUTLINES: dict[str, Corners] = {
    "circle": _corners(0.95 * np.sin(_TURN), -0.95 * np.cos(_TURN)),
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0.0, -0.95), (1.0, 0.78), (-1.0, 0.78)],
    "star": _corners(_STAR * np.sin(np.arange(10) * np.pi / 5), -_STAR * np.cos(np.arange(10) * np.pi / 5)),
    "heart": _corners(16 * np.sin(_TURN) ** 3 / 17, _HEART - 0.12),
    "house": [(0.0, -0.95), (1.0, -0.1), (0.75, -0.1), (0.75, 0.9), (-0.75, 0.9), (-0.75, -0.1), (-1.0, -0.1)],
}
ROOF = [(0.0, -0.95), (1.0, -0.1), (-1.0, -0.1)]
DOOR = [(-0.18, 0.3), (0.18, 0.3), (0.18, 0.9), (-0.18, 0.9)]
FINE = 4
"""Points a pixel's side, of which the covered ones are counted."""


def covered(corners: Corners, width: int, height: int) -> np.ndarray:
    """The share of each pixel that a polygon covers, [height, width], its corners in pixels."""
    fine = Image.new("L", (width * FINE, height * FINE))
    ImageDraw.Draw(fine).polygon([(x * FINE - 0.5, y * FINE - 0.5) for x, y in corners], fill=255)
    return np.asarray(fine.reduce(FINE), dtype=np.float32) / 255


def _shade(colour: tuple[int, ...] | np.ndarray, factor: float) -> np.ndarray:
    """Darker below 1; above, nearer to white."""
    rgb = np.asarray(colour, dtype=np.float32)
    return rgb * factor if factor <= 1 else rgb + (255 - rgb) * (factor - 1)


def hills(across: Grid, wave: float, aspect: float) -> tuple[Grid, Grid]:
    """How far down the crests of the far and of the near hills are, shares of the height."""
    crest = [
        0.66 + 0.07 * np.sin(2 * np.pi * (across * max(aspect, 1.0) * 0.9 + wave + more)) for more in (0.45, 0)
    ]
    return np.minimum(crest[0] - 0.06, crest[1] + 0.08), crest[1] + 0.08


WATER_LINE = 0.62
SUN = (0.24, 0.12)
"""How far down the sun's middle is, and its radius in shares of the shorter side."""


@dataclass(frozen=True)
class _View:
    """A window into a picture of width x height pixels."""

    width: int
    height: int
    window: tuple[int, int, int, int]
    """Left, top, right, bottom."""

    def points(self) -> tuple[Grid, Grid]:
        """The middles of its pixels, as shares of the picture's sides."""
        left, top, right, bottom = self.window
        across = (np.arange(left, right, dtype=np.float32) + 0.5) / self.width
        down = (np.arange(top, bottom, dtype=np.float32) + 0.5) / self.height
        columns, rows = np.broadcast_arrays(across[None, :], down[:, None])
        return columns, rows

    def lay(self, picture: np.ndarray, corners: Corners, place: tuple[float, float, float], colour: Grid) -> None:
        """Lay a colour over an outline's inside, at a place: x, y and radius."""
        x, y, radius = place
        unit = radius * min(self.width, self.height)
        left, top, _, _ = self.window
        points = [(px * unit + x * self.width - left, py * unit + y * self.height - top) for px, py in corners]
        columns, rows = zip(*points, strict=True)
        first = max(0, int(min(columns)) - 1), max(0, int(min(rows)) - 1)
        last = min(picture.shape[1], int(max(columns)) + 2), min(picture.shape[0], int(max(rows)) + 2)
        if first[0] >= last[0] or first[1] >= last[1]:
            return
        part = picture[first[1] : last[1], first[0] : last[0]]
        within = [(px - first[0], py - first[1]) for px, py in points]
        _cover(part, covered(within, part.shape[1], part.shape[0]), colour)


def paint(scene: Scene, width: int, height: int, window: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """The picture, float32 [height, width, 3], 0 to 255; ``window`` (left, top, right, bottom) paints a part."""
    view = _View(width, height, window or (0, 0, width, height))
    picture = _paint_ground(scene, view)
    for thing in scene.things:
        place = (thing.x, thing.y, thing.radius)
        colour = _shade(COLOURS[thing.colour], 1)
        view.lay(picture, OUTLINES[thing.kind], place, colour)
        if thing.kind == "house":
            dark = _shade(colour, 0.62) if thing.colour != "black" else _shade(colour, 1.3)
            view.lay(picture, ROOF, place, dark)
            view.lay(picture, DOOR, place, dark)
    return picture


def _cover(picture: np.ndarray, share: Grid, colour: Grid) -> None:
    """Lay a colour over a share of each pixel."""
    picture += share[..., None] * (colour - picture)


def _below(line: Grid | float, down: Grid, height: int) -> Grid:
    """The share of each pixel that lies below a line across the picture."""
    return np.clip(0.5 - (line - down) * height, 0, 1)


def _paint_ground(scene: Scene, view: _View) -> np.ndarray:
    across, down = view.points()
    if scene.ground in ("plain", "night"):
        colour = _shade(NIGHT if scene.ground == "night" else COLOURS[scene.colours[0]], 1)
        return (colour * (1.03 - 0.1 * down[..., None])).clip(0, 255).astype(np.float32)
    sky, land = (_shade(COLOURS[name], 1) for name in scene.colours)
    picture = (sky + (255 - sky) * 0.3 * down[..., None]).astype(np.float32)
    if scene.sun:
        place = (scene.sun_x, *SUN)
        view.lay(picture, OUTLINES["circle"], place, _shade(COLOURS[scene.sun], 1))
    if scene.ground == "water":
        _cover(picture, _below(WATER_LINE, down, view.height), land)
        return picture
    far, near = hills(across, scene.wave, view.width / view.height)
    lighter = 1.22 if scene.colours[1] != "white" else 0.88
    _cover(picture, _below(far, down, view.height), _shade(land, lighter))
    _cover(picture, _below(near, down, view.height), land)
    return picture


def cells(scene: Scene, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """What each cell of a grid shows: numbers in :data:`NAMES`, and in :data:`COLOURS` (9 for the night)."""
    view = _View(columns, rows, (0, 0, columns, rows))
    across, down = view.points()
    colours = [*COLOURS, "night"]
    night = scene.ground == "night"
    sky = scene.colours[0] if not night else "night"
    what = np.full((rows, columns), NAMES.index(scene.ground if scene.ground in ("plain", "night") else "sky"))
    colour = np.full((rows, columns), colours.index(sky))

    def mark(inside: Grid, name: str, its_colour: str) -> None:
        what[inside] = NAMES.index(name)
        colour[inside] = colours.index(its_colour)

    def inside(corners: Corners, x: float, y: float, radius: float) -> Grid:
        unit = radius * min(columns, rows)
        return (
            covered([(px * unit + x * columns, py * unit + y * rows) for px, py in corners], columns, rows) > 0.5
        )

    if scene.sun:
        mark(inside(OUTLINES["circle"], scene.sun_x, *SUN), "sun", scene.sun)
    if scene.ground == "water":
        mark(down > WATER_LINE, "water", scene.colours[1])
    elif scene.ground == "hills":
        mark(down > hills(across, scene.wave, columns / rows)[0], "hills", scene.colours[1])
    for thing in scene.things:
        mark(inside(OUTLINES[thing.kind], thing.x, thing.y, thing.radius), thing.kind, thing.colour)
    return what.astype(np.uint8), colour.astype(np.uint8)


def scenes(seed: int, *, kind: str = "", held: bool = False) -> Iterator[Scene]:
    """Scenes without end, the same for the same seed: those of training, or with ``held`` the others."""
    random = np.random.default_rng(seed)
    while True:
        scene = draw_scene(random, kind)
        if held_out(scene) == held:
            yield scene


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sheet", type=Path, help="picture to write: 40 scenes and their captions")
    to = parser.parse_args().sheet
    side, across = 160, 8
    sheet = Image.new("RGB", (across * (side + 8), 5 * (side + 50)), "white")
    write = ImageDraw.Draw(sheet)
    for index, scene in zip(range(across * 5), scenes(0), strict=False):
        x, y = index % across * (side + 8), index // across * (side + 50)
        sheet.paste(Image.fromarray(paint(scene, side, side).astype(np.uint8)), (x, y))
        for line, text in enumerate(textwrap.wrap(caption(scene), 26)):
            write.text((x, y + side + 11 * line), text, fill="black")
    sheet.save(to)


if __name__ == "__main__":
    main()
