"""Every memory setting on one warm pipeline: what it does to the picture, and that nothing of it stays behind."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from batch.base.errors import UserError
from batch.hub.models import find_model, source
from batch.manifest.values import Size
from batch.memory import profiles, steps
from batch.plan.texts import encode_tasks
from batch.records.tasks import Task
from batch.render import cuts
from batch.render import memory as carried_out
from batch.render.session import DiffusersSession
from tests.helpers import nothing

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = Size(512, 512)

SAME = (
    "full",
    "encode_first + vae_slicing",
    "text_encoder_cpu",
    "text_encoder_offload",
    "vae_cpu",  # in float32, as all is here
    "model_cpu_offload",
    "group_offload(leaf, stream=false)",
    "group_offload(block, 1, stream=false)",
    "group_offload(block, 2, stream=false)",
)
"""Without sequential_cpu_offload: accelerate's hooks lose parameters that move from the CPU to the CPU."""

NEAR = (
    "split_guidance",
    "chunked_ff",
    "split_guidance + chunked_ff + group_offload(block, 1, stream=false)",
)
"""Other shapes of the same sums: the last bits of latents."""

OTHER = (
    "vae_tiling(256, 192)",
    "vae_tiling(256, 192) + split_guidance + model_cpu_offload",
    "fp8_weights",
    "fp8_weights + group_offload(block, 1, stream=false)",
)


@pytest.fixture(autouse=True)
def as_on_a_card(monkeypatch):
    """Hooks of offloading are put on though host memory is all there is; bands are small enough to be several."""
    monkeypatch.setattr(carried_out, "has_card", lambda _device: True)
    monkeypatch.setattr(cuts, "BAND", 64)


class Warm:
    """A session that renders one image of the tiny SANA under one setting after the other."""

    def __init__(self, folder: Path) -> None:
        model = find_model(str(folder), Path(), {}, online=False)
        self.family = model.family
        self.texts, self.session = (DiffusersSession(source(model), "float32", "cpu") for _ in range(2))
        self.task = Task(
            id="1" * 16, model=model.name, dtype="float32", prompt="a fox 7", seed=7, width=512, height=512,
            rendered_width=512, rendered_height=512, steps=2, guidance=3.0,
        )  # fmt: skip

    def render(self, setting: str) -> np.ndarray:
        asked = profiles.resolve(setting, SIZE)
        task = replace(self.task, memory=setting, memory_steps=asked)
        texts = encode_tasks(task, self.family, "cpu")
        embeds = [self.texts.encode(text, nothing).value for text in texts]
        base = self.session.prepare("images", task)
        latents = self.session.denoise([task], [embeds], base, nothing).value
        return self.session.decode(task, latents, base, nothing).value


@cache
def alone(folder: Path, setting: str) -> np.ndarray:
    """What a session gives that knows no other setting."""
    return Warm(folder).render(setting)


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_what_changes_pixels_says_so_and_nothing_else_does(tiny):
    folder = tiny("sana")
    plain = alone(folder, "full")
    assert {setting: apart(alone(folder, setting), plain) for setting in SAME} == dict.fromkeys(SAME, 0)
    assert max(apart(alone(folder, setting), plain) for setting in NEAR) <= 1
    differing = {setting: apart(alone(folder, setting), plain) for setting in OTHER}
    assert min(differing.values()) > 0, differing
    for setting in (*SAME, *NEAR, *OTHER):
        deciding = profiles.pixel_steps(profiles.resolve(setting, SIZE), SIZE)
        assert bool(deciding) == (setting in OTHER or setting == "vae_cpu"), setting


@pytest.mark.parametrize("order", [1, -1, 0])
def test_nothing_of_a_setting_stays_behind(tiny, order):
    settings = [*SAME, *NEAR, *OTHER]
    if order:
        settings = settings[::order]
    else:  # from one that changes most to one that changes nothing, and back
        settings = [item for pair in zip(OTHER, SAME, strict=False) for item in (*pair, *pair[::-1])]
    warm = Warm(tiny("sana"))
    for setting in settings:
        # Weights that were moved lie otherwise in memory, which a CPU's sums may show in the last bit.
        assert apart(warm.render(setting), alone(tiny("sana"), setting)) <= (1 if setting in NEAR else 0), setting


def test_hooks_are_really_there_and_gone_again(tiny):
    warm = Warm(tiny("sana"))
    for setting, owner in (
        ("model_cpu_offload", "_hf_hook"),
        ("group_offload(block, 1, stream=false)", "_diffusers_hook"),
    ):
        warm.render(setting)
        modules = list(warm.session.pipe.transformer.modules())
        assert any(hasattr(module, owner) for module in modules), setting
        warm.render("full")
        left = [
            module
            for module in warm.session.pipe.transformer.modules()
            if hasattr(module, "_hf_hook") or getattr(getattr(module, "_diffusers_hook", None), "hooks", None)
        ]
        assert left == [], setting


def test_fp8_weights_are_stored_in_one_byte(tiny):
    warm = Warm(tiny("sana"))
    warm.render("fp8_weights")
    kinds = [parameter.dtype for parameter in warm.session.pipe.transformer.parameters()]
    assert torch.float8_e4m3fn in kinds
    warm.render("full")
    assert {parameter.dtype for parameter in warm.session.pipe.transformer.parameters()} == {torch.float32}


