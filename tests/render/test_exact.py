"""What is left out of a pipeline changes no bit of its picture."""

import pytest
import torch
from diffusers import SanaPipeline
from torch.utils._python_dispatch import TorchDispatchMode

from batch.render import exact


def rendered(pipe, guidance):
    noise = torch.Generator("cpu").manual_seed(1)
    latents = pipe(
        "a fox", generator=noise, num_inference_steps=3, guidance_scale=guidance, width=672, height=384,
        output_type="latent", use_resolution_binning=False,
    ).images  # fmt: skip
    with torch.no_grad():
        return latents, pipe.vae.decode(latents.to(pipe.vae.dtype), return_dict=False)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("guidance", [4.5, 1.0])
def test_latents_and_picture_have_the_same_bits(tiny, dtype, guidance):
    pipe = SanaPipeline.from_pretrained(tiny("sana"), dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    expected = rendered(pipe, guidance)
    exact.settle(pipe)
    for made, wanted in zip(rendered(pipe, guidance), expected, strict=True):
        assert torch.equal(made, wanted)


class Divisions(TorchDispatchMode):
    """Keeps what tensors are divided by."""

    def __init__(self):
        super().__init__()
        self.by = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.div.Tensor, torch.ops.aten.div.Scalar):
            self.by.append(args[1])
        return func(*args, **(kwargs or {}))


def test_what_it_leaves_out(tiny):
    pipe = SanaPipeline.from_pretrained(tiny("sana"))
    pipe.set_progress_bar_config(disable=True)
    for settled in (False, True):
        if settled:
            exact.settle(pipe)
        with Divisions() as divisions:
            pipe("a fox", num_inference_steps=1, width=512, height=512, output_type="latent")
        assert (1.0 in [item for item in divisions.by if isinstance(item, float)]) is not settled
    kernels = [item.weight for item in pipe.vae.decoder.modules() if isinstance(item, torch.nn.Conv2d)]
    assert not kernels[0].is_contiguous(memory_format=torch.channels_last)  # conv_in, before any attention
    assert all(item.is_contiguous(memory_format=torch.channels_last) for item in kernels[1:])
