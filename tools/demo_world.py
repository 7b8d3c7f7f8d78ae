"""The small world that the demo model learns: captions, and the picture each of them means.

A :class:`Scene` is a caption's content; :func:`caption` says it in words, :func:`paint` draws it in any size,
antialiased, and :func:`cells` names what every cell of the picture shows. Positions are shares of the picture's
sides and sizes shares of its shorter one, so that a scene looks the same in every size.

    python tools/demo_world.py world.png        # a sheet of scenes and their captions
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    if scene.places:
        text = f"{names[0]} on the left and {names[1]} on the right"
    else:
        text = " and ".join(names)
    if scene.ground == "night":
        return f"{text} at night"
    joint = "," if scene.places else ""
    return f"{text}{joint} on {_with_article(scene.colours[0])} background"


def _landscape(scene: Scene) -> str:
    sky, ground = scene.colours
    sun = f"{_with_article(scene.sun)} sun" if scene.sun else ""
    where = f"{ground} {scene.ground}"
    if scene.things:
        return f"{_named(scene.things[0])} on {where} under {_with_article(sky)} sky" + (f" with {sun}" if sun else "")
    if scene.style == 0:
        return f"{where} under {_with_article(sky)} sky" + (f" with {sun}" if sun else "")
    return f"{sun} over {where} under {_with_article(sky)} sky" if sun else f"{where} and {_with_article(sky)} sky"


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
        ground, background = "night", ()
    else:
        ground, background = "plain", (colours[count],)
    scene = Scene(ground, background, tuple(things), places=count == 2 and random.random() < 0.5)
    return placed(scene, random)


def _draw_landscape(random: np.random.Generator) -> Scene:
    ground = _pick(random, ("hills", "water"))
    sky, land, sun, house = (str(colour) for colour in random.permutation(list(COLOURS))[:4])
    things = (Thing("house", house),) if ground == "hills" and random.random() < 0.4 else ()
    sun = "yellow" if random.random() < 0.3 and "yellow" not in (sky, land, house) else sun
    scene = Scene(
        ground, (sky, land), things, sun if random.random() < 0.5 else "", style=int(random.integers(2))
    )
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
    return replace(
        scene, things=tuple(things), wave=float(random.random()), sun_x=float(random.uniform(0.7, 0.8))
    )


# Outlines: distance to the edge in shares of the radius, negative inside; x right, y down, |x|, |y| about 1.


def _polygon(x: Grid, y: Grid, corners: list[tuple[float, float]]) -> Grid:
    nearest = np.full_like(x, 1e9)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < (y - ay) / (by - ay) * ex + ax)
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def _heart(x: Grid, y: Grid) -> Grid:
    # Two circles and the lines that touch them, as one closed polygon of 64 corners.
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    hx = 16 * np.sin(angle) ** 3 / 17
    hy = -(13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle)) / 17
    return _polygon(x, y, list(zip(hx.tolist(), (hy - 0.12).tolist(), strict=True)))


STAR = [
    (radius * np.sin(step * np.pi / 5), -radius * np.cos(step * np.pi / 5))
    for step, radius in ((step, 1.08 if step % 2 == 0 else 0.45) for step in range(10))
]
TRIANGLE = [(0.0, -0.95), (1.0, 0.78), (-1.0, 0.78)]
SQUARE = [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
WALLS = [(-0.75, -0.12), (0.75, -0.12), (0.75, 0.9), (-0.75, 0.9)]
ROOF = [(0.0, -0.95), (1.0, -0.1), (-1.0, -0.1)]
DOOR = [(-0.18, 0.3), (0.18, 0.3), (0.18, 0.9), (-0.18, 0.9)]


def outline(kind: str, x: Grid, y: Grid) -> Grid:
    """Distance of points to a thing's edge, in shares of its radius, negative inside."""
    if kind == "circle":
        return np.hypot(x, y) - 0.95
    if kind == "heart":
        return _heart(x, y)
    if kind == "house":
        return np.minimum(_polygon(x, y, WALLS), _polygon(x, y, ROOF))
    return _polygon(x, y, {"square": SQUARE, "triangle": TRIANGLE, "star": STAR}[kind])


def _shade(colour: tuple[int, ...] | np.ndarray, factor: float) -> np.ndarray:
    """Darker below 1; above, nearer to white."""
    rgb = np.asarray(colour, dtype=np.float32)
    return rgb * factor if factor <= 1 else rgb + (255 - rgb) * (factor - 1)


def hill_line(x: Grid, wave: float, aspect: float) -> Grid:
    """Height of the hills' crest at x (share of the width), a share of the picture's height from its top."""
    return 0.66 + 0.07 * np.sin(2 * np.pi * (x * max(aspect, 1.0) * 0.9 + wave))


WATER_LINE = 0.62
SUN = (0.24, 0.12)
"""Height of the sun's middle, and its radius in shares of the shorter side."""


@dataclass(frozen=True)
class _View:
    """A window into a picture of width x height pixels: the points of its pixels."""

    width: int
    height: int
    px: Grid
    py: Grid

    @property
    def short(self) -> int:
        return min(self.width, self.height)

    def relative(self, x: float, y: float, radius: float) -> tuple[Grid, Grid, float]:
        """Points as seen from a thing, and pixels of one radius."""
        unit = radius * self.short
        return (self.px - x * self.width) / unit, (self.py - y * self.height) / unit, unit


