"""Teach the demo model its small world: first the autoencoder, then text encoder and transformer together.

    python tools/train_demo_model.py autoencoder RUN      # pictures to latents and back
    python tools/train_demo_model.py transformer RUN      # captions to latents
    python tools/train_demo_model.py export RUN           # into batch/models/demo

All training data are drawn from tools/demo_world.py with fixed seeds. Each part writes RUN/PART.pt every few
minutes and at SIGINT or SIGTERM, and goes on from it when started again; its losses are in RUN/PART.csv. The
transformer can also start from a model trained before: ``--start batch/models/demo``.
"""

from __future__ import annotations

import argparse
import csv
import inspect
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import demo_parts
import numpy as np
import torch
from demo_world import COLOURS, NAMES, Scene, caption, cells, paint, scenes
from diffusers import SanaPipeline
from torch import nn
from torch.nn import functional

TARGET = Path(__file__).parent.parent / "batch" / "models" / "demo"
SAVE_EVERY = 180.0
"""Seconds."""


@dataclass
class Course:
    """One part's training: its modules, how long, and where its state is kept."""

    run: Path
    name: str
    modules: dict[str, nn.Module]
    steps: int
    rate: float
    warm: int = 100
    keep: float = 0.999
    """Of the moving average of the weights, per step."""

    def __post_init__(self) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        weights = [parameter for module in self.modules.values() for parameter in module.parameters()]
        matrices = [weight for weight in weights if weight.ndim > 1]
        others = [weight for weight in weights if weight.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
            lr=self.rate, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip
        self.average = [weight.detach().clone() for weight in weights]
        self.weights = weights
        self.step = 0
        self.stopped = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(self, "stopped", True))

    @property
    def file(self) -> Path:
        return self.run / f"{self.name}.pt"

    def restore(self) -> None:
        """Go on from the file, if there is one."""
        if not self.file.exists():
            return
        state = torch.load(self.file, weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for mine, kept in zip(self.average, state["average"], strict=True):
            mine.copy_(kept)
        self.step = state["step"]

    def save(self) -> None:
        state = {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
        }
        waiting = self.file.with_suffix(".tmp")
        torch.save(state, waiting)
        waiting.replace(self.file)

    def with_average(self) -> None:
        """The averaged weights in place of the last ones."""
        with torch.no_grad():
            for weight, kept in zip(self.weights, self.average, strict=True):
                weight.copy_(kept)

    def _rate_now(self) -> float:
        warm = min(1.0, (self.step + 1) / self.warm)
        return self.rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * self.step / self.steps)) / 2)

    def follow(self, losses: Iterator[dict[str, torch.Tensor]]) -> None:
        """Take a step for each loss ("loss" is what is descended), to the end or until told to stop."""
        saved = shown = time.monotonic()
        since: list[dict[str, float]] = []
        for loss in losses:
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate_now()
            self.optimizer.zero_grad()
            loss["loss"].backward()
            nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimizer.step()
            keep = min(self.keep, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_(self.average, [weight.detach() for weight in self.weights], 1 - keep)
            self.step += 1
            since.append({name: float(value.detach()) for name, value in loss.items()})
            now = time.monotonic()
            if self.step % 50 == 0:
                means = {name: sum(row[name] for row in since) / len(since) for name in since[0]}
                self._log(means, (now - shown) / len(since))
                since, shown = [], now
            if now - saved > SAVE_EVERY or self.stopped or self.step >= self.steps:
                self.save()
                saved = now
            if self.stopped or self.step >= self.steps:
                return

    def _log(self, means: dict[str, float], seconds: float) -> None:
        file = self.run / f"{self.name}.csv"
        new = not file.exists()
        row = {"step": self.step, "seconds_per_step": round(seconds, 3)}
        row |= {name: round(value, 5) for name, value in means.items()}
        with file.open("a", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)


# The autoencoder: parts of pictures of all sizes.


def crops(seed: int, side: int, count: int) -> Iterator[torch.Tensor]:
    """Batches of square parts of pictures, [count, 3, side, side], -1 to 1."""
    random = np.random.default_rng(seed)
    endless = scenes(seed)
    while True:
        batch = np.empty((count, side, side, 3), dtype=np.float32)
        for index in range(count):
            scene = next(endless)
            short = int(side * 4 ** random.uniform(0, 1))
            long = int(short * random.uniform(1, 1.8))
            width, height = (long, short) if random.random() < 0.6 else (short, long)
            # Around a thing where there is one: that is where edges are.
            thing = scene.things[random.integers(len(scene.things))] if scene.things else None
            x = (thing.x if thing else random.random()) * width + random.normal(0, 0.2) * short
            y = (thing.y if thing else 0.6) * height + random.normal(0, 0.2) * short
            left = int(np.clip(x - side / 2, 0, width - side))
            top = int(np.clip(y - side / 2, 0, height - side))
            batch[index] = paint(scene, width, height, (left, top, left + side, top + side))
        yield torch.from_numpy(batch / 127.5 - 1).permute(0, 3, 1, 2).contiguous()


def _edges(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]


def train_autoencoder(run: Path, steps: int) -> None:
    torch.manual_seed(0)
    vae = demo_parts.autoencoder().to(memory_format=torch.channels_last)
    course = Course(run, "autoencoder", {"vae": vae}, steps, rate=2e-3, keep=0.995)
    course.restore()

    def losses() -> Iterator[dict[str, torch.Tensor]]:
        small, large = crops(course.step, 128, 12), crops(course.step + 1, 320, 2)
        for number in range(course.step, steps):
            pictures = next(large if number % 4 == 3 else small)
            latents = vae.encode(pictures).latent
            # A denoiser's latents are never quite right: the decoder learns to make do with such.
            noise = torch.rand(len(latents), 1, 1, 1) * 0.25
            restored = vae.decode(latents + noise * torch.randn_like(latents)).sample
            plain = functional.l1_loss(restored, pictures) + functional.mse_loss(restored, pictures)
            edges = sum(
                functional.l1_loss(a, b) for a, b in zip(_edges(restored), _edges(pictures), strict=True)
            )
            size = latents.square().mean()
            yield {"loss": plain + edges + 0.01 * size, "plain": plain, "edges": edges, "size": size}

    course.follow(losses())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("part", choices=["autoencoder", "transformer", "export"])
    parser.add_argument("run", type=Path, help="folder for checkpoints and losses")
    parser.add_argument("--steps", type=int, help="steps in all; the rate falls to nearly nothing at their end")
    parser.add_argument("--start", type=Path, help="transformer: a trained model's folder to begin with")
    parser.add_argument("--to", type=Path, default=TARGET, help="export: the model's folder")
    parser.add_argument("--threads", type=int, help="CPU threads")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.part == "autoencoder":
        train_autoencoder(given.run, given.steps or 3000)


if __name__ == "__main__":
    main()
