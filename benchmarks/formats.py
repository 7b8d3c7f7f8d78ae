"""How long a picture of 5376x3072 takes in every format, how large it gets, and what a lossy one loses.

    python benchmarks/formats.py [ROUNDS] [CSV]

The picture is synthetic: texture at four scales and grain, which a PNG takes 25 MB for, as it does for many
photographs. Every variant is encoded once a round, in turn, so that a busy moment of the machine meets all of
them; the medians are printed and written to docs/benchmarks/formats.csv. Encoding runs as in a run, metadata
included, in one process with nothing else in it. Lossless variants are decoded and compared pixel by pixel.
"""

from __future__ import annotations

import csv
import io
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.manifest import formats
from batch.records.tasks import Task
from batch.store.images import encoders
from benchmarks.textures import HEIGHT, TEXTURES, WIDTH, Pixels
from tools.extras import extra

with extra("jxl"):
    import imagecodecs

CSV = Path(__file__).parent.parent / "docs" / "benchmarks" / "formats.csv"

VARIANTS: list[tuple[str, dict[str, object]]] = [
    ("png", {}), ("png", {"level": 6}),
    ("tiff", {}), ("tiff", {"compression": "none"}),
    ("webp-lossless", {}), ("webp-lossless", {"effort": 1}),
    ("jxl", {}), ("jxl", {"effort": 1}), ("jxl", {"effort": 3}),
    ("jxl", {"quality": 95}), ("jxl", {"quality": 90}),
    ("jpeg", {}), ("jpeg", {"quality": 90}), ("jpeg", {"subsampling": "4:2:0"}),
    ("webp", {}), ("webp", {"method": 4}), ("webp", {"quality": 95}),
    ("avif", {}), ("avif", {"speed": 6}),
]  # fmt: skip


@dataclass(slots=True)
class Variant:
    """One way to write the picture, and what came of it."""

    format: str
    options: str
    encode: Callable[[], bytes]
    seconds: list[float] = field(default_factory=list)
    size: int = 0
    psnr: float = math.inf


def variants(pixels: Pixels) -> list[Variant]:
    """The formats as a run writes them, and what Pillow does by itself."""
    plain = Task(
        model="demo", dtype="float32", prompt="a fox in the snow, golden hour, 85 mm", seed=1, width=WIDTH,
        height=HEIGHT, rendered_width=WIDTH, rendered_height=HEIGHT, steps=20, guidance=4.5,
    )  # fmt: skip
    result = [Variant("Pillow's PNG", "", partial(pillow_png, pixels))]
    for name, options in VARIANTS:
        given = formats.check_options(name, options)
        task = replace(plain, format=name, format_options=given)
        words = ", ".join(f"{key}: {value}" for key, value in options.items())
        result.append(Variant(name, words, partial(encoders.encode, pixels, task)))
    return result


def pillow_png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def psnr(pixels: Pixels, data: bytes, name: str) -> float:
    """In dB; infinite when every pixel is the same."""
    if name == "jxl":
        decoded = imagecodecs.jpegxl_decode(data)
    else:
        with Image.open(io.BytesIO(data)) as image:
            decoded = np.asarray(image)
    if np.array_equal(decoded, pixels):
        return math.inf
    error = np.mean((decoded.astype(np.float32) - pixels) ** 2, dtype=np.float64)
    return float(10 * np.log10(255**2 / error))


def measure(rounds: int) -> list[Variant]:
    pixels = TEXTURES["textured"].draw()
    found = variants(pixels)
    for number in range(rounds):
        for variant in found:
            start = time.perf_counter()
            data = variant.encode()
            variant.seconds.append(time.perf_counter() - start)
            if number == 0:
                variant.size = len(data)
                variant.psnr = psnr(pixels, data, variant.format)
    return found


def main(rounds: int, path: Path) -> None:
    found = measure(rounds)
    base_seconds, base_size = statistics.median(found[0].seconds), found[0].size
    rows = [
        {
            "format": item.format,
            "options": item.options,
            "seconds": f"{statistics.median(item.seconds):.2f}",
            "mb": f"{item.size / 1e6:.1f}",
            "times_faster": f"{base_seconds / statistics.median(item.seconds):.1f}",
            "size_ratio": f"{item.size / base_size:.2f}",
            "psnr_db": "" if math.isinf(item.psnr) else f"{item.psnr:.1f}",
        }
        for item in found
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(
        f"{WIDTH}x{HEIGHT}, {rounds} rounds interleaved, medians; {platform.machine()}, {os.cpu_count()} cores; "
        f"Python {platform.python_version()}, Pillow {PIL.__version__}, imagecodecs {imagecodecs.__version__}\n"
    )
    print("| format | options | seconds | MB | times faster | size | PSNR |\n|---|---|---|---|---|---|---|")
    for row in rows:
        loss = f"{row['psnr_db']} dB" if row["psnr_db"] else "lossless"
        print("|", " | ".join([*list(row.values())[:-1], loss]), "|")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, Path(sys.argv[2]) if len(sys.argv) > 2 else CSV)