def paint(scene: Scene, width: int, height: int, window: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """The picture, float32 [height, width, 3], 0 to 255; ``window`` (left, top, right, bottom) paints a part."""
    left, top, right, bottom = window or (0, 0, width, height)
    px, py = np.meshgrid(
        np.arange(left, right, dtype=np.float32) + 0.5, np.arange(top, bottom, dtype=np.float32) + 0.5
    )
    view = _View(width, height, px, py)
    picture = _paint_ground(scene, view)
    for thing in scene.things:
        x, y, unit = view.relative(thing.x, thing.y, thing.radius)
        near = (np.abs(x) < 1.3) & (np.abs(y) < 1.3)
        rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
        if not len(rows) or not len(columns):
            continue
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        colour = _shade(COLOURS[thing.colour], 1)
        if thing.kind == "house":
            roof = _shade(colour, 0.62) if thing.colour != "black" else _shade(colour, 1.3)
            _cover(picture[part], _polygon(x[part], y[part], WALLS) * unit, colour)
            _cover(picture[part], _polygon(x[part], y[part], ROOF) * unit, roof)
            _cover(picture[part], _polygon(x[part], y[part], DOOR) * unit, roof)
        else:
            _cover(picture[part], outline(thing.kind, x[part], y[part]) * unit, colour)
    return picture


def _cover(picture: np.ndarray, distance: Grid, colour: np.ndarray) -> None:
    """Lay a colour over where the distance (pixels) is negative; the edge is one pixel wide."""
    share = np.clip(0.5 - distance, 0, 1)[..., None]
    picture += share * (colour - picture)


def _paint_ground(scene: Scene, view: _View) -> np.ndarray:
    down = (view.py / view.height)[..., None]
    if scene.ground in ("plain", "night"):
        colour = _shade(NIGHT if scene.ground == "night" else COLOURS[scene.colours[0]], 1)
        return (colour * (1.03 - 0.1 * down)).clip(0, 255).astype(np.float32)
    sky, land = (_shade(COLOURS[name], 1) for name in scene.colours)
    picture = (sky + (255 - sky) * 0.3 * down).astype(np.float32)
    if scene.sun:
        x, y, unit = view.relative(scene.sun_x, SUN[0], SUN[1])
        _cover(picture, (np.hypot(x, y) - 1) * unit, _shade(COLOURS[scene.sun], 1))
    if scene.ground == "water":
        _cover(picture, (WATER_LINE - down[..., 0]) * view.height, land)
        return picture
    aspect = view.width / view.height
    x = view.px / view.width
    far, near = hill_line(x, scene.wave + 0.45, aspect) - 0.06, hill_line(x, scene.wave, aspect) + 0.08
    lighter = 1.22 if scene.colours[1] != "white" else 0.88
    _cover(picture, (far - down[..., 0]) * view.height, _shade(land, lighter))
    _cover(picture, (near - down[..., 0]) * view.height, land)
    return picture


def cells(scene: Scene, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """What each cell of a grid shows: numbers in :data:`NAMES`, and in :data:`COLOURS` (9 for the night)."""
    px, py = np.meshgrid(np.arange(columns, dtype=np.float32) + 0.5, np.arange(rows, dtype=np.float32) + 0.5)
    view = _View(columns, rows, px, py)
    colours = list(COLOURS)
    night = len(colours)
    if scene.ground in ("plain", "night"):
        what = np.full((rows, columns), NAMES.index(scene.ground))
        colour = np.full((rows, columns), night if scene.ground == "night" else colours.index(scene.colours[0]))
    else:
        what = np.full((rows, columns), NAMES.index("sky"))
        colour = np.full((rows, columns), colours.index(scene.colours[0]))
        if scene.sun:
            x, y, _ = view.relative(scene.sun_x, SUN[0], SUN[1])
            what[np.hypot(x, y) < 1] = NAMES.index("sun")
            colour[np.hypot(x, y) < 1] = colours.index(scene.sun)
        line = hill_line(px / columns, scene.wave + 0.45, columns / rows) - 0.06
        low = py / rows > (WATER_LINE if scene.ground == "water" else line)
        what[low] = NAMES.index(scene.ground)
        colour[low] = colours.index(scene.colours[1])
    for thing in scene.things:
        x, y, _ = view.relative(thing.x, thing.y, thing.radius)
        inside = outline(thing.kind, x, y) < 0
        what[inside] = NAMES.index(thing.kind)
        colour[inside] = colours.index(thing.colour)
    return what.astype(np.uint8), colour.astype(np.uint8)


def scenes(seed: int, *, kind: str = "", held: bool = False) -> Iterator[Scene]:
    """Scenes without end, the same for the same seed: those of training, or with ``held`` the others."""
    random = np.random.default_rng(seed)
    while True:
        scene = draw_scene(random, kind)
        if held_out(scene) == held:
            yield scene


def main() -> None:
    side, across = 160, 8
    sheet = Image.new("RGB", (across * (side + 8), 5 * (side + 34)), "white")
    write = ImageDraw.Draw(sheet)
    for index, scene in zip(range(across * 5), scenes(0), strict=False):
        x, y = index % across * (side + 8), index // across * (side + 34)
        sheet.paste(Image.fromarray(paint(scene, side, side).astype(np.uint8)), (x, y))
        words = caption(scene).split()
        write.text((x, y + side), " ".join(words[:6]), fill="black")
        write.text((x, y + side + 11), " ".join(words[6:12]), fill="black")
        write.text((x, y + side + 22), " ".join(words[12:]), fill="black")
    sheet.save(sys.argv[1])


if __name__ == "__main__":
    main()
