"""A LoRA leaves no trace: whatever came before on the same warm pipeline, a task gives what it gives alone."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate import cpu_offload_with_hook
from diffusers import DiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict

from batch.hub.models import find_model, source
from batch.plan.texts import encode_tasks
from batch.records.tasks import EncodeTask, Lora, Task
from batch.records.values import Call
from batch.render import memory
from batch.render.failures import StageFailed
from batch.render.session import DiffusersSession
from tests.helpers import nothing, picture, receipts_of
from tests.render.direct import job, loaded

pytestmark = pytest.mark.usefixtures("one_thread")

SIDES = {"sana": 512, "sana-sprint": 1024, "sdxl": 64, "flux": 64, "sd1": 64}
IN_TEXT = ("sdxl", "flux", "sd1")


@pytest.fixture(scope="module")
def adapters(tiny, tmp_path_factory):
    """Two LoRAs of a tiny model, as files; those of CLIP models change the text encoder too."""

    @cache
    def build(name: str) -> tuple[Lora, Lora]:
        return _adapter(tiny(name), name, 1, folder), _adapter(tiny(name), name, 2, folder)

    folder = tmp_path_factory.mktemp("loras")
    return build


def _adapter(model: Path, name: str, seed: int, folder: Path) -> Lora:
    torch.manual_seed(seed)
    pipe = DiffusionPipeline.from_pretrained(model)
    denoiser = "unet" if name.startswith("sd") else "transformer"
    parts = [(denoiser, ["to_q", "to_v"]), *([("text_encoder", ["q_proj", "v_proj"])] if name in IN_TEXT else [])]
    layers = {}
    for part, targets in parts:
        config = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets)
        getattr(pipe, part).add_adapter(config)
        layers[f"{part}_lora_layers"] = get_peft_model_state_dict(getattr(pipe, part))
    place = folder / f"{name}-{seed}"
    type(pipe).save_lora_weights(place, **layers)
    path = place / "pytorch_lora_weights.safetensors"
    return Lora(path=str(path), sha256=f"{name}-{seed}", in_text=name in IN_TEXT)


def opened(folder: Path) -> tuple[DiffusersSession, Task]:
    model = find_model(str(folder), Path(), {}, online=False)
    side = SIDES[folder.name]
    task = Task(
        id="1" * 16, model=model.name, dtype="float32", prompt="a fox 7", seed=7, width=side, height=side,
        rendered_width=side, rendered_height=side, steps=2, guidance=3.0,
    )  # fmt: skip
    return DiffusersSession(source(model), "float32", "cpu"), task


class Warm:
    """A session with a loaded pipeline; texts are encoded in another one, without LoRAs."""

    def __init__(self, folder: Path, steps: tuple[Call, ...] = ()) -> None:
        self.session, self.task = opened(folder)
        self.steps = steps
        texts, _ = opened(folder)
        family = self.session._source.family
        self.embeds = [texts.encode(item, nothing).value for item in encode_tasks(self.task, family, "cpu")]

    def render(self, *loras: Lora, beat=nothing) -> np.ndarray:
        task = replace(self.task, loras=loras)
        self.session.prepare("images", task)
        if not self.session.staged:
            return self.session.whole(task, self.steps, beat).value
        latents = self.session.denoise([task], [self.embeds], self.steps, beat).value
        return self.session.decode(task, latents, self.steps, nothing).value


def at(lora: Lora, scale: float) -> Lora:
    return replace(lora, scale=scale)


def give_up(stage, step, _steps):
    if step:
        raise RuntimeError("no more")


@cache
def alone(folder: Path, loras: tuple[Lora, ...]) -> np.ndarray:
    """What a pipeline gives that has never seen another LoRA."""
    return Warm(folder).render(*loras)


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("name", SIDES)
def test_every_task_is_what_it_is_alone(tiny, adapters, monkeypatch, name, offload):
    steps = (Call(name="model_cpu_offload"),) if offload else ()
    hooked = []
    if offload:

        def place(pipe, _arguments, device):
            for component in pipe.components.values():
                if isinstance(component, torch.nn.Module):
                    cpu_offload_with_hook(component, torch.device(device))
                    hooked.append(type(component).__name__)

        monkeypatch.setitem(memory.STEPS, "model_cpu_offload", place)
    first, second = adapters(name)
    orders = [(at(first, 0.5),), (first,), (first, at(second, -0.7)), (second,), (), (first,), ()]
    warm = Warm(tiny(name), steps)
    for index, order in enumerate(orders):
        assert np.array_equal(warm.render(*order), alone(tiny(name), order)), (index, order)
        if index == 2:
            with pytest.raises(StageFailed, match="no more"):
                warm.render(first, second, beat=give_up)
    assert len({alone(tiny(name), order).tobytes() for order in orders}) == 5
    assert bool(hooked) is offload
    if offload:  # nothing is left without a hook
        modules = [item for item in warm.session.pipe.components.values() if isinstance(item, torch.nn.Module)]
        assert all(hasattr(item, "_hf_hook") for item in modules)


@pytest.mark.parametrize("name", SIDES)
def test_one_that_fails_half_way_leaves_nothing(tiny, adapters, tmp_path, name):
    first, _ = adapters(name)
    broken = tmp_path / "broken.safetensors"
    state = safetensors.torch.load_file(first.path)
    safetensors.torch.save_file({key: item[..., :1].contiguous() for key, item in state.items()}, broken)
    warm = Warm(tiny(name))
    before = alone(tiny(name), ())
    with pytest.raises(StageFailed):
        warm.render(first, replace(first, path=str(broken), sha256="broken"))
    assert np.array_equal(warm.render(), before)
    with pytest.raises(StageFailed):
        warm.render(replace(first, path=str(tmp_path / "gone.safetensors"), sha256="gone"))
    assert np.array_equal(warm.render(first), alone(tiny(name), (first,)))


def test_one_for_flux_that_widens_the_transformer_is_taken_back(tiny, tmp_path):
    """As those for control do: the picture's latents and a second picture's side by side."""
    warm = Warm(tiny("flux"))
    before = warm.render()
    inner, outer = torch.randn(2, 8), torch.randn(32, 2)
    state = {"transformer.x_embedder.lora_A.weight": inner, "transformer.x_embedder.lora_B.weight": outer}
    safetensors.torch.save_file(state, tmp_path / "wide.safetensors")
    with pytest.raises(StageFailed):
        warm.render(Lora(path=str(tmp_path / "wide.safetensors"), sha256="wide"))
    assert warm.session.pipe.transformer.x_embedder.in_features == 8
    assert np.array_equal(warm.render(), before)
    assert warm.session.pipe.transformer.x_embedder.in_features == 4


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_texts_are_encoded_as_if_no_lora_had_been_there(tiny, adapters, tmp_path, name):
    first, second = adapters(name)
    orders = [(), (at(first, 0.5),), (first,), (first, second), (second,), ()]

    def encoded(session, loras):
        text = EncodeTask(key="", model="", dtype="float32", text="a fox 7", negative=False, loras=loras)
        return session.encode(text, nothing).value

    alone = {order: encoded(opened(tiny(name))[0], order) for order in dict.fromkeys(orders)}
    warm, _ = opened(tiny(name))
    assert [encoded(warm, order) == alone[order] for order in orders] == [True] * len(orders)
    assert len(set(alone.values())) == len(alone)
    gone = replace(first, path=str(tmp_path / "gone.safetensors"), sha256="gone")
    with pytest.raises(Exception, match="cannot be encoded"):
        encoded(warm, (first, gone))
    assert encoded(warm, ()) == alone[()]


# LoRAs of other models


@pytest.mark.parametrize(
    ("model", "other"), [("sana", "sdxl"), ("sdxl", "sana"), ("flux", "sana"), ("sd1", "flux")]
)
def test_one_for_another_model_fails_its_image_and_says_so(tiny, adapters, model, other):
    foreign, _ = adapters(other)
    warm, before = Warm(tiny(model)), alone(tiny(model), ())
    with pytest.raises(StageFailed) as failed:
        warm.render(replace(foreign, in_text=False))
    assert f"the LoRA {Path(foreign.path).name} " in failed.value.info.message
    assert re.search("fits nothing in|does not fit", failed.value.info.message)
    assert np.array_equal(warm.render(), before)


@pytest.mark.parametrize("name", ["sana", "sdxl", "flux"])
def test_one_that_fits_in_part_is_told_once(tiny, adapters, tmp_path, name):
    whole, _ = adapters(name)
    state = safetensors.torch.load_file(whole.path)
    denoiser = {key: item for key, item in state.items() if not key.startswith("text_encoder")}
    foreign = {re.sub(r"(blocks?)\.\d+", r"\1.77", key): item.clone() for key, item in denoiser.items()}
    path = tmp_path / "half.safetensors"
    safetensors.torch.save_file(state | foreign, path)
    warm = Warm(tiny(name))
    assert np.array_equal(warm.render(replace(whole, path=str(path), sha256="half")), alone(tiny(name), (whole,)))
    (said,) = warm.session.take_objections()
    assert said.kind == "lora"
    assert re.fullmatch(r"of the LoRA half\.safetensors only \d+ of \d+ layers fit the model", said.text)
    warm.render(whole)
    assert warm.session.take_objections() == []


@pytest.mark.parametrize("name", ["sdxl", "flux", "sd3", "qwen_image", "z_image"])
def test_a_lora_acts_on_both_halves(cli, manifest, work, tiny, name):
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(1)
    pipe = DiffusionPipeline.from_pretrained(tiny(name))
    pipe.set_progress_bar_config(disable=True)
    denoiser = "unet" if name == "sdxl" else "transformer"
    layers = {}
    parts = [(denoiser, ["to_q", "to_v"])]
    if name not in ("qwen_image", "z_image"):  # LoRAs of the others may change the text encoder too
        parts.append(("text_encoder", ["q_proj", "v_proj"]))
    for part, targets in parts:
        config = LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets)
        getattr(pipe, part).add_adapter(config)
        layers[f"{part}_lora_layers"] = get_peft_model_state_dict(getattr(pipe, part))
    type(pipe).save_lora_weights(work / "lora", **layers)
    file = "lora/pytorch_lora_weights.safetensors"
    path = manifest(job(tiny(name), size="64x64", lora=["none", f"{file}(scale=0.5)"]))
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    with_lora = DiffusionPipeline.from_pretrained(tiny(name))
    with_lora.set_progress_bar_config(disable=True)
    with_lora.load_lora_weights(str(work / file), adapter_name="a")
    with_lora.set_adapters(["a"], [0.5])
    for receipt in receipts_of(work / "run"):
        call = with_lora if receipt.task.loras else loaded(tiny(name))[0]
        call.vae.disable_tiling()
        call.scheduler = loaded(tiny(name))[1]
        seed = torch.Generator("cpu").manual_seed(7)
        negative = {"negative_prompt": " "} if name == "qwen_image" else {}
        expected = call("a fox 7", num_inference_steps=2, width=64, height=64, generator=seed, **negative).images[
            0
        ]
        found = picture(work / "run", receipt)
        assert np.array_equal(found, np.asarray(expected)), receipt.task.loras


@pytest.mark.parametrize("kind", ["repository", "folder", "pickle", "other suffix"])
def test_only_a_safetensors_file_is_loaded(tiny, adapters, tmp_path, monkeypatch, kind):
    """What diffusers takes for a repository it asks the Hub for; what is none of safetensors it unpickles."""
    good = Path(adapters("sana")[0].path)
    places = {"repository": Path("someone/lora"), "folder": good.parent}
    for name, suffix in (("pickle", ".bin"), ("other suffix", ".st")):
        places[name] = tmp_path / f"pytorch_lora_weights{suffix}"
        places[name].write_bytes(good.read_bytes())
    monkeypatch.setattr(torch, "load", lambda *_arguments, **_named: pytest.fail("unpickled"))
    with pytest.raises(StageFailed, match=r"no \.safetensors file of this machine"):
        Warm(tiny("sana")).render(Lora(path=str(places[kind]), sha256="0"))
