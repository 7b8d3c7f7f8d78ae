"""Teach the demo model its small world: first the autoencoder, then text encoder and transformer together.

    python tools/train_demo_model.py autoencoder RUN      # pictures to latents and back
    python tools/train_demo_model.py transformer RUN      # captions to latents
    python tools/train_demo_model.py decoder RUN          # sharper pictures of the same latents, beside it
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

    @property
    def file(self) -> Path:
        """Where the state is kept."""
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
        """Keep the state, whole or not at all."""
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
        """Take a step for each loss ("loss" is what is descended), to the end or until a signal says stop."""

        def stop(*_: object) -> None:
            self.stopped = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if self.step < self.steps:
                self._follow(losses)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _follow(self, losses: Iterator[dict[str, torch.Tensor]]) -> None:
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
    """First with latents of any scale, then with each of their channels brought to mean 0 and deviation 1.

    A denoiser's loss counts channels by their size: as they come, colours would outweigh outlines by far.
    """
    torch.manual_seed(0)
    rough = demo_parts.autoencoder(shortcuts=True)
    for name, module in rough.named_modules():
        # Blocks begin as little more than their shortcuts, which carry colours from the first step on.
        if type(module).__name__ == "RMSNorm" and name != "decoder.norm_out":
            nn.init.constant_(module.weight, 0.1)
    course = Course(run, "rough", {"vae": rough}, steps // 3, rate=1.5e-3, keep=0.995)
    course.restore()
    course.follow(_restoring(rough, course, even=False))
    if course.stopped:
        return
    course.with_average()
    vae = demo_parts.settle(rough, *_spread(rough))
    course = Course(run, "autoencoder", {"vae": vae}, steps - steps // 3, rate=1e-3, keep=0.995)
    course.restore()
    course.follow(_restoring(vae, course, even=True))


def trained_autoencoder(run: Path) -> Any:
    """What was learned so far, with latents of deviation 1 in every channel. Their means stay: see ``settle``."""
    vae = demo_parts.autoencoder()
    kept = averaged(run, "autoencoder", {"vae": vae})["vae"]
    if (run / "decoder.pt").exists():
        better = averaged(run, "decoder", {"decoder": vae.decoder})["decoder"]
        kept |= {f"decoder.{name}": weight for name, weight in better.items()}
    vae.load_state_dict(kept)
    mean, deviation = _spread(vae.eval())
    return demo_parts.settle(vae, torch.zeros_like(mean), deviation).eval()


@torch.no_grad()
def _spread(vae: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel of the latents."""
    latents = torch.cat([vae.encode(pictures).latent for pictures in islice(crops(99, 256, 16), 8)])
    return latents.mean((0, 2, 3)), latents.std((0, 2, 3))


