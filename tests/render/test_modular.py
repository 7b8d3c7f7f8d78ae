"""Models that diffusers has in blocks only: what is said of them, and what test_newer.py does not render."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import ClassifierFreeGuidance

from batch.catalogue import modular, signatures
from batch.render import assembly
from tests.helpers import picture
from tests.render.direct import direct, job, of_blocks

pytestmark = pytest.mark.usefixtures("one_thread")


def changed(folder, to, change):
    """A copy of a model whose index is another one."""
    shutil.copytree(folder, to)
    index = json.loads((to / modular.INDEX).read_text())
    change(index)
    (to / modular.INDEX).write_text(json.dumps(index))
    return to


@pytest.mark.skipif(find_spec("torchvision") is None, reason="rendered by test_those_with_processors_too")
def test_a_distilled_flux3_has_no_guidance(cli, manifest, work, tiny):
    folder = tiny("flux3-distilled")
    outcome = cli("run", manifest(job(folder, size="96x64")), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    assert np.array_equal(picture(work / "run"), direct(folder, width=96, height=64))
    outcome = cli("plan", manifest(job(folder, size="96x64", guidance=3)))
    assert outcome.code == 2
    assert "takes no guidance scale; leave it out" in outcome.err


def test_a_copied_folder_renders_from_itself(cli, manifest, work, tiny):
    def unloaded(index):  # as an index is whose author had loaded nothing
        for name, value in index.items():
            if isinstance(value, list):
                place = {"pretrained_model_name_or_path": "someone/anima", "subfolder": name}
                index[name] = [None, None, {**value[2], **place}]

    folder = changed(tiny("anima"), work / "copied", unloaded)
    outcome = cli("run", manifest(job(folder, size="96x64", guidance=4)), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    wanted = direct(tiny("anima"), width=96, height=64, guidance_scale=4.0)
    assert np.array_equal(picture(work / "run"), wanted)


def test_what_lies_in_another_place_is_refused(cli, manifest, work, tiny):
    def elsewhere(index):
        index["t5_tokenizer"][2]["pretrained_model_name_or_path"] = "google/t5-v1_1-xxl"

    folder = changed(tiny("anima"), work / "other", elsewhere)
    shutil.rmtree(folder / "t5_tokenizer")
    outcome = cli("plan", manifest(job(folder)))
    assert outcome.code == 2
    said = "other holds no t5_tokenizer: its modular_model_index.json says that it lies in google/t5-v1_1-xxl"
    assert said in outcome.err


def test_models_of_other_blocks_are_refused(cli, manifest, work, tiny):
    folder = changed(tiny("anima"), work / "other", lambda index: index.update(_class_name="WanModularPipeline"))
    outcome = cli("plan", manifest(job(folder)))
    assert outcome.code == 2
    assert "other is a WanModularPipeline, which diffusers has in blocks" in outcome.err
    assert "AnimaModularPipeline, Flux3DistilledModularPipeline, Flux3ModularPipeline are rendered" in outcome.err


def test_a_lora_changes_how_texts_are_read_too(cli, manifest, work, tiny):
    torch.manual_seed(3)
    layers = {"transformer.transformer_blocks.0.attn1.to_q": (32, 32), "text_conditioner.out_proj": (16, 16)}
    state = {}
    for name, (wide, high) in layers.items():
        state |= {f"{name}.lora_A.weight": torch.randn(2, wide), f"{name}.lora_B.weight": torch.randn(high, 2)}
    safetensors.torch.save_file(state, work / "both.safetensors")
    path = manifest(job(tiny("anima"), size="96x64", guidance=4, lora="both.safetensors(scale=0.5)"))
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err

    def wanted(names):
        pipe = of_blocks(tiny("anima"))
        some = {key: weight for key, weight in state.items() if key.startswith(names)}
        pipe.load_lora_weights(some, adapter_name="both")
        pipe.set_adapters(["both"], [0.5])
        pipe.update_components(guider=ClassifierFreeGuidance(guidance_scale=4.0))
        noise = torch.Generator("cpu").manual_seed(7)
        given = {"prompt": "a fox 7", "width": 96, "height": 64, "num_inference_steps": 2, "generator": noise}
        return np.asarray(pipe(output="images", **given)[0])

    rendered = picture(work / "run")
    assert np.array_equal(rendered, wanted(("transformer", "text_conditioner")))
    assert not np.array_equal(rendered, wanted("transformer"))


def test_a_lora_of_animas_text_encoder_is_refused(cli, manifest, work, tiny):
    layer = "text_encoder.model.layers.0.self_attn.q_proj"
    state = {f"{layer}.lora_A.weight": torch.ones(2, 16), f"{layer}.lora_B.weight": torch.ones(16, 2)}
    safetensors.torch.save_file(state, work / "text.safetensors")
    path = manifest(job(tiny("anima"), size="64x64", lora="text.safetensors"))
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 1
    assert "Anima takes no LoRA of its text_encoder" in outcome.out + outcome.err


def test_the_scheduler_is_that_of_the_blocks():
    kind = assembly.kind_of("Flux3ModularPipeline")
    said = modular.translated(lambda path: {"_class_name": kind.__name__} if path == modular.INDEX else None)
    pipe = kind(vae=None, text_encoder=None, tokenizer=None, transformer=None)
    assert said("scheduler/scheduler_config.json")["shift"] == pipe.scheduler.config.shift == 6.93


def test_every_such_pipeline_is_one_of_diffusers_too():
    import diffusers

    for name in signatures.of_blocks():
        theirs = getattr(diffusers, name)
        assert issubclass(theirs, diffusers.ModularPipeline)
        assert set(signatures.pipeline_components(name)) <= set(assembly.kind_of(name)._get_signature_types())
