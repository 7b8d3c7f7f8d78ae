"""The session against one direct call of diffusers, on a real tiny SanaPipeline."""

import sys

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel
from diffusers.image_processor import PixArtImageProcessor
from PIL import Image

from batch.base.errors import UserError
from batch.catalogue import configs
from batch.catalogue.models import known_models
from batch.hub import folders, models
from batch.hub.models import find_model
from batch.hub.random_models import package_folder
from batch.render import device
from batch.render.pixels import to_uint8
from batch.store.folder import RunFolder
from tests.conftest import ROOT
from tests.fake_driver import FakeCard, driver
from tests.helpers import only_receipt, picture, receipts_of


def direct(model, work, **arguments):
    """What a user gets from the pipeline itself."""
    source = models.source(find_model(model, work, {}, online=False))
    components = {
        name: kind.from_pretrained(source.location, subfolder=name, **source.overrides.get(name, {}))
        for name, kind in (("transformer", SanaTransformer2DModel), ("vae", AutoencoderDC))
    }
    pipe = SanaPipeline.from_pretrained(source.location, **components)
    pipe.set_progress_bar_config(disable=True)
    seed = arguments.pop("seed")
    tile = arguments.pop("tile", None)
    if tile:
        pipe.vae.enable_tiling(*tile)
    return np.asarray(pipe(generator=torch.Generator("cpu").manual_seed(seed), **arguments).images[0])


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({}, {}),
        ({"negative_prompt": "blurry"}, {"negative_prompt": "blurry"}),
        ({"guidance": "1"}, {"guidance_scale": 1.0}),
        ({"memory": "vae_tiling(256, 192)"}, {"tile": (256, 256, 192, 192)}),
        ({"memory": "model-offload", "size": "672x384"}, {"width": 672, "height": 384}),
        ({"size": "300x200", "resize": "true"}, {"width": 300, "height": 200}),
        ({"extra.complex_human_instruction": "[[]]"}, {"complex_human_instruction": []}),
        ({"model": "demo-1k", "size": "1024x1024"}, {"width": 1024, "height": 1024}),
    ],
)
def test_the_picture_is_bit_identical_to_the_pipeline_call(cli, manifest, work, settings, arguments):
    path = manifest("grid: {model: demo, prompt: A Fox, seed: 7, steps: 2, size: 512x512, extra.eta: 0.0}\n")
    sets = [item for key, value in settings.items() for item in ("--set", f"{key}={value}")]
    outcome = cli("run", path, "--out", "run", "--quiet", *sets)
    assert outcome.code == 0, outcome.err
    call = {"width": 512, "height": 512, "guidance_scale": 2.0} | arguments
    expected = direct(settings.get("model", "demo"), work, prompt="A Fox", seed=7, num_inference_steps=2, **call)
    assert np.array_equal(picture(work / "run"), expected)


def test_a_setting_does_not_leak_into_the_next_image(cli, manifest, work):
    path = manifest(
        "grid: {model: demo, prompt: a, steps: 1, size: 512x512,"
        " memory: ['vae_tiling(256, 192)', full, 'vae_tiling(256, 128)'], scheduler: [default, flow-euler]}\n"
        "exclude: [{scheduler: flow-euler, memory: full}]\n"
    )
    assert cli("run", path, "--out", "all", "--quiet").code == 0
    assert len(RunFolder(work / "all").scan().receipts) == 5
    for setting in ("full", "vae_tiling(256, 128)"):
        out = f"one-{len(setting)}"
        arguments = ["--set", f"memory={setting}", "--set", "scheduler=default", "--set", "exclude=[]"]
        assert cli("run", path, "--out", out, "--quiet", *arguments).code == 0
        alone = only_receipt(work / out)
        together = RunFolder(work / "all").scan().receipts[alone.task.id]
        assert alone.file.sha256 == together.file.sha256


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_uint8_rounds_as_diffusers_does(dtype):
    image = (torch.randn(1, 3, 517, 130, generator=torch.Generator().manual_seed(0)) * 0.8).to(dtype)
    expected = PixArtImageProcessor().postprocess(image, output_type="pil")[0]
    assert np.array_equal(to_uint8(image), np.asarray(expected))


