"""How often the demo model draws what a caption says: combinations that training never showed, judged by outline.

    python tools/eval_demo_model.py --count 100 --sheet failures.jpg

The captions come from tools/demo_world.py, the verdicts from tools/demo_judge.py; ``--truth`` judges the world's
own drawings instead, which must all be right. 300 pictures take about four minutes on two cores. It needs
``pip install -e ".[tools]"``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from demo_judge import Verdict, judge
from demo_world import Scene, caption, paint, scenes
from diffusers import SanaPipeline
from PIL import Image, ImageDraw

MODEL = Path(__file__).parent.parent / "batch" / "models" / "demo"
NAMES = {"one": "one thing", "two": "two things", "landscape": "landscapes"}
BATCH = 10
SIDE = 192


def held_out_scenes(kind: str, count: int) -> list[Scene]:
    """The first ``count`` of different captions. Raises ``SystemExit`` where there are not so many."""
    chosen: dict[str, Scene] = {}
    for scene in islice(scenes(5, kind=kind, held=True), 30 * count):
        chosen.setdefault(caption(scene), scene)
        if len(chosen) == count:
            return list(chosen.values())
    raise SystemExit(f"--count: there are no {count} different captions of {NAMES[kind]}")


def drawn(pipe: SanaPipeline, chosen: list[Scene], given: argparse.Namespace) -> Iterator[np.ndarray]:
    """A picture for each scene; the seed is the scene's place in the list."""
    for start in range(0, len(chosen), BATCH):
        part = chosen[start : start + BATCH]
        generators = [torch.Generator().manual_seed(start + index) for index in range(len(part))]
        yield from pipe(
            [caption(scene) for scene in part], width=given.width, height=given.height, output_type="np",
            num_inference_steps=given.steps, guidance_scale=given.guidance, generator=generators,
        ).images  # fmt: skip


def sheet(failures: list[tuple[Scene, np.ndarray, Verdict]], to: Path) -> None:
    across = 6
    rows = -(-len(failures) // across)
    page = Image.new("RGB", (across * (SIDE + 8), max(1, rows) * (SIDE + 50)), "white")
    write = ImageDraw.Draw(page)
    for index, (scene, picture, verdict) in enumerate(failures):
        x, y = index % across * (SIDE + 8), index // across * (SIDE + 50)
        page.paste(Image.fromarray(picture).resize((SIDE, SIDE)), (x, y))
        words = caption(scene).split()
        wrong = [name for name in ("background", "colours", "shapes") if not getattr(verdict, name)]
        for line, text in enumerate((" ".join(words[:7]), " ".join(words[7:14]), " ".join(words[14:]))):
            write.text((x, y + SIDE + 11 * line), text, fill="black")
        write.text((x, y + SIDE + 34), "wrong: " + ", ".join(wrong), fill="red")
    page.save(to, quality=90)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the pipeline")
    parser.add_argument("--count", type=_positive, default=100, help="captions of each kind")
    parser.add_argument("--width", type=_positive, default=512, help="pixels")
    parser.add_argument("--height", type=_positive, default=512, help="pixels")
    parser.add_argument("--steps", type=_positive, default=8, help="denoising steps")
    parser.add_argument("--guidance", type=float, default=2.0, help="guidance scale")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the failures")
    parser.add_argument("--truth", action="store_true", help="judge the world's own drawings")
    given = parser.parse_args()
    pipe = None
    if not given.truth:
        pipe = SanaPipeline.from_pretrained(given.model, torch_dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
    failures = []
    started = time.monotonic()
    print(f"{'':12} {'right':>6} {'background':>11} {'colours':>8} {'shapes':>7}   (% of {given.count})")
    for kind, name in NAMES.items():
        chosen = held_out_scenes(kind, given.count)
        pictures = (
            (paint(scene, given.width, given.height) / 255 for scene in chosen)
            if pipe is None
            else drawn(pipe, chosen, given)
        )
        verdicts = []
        for scene, floats in zip(chosen, pictures, strict=True):
            picture = (floats * 255).round().clip(0, 255).astype(np.uint8)
            verdicts.append(judge(scene, picture))
            if not verdicts[-1].right:
                failures.append((scene, picture, verdicts[-1]))
        shares = [
            100 * sum(getattr(verdict, part) for verdict in verdicts) / len(verdicts)
            for part in ("right", "background", "colours", "shapes")
        ]
        print(f"{name:12} {shares[0]:6.0f} {shares[1]:11.0f} {shares[2]:8.0f} {shares[3]:7.0f}", flush=True)
    how = "the world's own drawings" if given.truth else f"{given.steps} steps, guidance {given.guidance:g}"
    print(f"{time.monotonic() - started:.0f} s, {given.width}x{given.height}, {how}")
    if given.sheet:
        sheet(failures, given.sheet)


if __name__ == "__main__":
    main()
