"""Look at a picture of the demo's world and say what it shows: colours by region, shapes by outline.

It knows nothing of models: what is drawn by tools/demo_world.py itself must be judged right, and what is blurred,
doubled or of another shape wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from demo_world import COLOURS, KINDS, NIGHT, OUTLINES, Scene, covered
from extras import extra

with extra("tools"):
    from scipy.ndimage import binary_fill_holes, gaussian_filter, maximum_filter
    from skimage.color import rgb2lab
    from skimage.measure import label, regionprops
    from skimage.transform import resize

GRID = 64
"""Side of the grid on which outlines are compared."""
ALIKE = 0.8
"""Intersection over union from which the nearest outline counts as found; below, a region has no shape."""
ROUNDED = (0.0, 0.12, 0.24)
"""How round corners may be, as the deviation of a blur in shares of a thing's radius: a blunt star is a star."""
APART = 16.0
"""Distance in CIELAB from which a pixel is no longer background."""
EDGE = 0.5
"""Share of the contrast to the background at which a region's edge is, if soft: of the highest within reach."""
REACH = 1 / 32
"""Of the picture's height. A dark roof on black ends at half of its own contrast, not of the bright wall's."""
SPECK = 0.004
"""Share of the picture below which a region is no thing."""


@dataclass(frozen=True)
class Found:
    """A region that stands out from its background."""

    kind: str
    """"" where the outline is none of the shapes."""
    colour: str
    x: float
    """Its middle, a share of the width."""
    area: float
    """A share of the picture."""


@dataclass(frozen=True)
class Verdict:
    """Whether a picture shows what its caption says, in parts."""

    background: bool
    colours: bool
    shapes: bool

    @property
    def right(self) -> bool:
        """All of it."""
        return self.background and self.colours and self.shapes


@cache
def _palette() -> tuple[list[str], np.ndarray]:
    names = [*COLOURS, "night"]
    return names, rgb2lab(np.array([*COLOURS.values(), NIGHT], dtype=float)[None] / 255)[0]


def colour_of(lab: np.ndarray, *, ground: bool = False) -> str:
    """The nearest of the world's colours; of a ground, "night" is one too."""
    names, known = _palette()
    count = len(names) if ground else len(COLOURS)
    return names[int(np.argmin(np.linalg.norm(known[:count] - lab, axis=-1)))]


@cache
def _templates(kind: str) -> list[tuple[np.ndarray, float]]:
    """A shape, sharp and with round corners, cut to its bounding box, and the box's width by its height."""
    sharp = covered([(200 * x + 250, 200 * y + 250) for x, y in OUTLINES[kind]], 500, 500)
    return [_boxed(gaussian_filter(sharp, 200 * rounded) > 0.5) for rounded in ROUNDED]


def _boxed(mask: np.ndarray) -> tuple[np.ndarray, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return resize(part.astype(float), (GRID, GRID), order=1) > 0.5, part.shape[1] / part.shape[0]


def shape_of(mask: np.ndarray) -> str:
    """The shape whose outline a region has, or ""."""
    region, ratio = _boxed(mask)
    scores = dict.fromkeys(KINDS, 0.0)
    for kind in KINDS:
        for template, its_ratio in _templates(kind):
            union = np.logical_or(region, template).sum()
            stretched = min(ratio / its_ratio, its_ratio / ratio)
            alike = np.logical_and(region, template).sum() / union * min(1.0, stretched + 0.15)
            scores[kind] = max(scores[kind], alike)
    best = max(scores, key=scores.__getitem__)
    return best if scores[best] >= ALIKE else ""


def things(picture: np.ndarray) -> tuple[str, list[Found]]:
    """The background's colour and what stands before it, from left to right, of uint8 [height, width, 3]."""
    lab = rgb2lab(picture)
    rim = max(2, picture.shape[1] // 64)
    # A background may grow darker downwards, so each row is compared with its own ends.
    ends = np.median(np.concatenate([lab[:, :rim], lab[:, -rim:]], axis=1), axis=1)
    background = colour_of(np.median(ends, axis=0), ground=True)
    contrast = np.linalg.norm(lab - ends[:, None], axis=-1)
    found = []
    for region in regionprops(label(contrast > APART)):
        area = region.area / contrast.size
        if area < SPECK:
            continue
        within = np.where(region.image, contrast[region.slice], 0)
        whole = within > maximum_filter(within, size=max(3, round(picture.shape[0] * REACH))) * EDGE
        inside = lab[region.slice][whole]
        middle = region.centroid[1] / picture.shape[1]
        colour = colour_of(np.median(inside, axis=0))
        found.append(Found(shape_of(binary_fill_holes(whole)), colour, middle, area))
    return background, sorted(found, key=lambda one: one.x)


def judge(scene: Scene, picture: np.ndarray) -> Verdict:
    """Compare a picture, uint8 [height, width, 3], with what its scene says."""
    if scene.ground in ("hills", "water"):
        return _judge_landscape(scene, picture)
    background, found = things(picture)
    wanted = scene.colours[0] if scene.ground == "plain" else "night"
    colours = [one.colour for one in found] == [thing.colour for thing in scene.things]
    shapes = [one.kind for one in found] == [thing.kind for thing in scene.things]
    return Verdict(background == wanted, colours, shapes)


def _judge_landscape(scene: Scene, picture: np.ndarray) -> Verdict:
    """Sky above, ground below, a sun only if there is one; the house, if any, by its colour."""
    lab = rgb2lab(picture)
    height, width = picture.shape[:2]
    sky, ground = scene.colours
    above = colour_of(np.median(lab[: height // 12].reshape(-1, 3), axis=0), ground=True)
    below = colour_of(np.median(lab[-height // 12 :].reshape(-1, 3), axis=0), ground=True)
    upper = picture[: int(height * 0.42)]
    _, found = things(upper)
    suns = [one for one in found if one.x > 0.55 and one.kind == "circle"]
    sun = [one.colour for one in suns] == ([scene.sun] if scene.sun else [])
    house = True
    if scene.things:
        region = lab[int(height * 0.5) : int(height * 0.75), int(width * 0.3) : int(width * 0.46)]
        names = [colour_of(one) for one in region[::4, ::4].reshape(-1, 3)]
        house = names.count(scene.things[0].colour) > len(names) * 0.3
    return Verdict(above == sky and below == ground, sun and house, sun)