def test_torchao_quantises_wherever_the_weights_lie(tiny):
    """diffusers leaves what is read into host memory as it is, and says nothing."""
    pytest.importorskip("torchao")
    folder = tiny("sana")
    plain, made = alone(folder, "full"), {}
    for setting in ("quantize(torchao_int8)", "quantize(torchao_int8) + model_cpu_offload"):
        warm = Warm(folder)
        made[setting] = warm.render(setting)
        names = {type(parameter).__name__ for parameter in warm.session.pipe.transformer.parameters()}
        assert names > {"Parameter"}  # torchao's own class was AffineQuantizedTensor before it was Int8Tensor
        assert apart(warm.render("full"), plain) == 0
    first, second = made.values()
    assert (apart(first, plain) > 0, apart(first, second)) == (True, 0)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("model_cpu_offload + sequential_cpu_offload", "only one way of offloading can be active"),
        ("group_offload(leaf) + model_cpu_offload", "only one way of offloading can be active"),
        ("fp8_weights + quantize(torchao_int8)", "both store the same weights"),
        ("quantize(bnb8) + sequential_cpu_offload", "not known to come through"),
        ("group_offload(leaf, 3)", "leaf moves layer by layer and takes no number"),
        ("group_offload(block, 4)", "write group_offload(block, 1), or group_offload(block, 4, stream=false)"),
        ("quantize(gguf)", "takes one of bnb8, bnb4, torchao_int8, torchao_float8"),
        ("6gb + group_offload(leaf)", "only one way of offloading can be active"),
        ("4gb + text_encoder_offload", "moves the layers of text encoders already"),
        ("text_encoder_cpu + text_encoder_offload", "on the CPU or on the device"),
        ("vae_slicing + vae_slicing", "names vae_slicing more than once"),
        ("split_guidence", "is no memory setting"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(cli, manifest, setting, says):
    path = manifest(f"grid:\n  model: demo\n  prompt: a\n  memory: '{setting}'\n")
    outcome = cli("plan", path)
    assert outcome.code == 2
    assert f"{path}:4: memory: " in outcome.err
    assert says in outcome.err


@pytest.mark.parametrize(
    ("model", "setting", "says"),
    [
        ("sdxl", "chunked_ff", "only SANA's feed-forward"),
        ("flux", "split_guidance", "not two halves of one call"),
        ("sd1", "encode_first", "its pipeline is called whole"),
        ("sd1", "vae_cpu", "its pipeline is called whole"),
    ],
)
def test_what_a_pipeline_cannot_take_is_refused(cli, manifest, tiny, model, setting, says):
    text = f"grid: {{model: '{tiny(model)}', prompt: a, size: 64x64, steps: 1, memory: MEMORY}}\n"
    refused = cli("plan", manifest(text.replace("MEMORY", setting)))
    assert refused.code == 2
    assert says in refused.err
    assert cli("plan", manifest(text.replace("MEMORY", "6gb"))).code == 0


def test_slicing_is_said_to_do_nothing(cli, manifest):
    planned = cli("plan", manifest("grid: {model: demo, prompt: a, memory: tutorial}\n"))
    assert planned.code == 0
    assert "vae_slicing saves nothing" in planned.err


def test_bitsandbytes_needs_a_card(cli, manifest, work):
    path = manifest("grid: {model: demo, prompt: a, steps: 1, memory: quantize(bnb8)}\n")
    refused = cli("run", path, "--out", "run", "--devices", "cpu")
    assert refused.code == 2
    assert "works on a CUDA card only; write quantize(torchao_int8)" in refused.err


def test_profiles_tile_by_the_size_alone():
    for name, profile in profiles.PROFILES.items():
        small, large = profiles.resolve(name, Size(1024, 1024)), profiles.resolve(name, Size(5376, 3072))
        tiles = [step for step in large if step.name == "vae_tiling"]
        assert not tiles or [profiles.tiling(*profiles.AUTO_TILE)] == tiles
        pixels = profiles.pixel_steps(small, Size(1024, 1024))
        assert not pixels, f"{name} at 1K is the same picture as full"
        assert set(steps.STEPS).issuperset(step.name for step in large), profile


def test_a_step_that_a_pipeline_does_not_know_is_an_error(tiny):
    warm = Warm(tiny("sana"))
    with pytest.raises(UserError, match="cannot be split into two halves"):
        cuts._in_halves(object(), [warm.task], needed=False)


def test_what_cannot_be_quantised_here_is_said_when_planning(cli, manifest, work):
    path = manifest("grid: {model: demo, prompt: a, steps: 1, memory: [full, quantize(bnb4)]}\n")
    assert "not here: memory: quantize(bnb4) works on a CUDA card only" in cli("plan", path).err
    refused = cli("run", path, "--out", "run", "--devices", "cpu")
    assert refused.code == 2
    assert not (work / "run").exists()


def test_split_guidance_without_guidance_does_nothing(cli, manifest):
    text = "grid: {model: demo, prompt: a, guidance: [1, 3], memory: split_guidance}\n"
    assert cli("plan", manifest(text)).err.count("split_guidance has nothing to split at guidance 1") == 1
    assert "nothing to split" not in cli("plan", manifest(text.replace("split_guidance", "6gb"))).err