def _restored(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Pictures of latents with noise up to a quarter of their deviation: a denoiser's are never quite right."""
    level = torch.rand(len(latents), 1, 1, 1) * 0.25 * latents.detach().std()
    return vae.decode(latents + level * torch.randn_like(latents)).sample


def _difference(restored: torch.Tensor, pictures: torch.Tensor, squares: float = 1.0) -> dict[str, torch.Tensor]:
    """What restored pictures lack; "loss" is all of it. ``squares`` counts great errors for more."""
    plain = functional.l1_loss(restored, pictures) + squares * functional.mse_loss(restored, pictures)
    edges = sum(functional.l1_loss(a, b) for a, b in zip(_edges(restored), _edges(pictures), strict=True))
    return {"loss": plain + edges, "plain": plain, "edges": torch.as_tensor(edges)}


def _restoring(vae: Any, course: Course, *, even: bool) -> Iterator[dict[str, torch.Tensor]]:
    """Losses of pictures restored from latents; ``even`` holds every channel to mean 0 and deviation 1."""
    small, large = crops(course.step, 128, 8), crops(course.step + 1, 256, 2)
    while True:
        pictures = next(large if course.step % 4 == 3 else small)
        latents = vae.encode(pictures).latent
        found = _difference(_restored(vae, latents), pictures)
        mean, variance = latents.mean((0, 2, 3)), latents.var((0, 2, 3))
        found["uneven"] = (mean.square() + variance - variance.log() - 1).mean()
        if even:
            found["loss"] = found["loss"] + 0.003 * found["uneven"]
        yield found


def train_decoder(run: Path, steps: int) -> None:
    """The decoder alone, on larger parts of pictures: latents stay what the transformer knows."""
    torch.manual_seed(1)
    vae = demo_parts.autoencoder()
    vae.load_state_dict(averaged(run, "autoencoder", {"vae": vae})["vae"])
    course = Course(run, "decoder", {"decoder": vae.decoder}, steps, rate=1e-3, keep=0.995)
    course.restore()

    def losses() -> Iterator[dict[str, torch.Tensor]]:
        small, large = crops(course.step + 2, 256, 2), crops(course.step + 3, 384, 1)
        while True:
            pictures = next(large if course.step % 4 == 3 else small)
            with torch.no_grad():
                latents = vae.encode(pictures).latent
            # By its contrast: a purple star on blue is as much a star as a white one on black.
            contrast = 0.15 + pictures.std((1, 2, 3), keepdim=True)
            yield _difference(_restored(vae, latents) / contrast, pictures / contrast, squares=0.0)

    course.follow(losses())


# Text encoder and transformer: latents of whole pictures, made once and kept.

SHAPES = {
    "small": ((8, 8), (6, 11), (11, 6)),
    "middle": ((16, 16), (12, 21), (21, 12), (14, 18), (18, 14)),
    "large": ((32, 32), (24, 42), (42, 24)),
}
"""Rows and columns of latents: half the 512 sizes, the 512 sizes, the 1K sizes."""
BATCH = {"small": 32, "middle": 8, "large": 2}
SCENES = {"small": 8_000, "middle": 1_500, "large": 150}
"""Of each shape."""
Shares = tuple[tuple[float, tuple[float, float, float]], ...]
SHARES: Shares = ((0.0, (1.0, 0.0, 0.0)), (0.4, (0.1, 0.85, 0.05)), (0.88, (0.0, 0.8, 0.2)))
"""From which part of the training on, how often each group of shapes is shown."""
SHARES_AFTER: Shares = ((0.0, (0.0, 0.95, 0.05)), (0.88, (0.0, 0.8, 0.2)))
"""The same for a model trained before: layouts, which small pictures teach quickly, it knows."""


@dataclass
class Bank:
    """Scenes of one shape: latents, what their cells show, and their captions."""

    latents: torch.Tensor
    what: torch.Tensor
    colour: torch.Tensor
    captions: list[str]


class Stock(dict[str, list[Bank]]):
    """Banks by the name of their group, made when they are first asked for and kept in RUN/bank-GROUP.pt."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def __missing__(self, group: str) -> list[Bank]:
        file = self.run / f"bank-{group}.pt"
        if not file.exists():
            vae = trained_autoencoder(self.run)
            made = [vars(_encoded(vae, rows, columns, SCENES[group])) for rows, columns in SHAPES[group]]
            torch.save(made, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)
        self[group] = [Bank(**one) for one in torch.load(file, weights_only=True)]
        return self[group]


@torch.no_grad()
def _encoded(vae: Any, rows: int, columns: int, count: int) -> Bank:
    chosen: list[Scene] = list(islice(scenes(1000 * rows + columns), count))
    latents = []
    for start in range(0, count, 16):
        part = chosen[start : start + 16]
        painted = np.stack([paint(scene, columns * 32, rows * 32) for scene in part]) / 127.5 - 1
        latents.append(vae.encode(torch.from_numpy(painted).float().permute(0, 3, 1, 2)).latent.half())
    shown = [cells(scene, columns, rows) for scene in chosen]
    print(f"{count} scenes of {columns * 32}x{rows * 32}", flush=True)
    return Bank(
        torch.cat(latents),
        torch.from_numpy(np.stack([what for what, _ in shown])),
        torch.from_numpy(np.stack([colour for _, colour in shown])),
        [caption(scene) for scene in chosen],
    )


class Texts:
    """Captions to embeddings, as SanaPipeline makes them: behind the instruction, which is then cut off.

    The encoder's layers look back over a window, so the end of the instruction stands for all of it.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder
        self.tokenizer, _ = demo_parts.tokenizer()
        parameters = inspect.signature(SanaPipeline.__call__).parameters
        self.instruction = "\n".join(parameters["complex_human_instruction"].default)
        # The pipeline keeps the last 299 of as many tokens as the instruction has and 298 more.
        self.first = len(self.tokenizer.encode(self.instruction)) - 1
        self.context = demo_parts.TEXT_LAYERS * (demo_parts.WINDOW - 1)
        self.known: dict[str, list[int]] = {}

    def _pieces(self, text: str) -> list[int]:
        if text not in self.known:
            ids = self.tokenizer(self.instruction + text).input_ids
            self.known[text] = ids[self.first - self.context :]
        return self.known[text]

    def __call__(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings [texts, tokens, width] and their mask; "" is what guidance leads away from."""
        rows = [self._pieces(text) if text else [] for text in texts]
        longest = max(self.context + 1, *(len(row) for row in rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), 1 + longest - self.context)
        mask[:, 0] = 1
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, 1 : 1 + max(0, len(row) - self.context)] = 1
        start = self.encoder(torch.tensor([[self.tokenizer.bos_token_id]]))[0].expand(len(rows), 1, -1)
        return torch.cat([start, self.encoder(ids)[0][:, self.context :]], dim=1), mask


class Hints(nn.Module):
    """What the transformer's middle should know by then: the flow, and what each cell shows in which colour.

    For training only: told early where each thing of the caption belongs, it learns in a fraction of the steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts = (demo_parts.LATENTS, len(NAMES), len(COLOURS) + 1)
        self.norm = nn.LayerNorm(demo_parts.WIDTH)
        self.out = nn.Linear(demo_parts.WIDTH, sum(self.counts))

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Of tokens [batch, cells, width]: flow, kinds and colours, each [batch, channels, cells]."""
        return self.out(self.norm(tokens)).transpose(1, 2).split(self.counts, dim=1)


def batches(stock: Stock, step: int, steps: int, shares: Shares) -> Iterator[tuple[Bank, torch.Tensor]]:
    """A bank and the scenes of it to show, step by step; a step's choice depends on its number only."""
    groups = list(SHAPES)
    for number in range(step, steps):
        random = np.random.default_rng([7, number])
        now = [share for start, share in shares if number >= start * steps][-1]
        group = str(random.choice(groups, p=now))
        one = stock[group][random.integers(len(stock[group]))]
        yield one, torch.from_numpy(random.integers(len(one.captions), size=BATCH[group]))


def train_transformer(run: Path, steps: int, start: Path | None, rate: float | None = None) -> None:
    torch.manual_seed(0)
    if start and not (run / "autoencoder.pt").exists():
        _adopt(run, start)
    stock = Stock(run)
    texts = Texts(demo_parts.text_encoder(demo_parts.tokenizer()[1]))
    transformer, hints = demo_parts.transformer(), Hints()
    nn.init.zeros_(transformer.proj_out.weight)
    if start:
        parts: list[tuple[Any, str]] = [(texts.encoder, "text_encoder"), (transformer, "transformer")]
        for module, folder in parts:
            kept = type(module).from_pretrained(start / folder)
            module.load_state_dict(kept.float().state_dict())
    middle: list[torch.Tensor] = []
    transformer.transformer_blocks[demo_parts.BLOCKS // 2 - 1].register_forward_hook(
        lambda _module, _given, out: middle.append(out)
    )
    modules = {"text_encoder": texts.encoder, "transformer": transformer, "hints": hints}
    if rate is None:
        rate = 5e-4 if start else 1e-3  # a higher one would first undo much of what a trained model knows
    course = Course(run, "transformer", modules, steps, rate, warm=200)
    course.restore()

    def losses() -> Iterator[dict[str, torch.Tensor]]:
        for one, chosen in batches(stock, course.step, steps, SHARES_AFTER if start else SHARES):
            latents = one.latents[chosen].float()
            told = [one.captions[index] if torch.rand(()) > 0.1 else "" for index in chosen.tolist()]
            embeds, mask = texts(told)
            even = torch.sigmoid(torch.randn(len(latents)))
            level = demo_parts.SHIFT * even / (1 + (demo_parts.SHIFT - 1) * even)
            share = level[:, None, None, None]
            noise = torch.randn_like(latents)
            flow = noise - latents
            middle.clear()
            predicted = transformer(
                (1 - share) * latents + share * noise, embeds, level * 1000, encoder_attention_mask=mask
            ).sample
            early, kinds, colours = hints(middle[0])
            flow_loss = functional.mse_loss(predicted, flow)
            early_loss = functional.mse_loss(early, flow.flatten(2))
            kind_loss = functional.cross_entropy(kinds, one.what[chosen].long().flatten(1))
            colour_loss = functional.cross_entropy(colours, one.colour[chosen].long().flatten(1))
            yield {
                "loss": flow_loss + 0.25 * early_loss + 0.1 * kind_loss + 0.05 * colour_loss,
                "flow": flow_loss, "early": early_loss, "kinds": kind_loss, "colours": colour_loss,
            }  # fmt: skip

    course.follow(losses())


def _adopt(run: Path, start: Path) -> None:
    """Take a trained model's autoencoder for this run's own."""
    vae = type(demo_parts.autoencoder()).from_pretrained(start / "vae").float()
    run.mkdir(parents=True, exist_ok=True)
    average = [weight.detach() for weight in vae.parameters()]
    torch.save({"modules": {"vae": vae.state_dict()}, "average": average}, run / "autoencoder.pt")


def averaged(run: Path, name: str, modules: dict[str, nn.Module]) -> dict[str, dict[str, torch.Tensor]]:
    """The averaged weights of a checkpoint, module by module."""
    state = torch.load(run / f"{name}.pt", weights_only=True)
    averages = iter(state["average"])
    kept = {}
    for key in state["modules"]:
        if key in modules:
            kept[key] = dict(state["modules"][key])
            kept[key].update({weight: next(averages) for weight, _ in modules[key].named_parameters()})
    return kept


def export(run: Path, to: Path) -> None:
    """Write the pipeline, in float16."""
    parts: dict[str, Any] = {
        "text_encoder": demo_parts.text_encoder(demo_parts.tokenizer()[1]),
        "transformer": demo_parts.transformer(),
    }
    kept = averaged(run, "transformer", parts)
    for name, module in parts.items():
        module.load_state_dict(kept[name])
    parts["vae"] = trained_autoencoder(run)
    for module in parts.values():
        module.eval().half()
    demo_parts.pipeline(parts).save_pretrained(to)
    for path in sorted(to.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>9}  {path.relative_to(to)}")


_NEEDS = {
    "transformer": ("autoencoder.pt",),
    "decoder": ("autoencoder.pt",),
    "export": ("autoencoder.pt", "transformer.pt"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["autoencoder", "transformer", "decoder", "export"])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder for checkpoints and losses")
    parser.add_argument(
        "--steps", type=int,
        help="steps in all, at whose end the rate is nearly nothing (3,000; 12,000 for the transformer)",
    )  # fmt: skip
    parser.add_argument("--start", type=Path, help="transformer: a trained model's folder to begin with")
    parser.add_argument("--to", type=Path, default=TARGET, help="export: the model's folder (batch/models/demo)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    given = parser.parse_args()
    if given.start and given.part != "transformer":
        parser.error(f"--start is for the transformer; {given.part} has no use for it")
    for name in _NEEDS.get(given.part, ()):
        if not (given.run / name).exists() and not given.start:
            parser.error(f"{given.part} needs {given.run / name}, which another part writes first")
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.part == "autoencoder":
        train_autoencoder(given.run, given.steps or 3000)
    elif given.part == "transformer":
        train_transformer(given.run, given.steps or 12_000, given.start)
    elif given.part == "decoder":
        train_decoder(given.run, given.steps or 3000)
    else:
        export(given.run, given.to)


if __name__ == "__main__":
    main()