def test_a_lora_changes_the_picture_and_is_gone_afterwards(cli, manifest, work):
    from peft import LoraConfig

    source = models.source(find_model("demo", work, {}, online=False))
    transformer = SanaTransformer2DModel.from_pretrained(source.location, subfolder="transformer")
    transformer.add_adapter(LoraConfig(r=4, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v"]))
    from peft.utils import get_peft_model_state_dict

    SanaPipeline.save_lora_weights(work / "lora", get_peft_model_state_dict(transformer))
    file = "lora/pytorch_lora_weights.safetensors"
    path = manifest(f"grid: {{model: demo, prompt: a, steps: 1, lora: ['{file}', '{file}(scale=0.5)', none]}}\n")
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    receipts = receipts_of(work / "run")
    assert len({receipt.file.sha256 for receipt in receipts}) == 3
    without = next(receipt for receipt in receipts if not receipt.task.loras)
    expected = direct(
        "demo",
        work,
        prompt="a",
        seed=0,
        num_inference_steps=1,
        width=512,
        height=512,
        guidance_scale=2.0,
    )
    assert np.array_equal(picture(work / "run", without), expected)


def test_a_model_in_a_folder(cli, manifest, work):
    import shutil

    shutil.copytree(models.source(find_model("demo", work, {}, online=False)).location, work / "my model")
    outcome = cli("run", manifest("grid: {model: my model, prompt: a, steps: 1}\n"), "--quiet")
    assert outcome.code == 0, outcome.err
    (work / "my model" / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    broken = cli("run", "job.yaml", "--quiet")
    assert broken.code == 2
    assert "vae/ holds no weights" in broken.err
    (work / "my model" / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"torn")
    broken = cli("run", "job.yaml", "--out", "again", "--quiet")
    assert broken.code == 1
    assert "cannot be loaded" in broken.err
    (work / "my model" / "tokenizer" / "tokenizer.json").unlink()
    assert "tokenizer/ holds no vocabulary" in cli("plan", "job.yaml", "--out", "new").err


def test_the_model_that_ships_is_as_catalogued_and_renders(cli, manifest, work, monkeypatch):
    """Everywhere else `demo` is that of the tests."""
    monkeypatch.delenv("RUN_BATCH_SHIPPED")
    folder = package_folder("demo")
    assert folder == ROOT / "batch" / "models" / "demo"
    said, found = known_models()["demo"], configs.describe("demo", folders.reader(folder))
    for fact in ("pipeline", "sample_size", "native", "scheduler", "prediction", "blocks", "qk_norm"):
        assert getattr(said, fact) == getattr(found, fact), fact
    path = manifest("grid: {model: demo, prompt: a fox, steps: 2, size: 512x512}\n")
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    receipt = only_receipt(work / "run")
    assert receipt.task.revision == folders.revision_of(folder)
    assert picture(work / "run").std() > 5


def test_a_cpu_only_torch_on_a_machine_with_a_card(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", driver(FakeCard("a")))
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"pip install .*--index-url"):
        device.offer(None)
    assert device.offer("cpu").devices == ("cpu",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # it is hidden on purpose
    assert device.offer(None).devices == ("cpu",)


def test_a_device_that_is_not_there(cli, manifest):
    outcome = cli("run", manifest(), "--devices", "7")
    assert outcome.code == 2
    assert "possible are" in outcome.err


@pytest.mark.slow
def test_the_4k_model_renders_4k(cli, manifest, work):
    path = manifest("grid: {model: demo-4k, prompt: a, steps: 1, size: 5376x3072}\n")
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    with Image.open(next((work / "run" / "images").iterdir())) as image:
        assert image.size == (5376, 3072)
