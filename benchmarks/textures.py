"""Pictures with the texture of real ones, for what is measured on pixels: photographs may not be shipped here.

Each is a sum of smooth layers at several scales, and grain: of all channels together, as brightness has it, and
of each channel by itself. How well a picture packs depends on its grain above all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 5376, 3072


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture:
    """What a picture is made of."""

    seed: int
    layers: tuple[tuple[int, float], ...]
    """Of each: cells across the picture, and their strength in levels."""
    shared_grain: float
    """Standard deviation, in levels."""
    own_grain: float

    def draw(self, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
        """Pixels ``[H, W, 3]``; the same each time."""
        random = np.random.default_rng(self.seed)
        total = np.full((height, width, 3), 120, np.float32)
        for columns, strength in self.layers:
            for channel in range(3):
                cells = random.standard_normal((max(2, columns * height // width), columns), np.float32)
                smooth = Image.fromarray(cells, "F").resize((width, height), Image.Resampling.BICUBIC)
                total[..., channel] += strength * np.asarray(smooth)
        total += self.shared_grain * random.standard_normal((height, width, 1), np.float32)
        total += self.own_grain * random.standard_normal((height, width, 3), np.float32)
        return np.clip(total, 0, 255).astype(np.uint8)


TEXTURES = {
    "smooth": Texture(seed=1, layers=((6, 60), (24, 20)), shared_grain=0, own_grain=0.8),
    "textured": Texture(seed=7, layers=((6, 60), (24, 28), (96, 16), (384, 9)), shared_grain=2.5, own_grain=1),
    "grainy": Texture(seed=3, layers=((6, 50), (96, 16), (384, 9)), shared_grain=9, own_grain=3),
}
"""By name: soft light, a photograph of leaves or stone, film at high speed."""
