"""Latents to pixels at 5376x3072 in tiles: diffusers' tiled decode and postprocess beside this program's.

    python benchmarks/decode.py [--model demo-4k] [--device cpu] [--dtype DTYPE] [--tiles 1024/896 ...]
                                [--rounds 3] [--csv CSV]

Both decode the same random latents with the same tiles, in turn, in one process with nothing else in it; the
pixels are compared, the medians are printed, and written where --csv says. Before that each runs
once with every operation counted, which warms it up as well; that run is not timed.

Operations are torch's that touch data, views and bare allocations left out: on a GPU about as many kernels. The
peak is of tensors alive at once beside the weights, the decoder's own work included: on a GPU what torch's
allocator says, else counted as the tensors come and go. NumPy's copies in diffusers' postprocess are not in it.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from batch.hub.models import find_model, source
from batch.render import device as devices
from batch.render import pipelines, tiles
from batch.render.pixels import assemble

# `demo-4k` is that of the tests: the docs' figures are of its few channels.
os.environ.setdefault("RUN_BATCH_SHIPPED", str(Path(__file__).parent.parent / "tests" / "models"))

WIDTH, HEIGHT = 5376, 3072


class Watch(TorchDispatchMode):
    """Counts operations, and the bytes of the tensors that were made under it and are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name, returns = func._schema.name, func._schema.returns
        view = any(item.alias_info is not None and not item.alias_info.is_write for item in returns)
        self.operations += not view and "empty" not in name
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and not view:
                self._keep(tensor.untyped_storage())
        return result

    def _keep(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@dataclass(slots=True)
class Way:
    """One way from latents to pixels, and what came of it."""

    name: str
    decode: Callable[[], NDArray[np.uint8]]
    seconds: list[float] = field(default_factory=list)
    operations: int = 0
    peak: int = 0


def ways(pipe: Any, latents: torch.Tensor) -> list[Way]:
    def theirs() -> NDArray[np.uint8]:
        image = pipe.vae.decode(latents, return_dict=False)[0]
        return np.asarray(pipe.image_processor.postprocess(image, output_type="pil")[0])

    return [
        Way("diffusers", theirs),
        Way("run_batch", lambda: assemble(tiles.decode(pipe.vae, latents)).pixels),
    ]


def count(way: Way, device: str) -> NDArray[np.uint8]:
    cuda = device.startswith("cuda")
    before = 0
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with Watch() as watch:
        pixels = way.decode()
    way.operations = watch.operations
    way.peak = torch.cuda.max_memory_allocated(device) - before if cuda else watch.peak
    return pixels


def timed(way: Way, device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    way.decode()  # ends in host memory, so there is nothing left to wait for
    way.seconds.append(time.perf_counter() - start)


def measure(pipe: Any, device: str, tile: int, stride: int, rounds: int) -> list[Way]:
    vae = pipe.vae
    vae.enable_tiling(tile, tile, stride, stride)
    shape = (1, vae.config.latent_channels, *(side // vae.spatial_compression_ratio for side in (HEIGHT, WIDTH)))
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, vae.dtype)
    both = ways(pipe, latents)
    first, second = (count(way, device) for way in both)
    if not np.array_equal(first, second):
        raise SystemExit("the two ways give different pixels")
    for _ in range(rounds):
        for way in both:
            timed(way, device)
    return both


def rows(model: str, dtype: str, where: str, tile: int, stride: int, both: list[Way]) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "dtype": dtype,
            "device": where,
            "size": f"{WIDTH}x{HEIGHT}",
            "tile": tile,
            "stride": stride,
            "way": way.name,
            "seconds": f"{statistics.median(way.seconds):.3f}",
            "operations": way.operations,
            "peak_mib": round(way.peak / 2**20),
        }
        for way in both
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-4k")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", help="the model's own by default", choices=list(pipelines.DTYPES))
    parser.add_argument("--tiles", nargs="+", default=["1024/896"], help="tile and stride in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv", type=Path, help="where the table is kept; the docs hold that of the defaults")
    return parser.parse_args()


def main(given: argparse.Namespace) -> None:
    diffusers.utils.logging.disable_progress_bar()
    device = devices.offer(given.device).devices[0]
    model = find_model(given.model, Path.cwd(), {}, online=False)
    dtype = given.dtype or model.dtype
    pipe = pipelines.load_decoder(source(model), dtype).to(device)
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()
    found = []
    with torch.no_grad():
        for tile, stride in (map(int, text.split("/")) for text in given.tiles):
            found += rows(
                model.name, dtype, where, tile, stride, measure(pipe, device, tile, stride, given.rounds)
            )
    if given.csv is not None:
        given.csv.parent.mkdir(parents=True, exist_ok=True)
        with given.csv.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(
        f"{given.rounds} rounds interleaved, medians; {where}, {torch.get_num_threads()} threads{load}; "
        f"torch {torch.__version__}, diffusers {diffusers.__version__}; pixels alike\n"
    )
    print("|", " | ".join(found[0]), "|\n|" + "---|" * len(found[0]))
    for row in found:
        print("|", " | ".join(str(value) for value in row.values()), "|")


if __name__ == "__main__":
    main(arguments())
