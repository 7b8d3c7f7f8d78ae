"""What a user gets from a pipeline itself, and the job that asks a run for the same picture."""

import json
from functools import cache
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import ClassifierFreeGuidance, DiffusionPipeline, HiDreamImagePipeline, ModularPipeline

from batch.catalogue import modular
from batch.render.assembly import assembled, kind_of
from tests import tiny_models
from tests.helpers import grid


def of_blocks(folder):
    """The blocks of diffusers, without the one that puts prompts into other words."""
    blocks = getattr(diffusers, json.loads((folder / modular.INDEX).read_text())["_blocks_class_name"])()
    blocks.sub_blocks.pop("prompt_upsampler", None)
    pipe = blocks.init_pipeline(str(folder))
    pipe.load_components(dtype=torch.float32)
    return pipe


@cache
def loaded(folder: Path, *, offload: bool = False):
    if (folder / modular.INDEX).is_file():
        pipe = of_blocks(folder)
        if not offload:
            return pipe, pipe.scheduler
        pipe = assembled(kind_of(type(pipe).__name__), pipe.components)  # theirs is of another kind
    else:
        pipe = DiffusionPipeline.from_pretrained(folder, **tiny_models.left_out(folder.name))
    pipe.set_progress_bar_config(disable=True)
    if offload:  # weights that were moved lie elsewhere, which is enough for a CPU to round otherwise
        pipe.enable_model_cpu_offload(device="cpu")
    return pipe, pipe.scheduler


def set_tiles(vae, tile):
    """As a user sets an autoencoder to tiles that overlap by half."""
    if hasattr(vae, "tile_sample_stride_height"):
        vae.enable_tiling(tile, tile, tile // 2, tile // 2)
    else:
        vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // 8
        vae.tile_overlap_factor = 0.5
        vae.enable_tiling()


def direct(folder, *, scheduler=None, tile=None, offload=False, **arguments):
    """What a user gets from the pipeline itself."""
    pipe, own = loaded(folder, offload=offload)
    pipe.scheduler = scheduler(own.config) if scheduler else own
    pipe.vae.disable_tiling()
    if tile:
        set_tiles(pipe.vae, tile)
    arguments = {"prompt": "a fox 7", "num_inference_steps": 2, **arguments}
    if isinstance(pipe, HiDreamImagePipeline):  # which has every picture as large as its default one
        pipe.default_sample_size = 1.0000001 * (arguments["width"] * arguments["height"]) ** 0.5 / 8
    seed = torch.Generator("cpu").manual_seed(7)
    if isinstance(pipe, ModularPipeline):
        scale = arguments.pop("guidance_scale", 1.0)
        if hasattr(pipe, "guider"):
            pipe.update_components(guider=ClassifierFreeGuidance(guidance_scale=scale, enabled=scale > 1))
        return np.asarray(pipe(generator=seed, output="images", **arguments)[0])
    return np.asarray(pipe(generator=seed, **arguments).images[0])


def job(folder, **settings):
    return grid(
        **{"model": str(folder), "prompt": "a fox 7", "seed": 7, "steps": 2, "dtype": "float32"} | settings
    )
