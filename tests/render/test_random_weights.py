"""Models of random weights, and weights that go straight to the device: from configurations and from files."""

import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler, SCMScheduler
from PIL import Image

from batch.base.errors import ModelError
from batch.catalogue import architectures
from batch.catalogue.models import known_models
from batch.hub import models
from batch.hub.models import find_model
from batch.manifest.read import read_manifest
from batch.manifest.values import Size
from batch.memory.profiles import resolve
from batch.plan.build import build_plan
from batch.plan.pins import Pins
from batch.records.values import Call
from batch.render import from_files, memory, random_weights, session, tiles
from batch.render.families import common, sana
from batch.run.lookup import lookup
from batch.store.folder import RunFolder
from tests import tiny_models
from tests.conftest import DEMO, ROOT

SIZES = {"0.6b": 591_747_872, "1.6b": 1_604_462_752}
NORMED = {"sana-1.5-1.6b-1k": 1_604_641_952, "sana-1.5-4.8b-1k": 4_721_825_952}
SPRINT = {"sana-sprint-0.6b-1k": 593_501_216, "sana-sprint-1.6b-1k": 1_610_237_472}
VAE, GEMMA = 312_250_275, 2_614_341_888


pytestmark = pytest.mark.usefixtures("one_thread")


def source(name, base=ROOT):
    return models.source(find_model(str(name), base, {}, online=False))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def tensors(module):
    """Name to shape and dtype of everything a module holds, parameters and buffers."""
    found = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    # Gemma casts this number when it is used, so that its own dtype is nobody's business.
    return {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in found.items() if "embed_scale" not in name
    }


def modules(pipe):
    return {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}


def job(**settings):
    grid = {"model": "random:demo", "prompt": "a fox", "steps": 1, "size": "512x512"} | settings
    return f"grid: {json.dumps(grid)}\n"


# The architectures


@pytest.mark.parametrize("name", architectures.known())
def test_every_architecture_has_the_parameters_of_the_real_one(name):
    found = dict(random_weights.empty(source(f"random:{name}"), lambda _: False))
    assert all(parameter.is_meta for part in found.values() for parameter in part.parameters())
    counts = {part: parameters(module) for part, module in found.items()}
    expected = NORMED.get(name) or SPRINT.get(name) or SIZES[name.split("-")[1]]
    assert counts == {"text_encoder": GEMMA, "transformer": expected, "vae": VAE}
    positions = getattr(found["transformer"].patch_embed, "pos_embed", None)
    if name.endswith(("2k", "4k")):  # what has no parameters to fill has its values already
        assert positions.shape[1] == {"2k": 64, "4k": 128}[name[-2:]] ** 2
        assert float(positions.std()) > 0.5
    else:
        assert positions is None
    assert float(found["text_encoder"].rotary_emb.inv_freq[0]) == 1.0


def test_names_are_those_of_the_catalogue_with_its_defaults():
    names = {name for name, model in known_models().items() if model.pipeline == "SanaPipeline" and model.repo}
    assert names == set(architectures.known()) - set(SPRINT)
    for name in names:
        known, random = known_models()[name], find_model(f"random:{name}", ROOT, {}, online=False)
        unlike = {"name", "about", "repo", "package", "variant", "revision", "random", "architecture"}
        unlike |= {"dtypes", "steps_range", "guidance_range", "download_gb", "licence"}
        for field in set(known.__slots__) - unlike:
            assert getattr(known, field) == getattr(random, field), (name, field)
        config = architectures.known()[name]["transformer/config.json"]
        assert config["sample_size"] == known.sample_size
        assert (config["num_layers"], bool(config.get("qk_norm"))) == (known.blocks, known.qk_norm)
        assert known.weights_gib == pytest.approx(
            common.burden(models.source(random), known.dtype).weights / 2**30
            + (0.14 if name.endswith("4k") else 0), abs=0.02
        )  # fmt: skip


def test_schedulers_are_those_of_the_checkpoints():
    def scheduler(name):
        return common.load(
            source(f"random:{name}"), "float32", leave_out=lambda part: part != "scheduler"
        ).scheduler

    for name in set(architectures.known()) - set(SPRINT):
        made = scheduler(name)
        assert type(made) is DPMSolverMultistepScheduler
        assert made.config.flow_shift == (6.0 if name.endswith("4k") else 3.0)
        assert (made.config.use_flow_sigmas, made.config.prediction_type) == (True, "flow_prediction")
    for name in SPRINT:
        assert type(scheduler(name)) is SCMScheduler
        model = find_model(f"random:{name}", ROOT, {}, online=False)
        assert (model.family, model.prediction, model.steps, str(model.native)) == (
            "sana_sprint", "trigflow", 2, "1024x1024",
        )  # fmt: skip


def test_the_borrowed_tokenizer_lies_inside_the_vocabulary(monkeypatch):
    monkeypatch.delenv("RUN_BATCH_SHIPPED")  # of the model that ships
    found = source("random:sana-1.6b-4k")
    pipe = common.load(found, "float32", leave_out=lambda part: part != "tokenizer")
    vocabulary = architectures.known()["sana-1.6b-4k"]["text_encoder/config.json"]["vocab_size"]
    assert max(pipe.tokenizer("A fox: 7 Füchse, 狐!").input_ids) < len(pipe.tokenizer) < vocabulary


# Built as loaded ones are


@pytest.mark.parametrize("name", tiny_models.BUILDERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_random_model_is_the_loaded_one_but_for_its_values(tiny, name, dtype):
    drawn, loaded = (
        modules(common.load(source(f"random:{tiny(name)}"), dtype)),
        modules(common.load(source(tiny(name)), dtype)),
    )
    assert set(drawn) == set(loaded)
    for part, module in loaded.items():
        assert tensors(drawn[part]) == tensors(module)
        assert parameters(drawn[part]) == parameters(module)  # shared weights are shared
        assert not drawn[part].training
        assert type(drawn[part]) is type(module)
    unlike = [
        part
        for part, module in loaded.items()
        if all(map(torch.equal, module.state_dict().values(), drawn[part].state_dict().values()))
    ]
    assert unlike == []


def test_drawn_weights_are_repeatable_and_no_rows_alike():
    first, second = (common.load_without_texts(source("random:demo-4k"), "bfloat16") for _ in range(2))
    for name, tensor in first.transformer.state_dict().items():
        assert torch.equal(tensor, second.transformer.state_dict()[name])
    assert torch.equal(first.transformer.patch_embed.pos_embed, second.transformer.patch_embed.pos_embed)
    noise = random_weights._Noise("cpu", 1)
    rows = noise.like(torch.empty(3000, 4096, device="meta"), "weight", torch.float16)  # three times its period
    assert len(torch.unique(rows[:, :64], dim=0)) == 3000
    assert float(rows.float().std()) == pytest.approx(1 / 64, rel=0.01)
    other = random_weights._Noise("cpu", 2).like(torch.empty(3, 4096, device="meta"), "weight", torch.float16)
    assert not torch.equal(other, rows[:3])


def test_only_the_parts_that_a_stage_needs_are_built():
    found = source("random:demo")
    assert set(modules(common.load_text_encoder(found, "float32", "cpu"))) == {"text_encoder"}
    assert set(modules(common.load_without_texts(found, "float32"))) == {"transformer", "vae"}
    assert set(modules(common.load_decoder(found, "float32"))) == {"vae"}
    pipe = common.load_without_texts(found, "float16")
    assert (pipe.transformer.dtype, pipe.vae.dtype) == (torch.float16, torch.bfloat16)


# Through the command line


def test_a_run_is_resumed_verified_and_named(cli, manifest, work, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = manifest(job(seed=[0, 1]))
    assert "random weights (random-2-" in cli("plan", path).out
    assert cli("run", path, "--out", "run", "--max-images", "1", "--quiet").code == 75
    (first,) = RunFolder(work / "run").scan().receipts.values()
    outcome = cli("run", path, "--out", "run", "--json")
    assert outcome.code == 0
    assert [event["event"] for event in outcome.events()].count("image") == 1
    receipts = RunFolder(work / "run").scan().receipts
    assert receipts[first.task.id].file == first.file
    assert {item.task.model for item in receipts.values()} == {"random:demo"}
    assert {item.task.revision[:9] for item in receipts.values()} == {"random-2-"}
    assert "random:demo" in (work / "run" / "results.csv").read_text(encoding="utf-8")
    assert cli("verify", "run", "--reproduce", "1").code == 0
    named = cli("run", path, "--out", "named", "--set", "output.name={model}-{seed}", "--quiet")
    assert named.code == 0
    files = [item.name for item in (work / "named" / "images").iterdir()]
    assert sorted(name.rsplit("-", 1)[0] for name in files) == ["random-demo-0", "random-demo-1"]
    assert not [path for path in Path(os.environ["RUN_BATCH_CACHE"]).rglob("*") if ":" in path.name]


def test_a_folder_needs_no_weights_and_a_whole_pipeline_renders(cli, manifest, work, tiny):
    shutil.copytree(tiny("sd1"), work / "bare")
    for file in (work / "bare").rglob("*.safetensors"):
        file.unlink()
    outcome = cli(
        "run", manifest(job(model="random:bare", size="64x64", dtype="float32")), "--out", "run", "--quiet"
    )
    assert outcome.code == 0, outcome.err
    assert cli("plan", "job.yaml", "--set", "model=bare").code == 2
    (work / "bare" / "unet" / "config.json").unlink()
    assert "unet/ holds no config.json" in cli("plan", "job.yaml", "--out", "new").err


def test_sprint_takes_any_number_of_steps(cli, manifest, work):
    small = work / "sprint"
    shutil.copytree(DEMO, small, ignore=shutil.ignore_patterns("*.safetensors"))
    for path, changes in {
        "model_index.json": {"_class_name": "SanaSprintPipeline", "scheduler": ["diffusers", "SCMScheduler"]},
        "transformer/config.json": {
            "guidance_embeds": True,
            "qk_norm": "rms_norm_across_heads",
            "sample_size": 32,
        },
    }.items():
        data = json.loads((small / path).read_text())
        (small / path).write_text(json.dumps(data | changes))
    scheduler = architectures.known()["sana-sprint-1.6b-1k"]["scheduler/scheduler_config.json"]
    (small / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    grid = job(model="random:sprint", steps=[1, 2, 3], size="1024x1024", dtype="float32")
    outcome = cli("run", manifest(grid), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    receipts = RunFolder(work / "run").scan().receipts.values()
    assert len({item.file.sha256 for item in receipts}) == 3
    assert all(item.measurement.denoise and not item.measurement.whole for item in receipts)


def test_a_wrong_name_says_which_was_meant(cli, manifest, work):
    wrong = cli("plan", manifest(job(model="random:sana-1.6b-4")))
    assert wrong.code == 2
    assert "did you mean random:sana-1.6b-4k?" in wrong.err
    assert "possible after random: are sana-0.6b-512" in cli("models", "random:xyzzy").err
    assert cli("models", "random:").code == 2
    code = work / "code"
    shutil.copytree(DEMO, code)
    (code / "transformer" / "diffusers.py").write_text("")
    with pytest.raises(ModelError, match="needs code of its own"):
        source("random:code", work)


def test_models_fetch_and_csv_know_random_models(cli, manifest, work):
    assert "the configuration in the program" in cli("models", "random:sana-sprint-1.6b-1k").out
    assert "random:NAME" in cli("models").out
    assert cli("models", "random:sana-1.6b-4k", "--json").json()["here"]
    repo = known_models()["sana-1.6b-4k"].repo
    assert source(f"random:{repo}").architecture == "sana-1.6b-4k"
    assert "nothing to download" in cli("fetch", manifest(job())).out
    (work / "shots.csv").write_text("model,prompt,size\nrandom:sana-1.6b-4k,a fox,5376x3072\n", encoding="utf-8")
    plan = cli("plan", work / "shots.csv")
    assert plan.code == 0, plan.err
    assert "random:sana-1.6b-4k  5376x3072" in plan.out


def test_a_model_of_which_the_hubs_cache_holds_the_configuration(work, tiny, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "hub"))
    repo, commit = work / "hub" / "models--someone--tiny", "ab" * 20
    shutil.copytree(tiny("sd3"), repo / "snapshots" / commit, ignore=shutil.ignore_patterns("*.safetensors"))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    assert set(modules(common.load(source("random:someone/tiny"), "float32"))) >= {"transformer", "vae"}
    with pytest.raises(ModelError, match="no such model on this machine"):
        source("random:someone/else")


# Guards


def _nan(latents):
    latents[..., 0] = float("nan")
    return latents


def test_guards_tell_of_random_weights_once_and_fail_real_ones(cli, manifest, work, monkeypatch):
    denoise, decode = common.denoise, sana.decode
    monkeypatch.setattr(common, "denoise", lambda *args: _nan(denoise(*args)))
    monkeypatch.setattr(sana, "decode", lambda *args: tiles.of(decode(*args).whole() * float("nan")))
    outcome = cli("run", manifest(job(seed=[0, 1])), "--out", "run", "--json")
    assert outcome.code == 0
    told = [event for event in outcome.events() if event["event"] == "random-weights"]
    assert [event["stage"] for event in told] == ["denoise", "decode", "decode"]
    assert all("weights of random:demo are random" in event["text"] for event in told)
    receipts = RunFolder(work / "run").scan().receipts.values()
    assert [(item.repaired, item.degraded_from) for item in receipts] == [("", "")] * 2
    assert not any(np.asarray(Image.open(work / "run" / item.file.path)).any() for item in receipts)  # NaN is 0
    real = cli("run", "job.yaml", "--out", "real", "--set", "model=demo", "--json")
    assert real.code == 1
    assert {event["event"] for event in real.events()} >= {"invalid"}
    assert not RunFolder(work / "real").scan().receipts


def test_a_picture_of_a_wrong_size_fails_whatever_the_weights(cli, manifest, monkeypatch):
    decode = sana.decode
    monkeypatch.setattr(sana, "decode", lambda *args: tiles.of(decode(*args).whole()[..., :-1]))
    outcome = cli("run", manifest(job()), "--out", "run", "--json")
    assert outcome.code == 1
    assert "511x512 pixels instead of 512x512" in json.dumps(outcome.events())


# Straight to the device


@pytest.mark.parametrize("name", [*tiny_models.BUILDERS, "demo", "demo-4k"])
def test_weights_read_straight_are_those_the_pipeline_loads(tiny, name):
    found = source(name) if name.startswith("demo") else source(tiny(name))
    expected = DiffusionPipeline.from_pretrained(
        found.location, dtype=torch.bfloat16, **tiny_models.left_out(name)
    )
    pipe = common.load(found, "bfloat16", "cpu")
    # PAG is switched on for a call.
    assert type(pipe).__name__ == type(expected).__name__.replace("PAG", "")
    assert modules(pipe).keys() == modules(expected).keys()
    for part, module in modules(expected).items():
        loaded, own = module.state_dict(), modules(pipe)[part].state_dict()
        assert loaded.keys() == own.keys()
        assert all(
            torch.equal(tensor, own[key]) and tensor.dtype == own[key].dtype for key, tensor in loaded.items()
        )
        assert not modules(pipe)[part].training
        assert not hasattr(modules(pipe)[part], "_hf_hook")
    pipe.to("cpu")
    assert pipe.hf_device_map is None  # nothing that forbids moving or offloading
    weights = sum(
        parameter.numel() * parameter.element_size()
        for module in modules(pipe).values()
        for parameter in module.parameters()
    )
    # T5 keeps a copy of its embedding in the file, SD 3 its table of positions.
    if not name.startswith(("flux", "pixart", "sd3")):
        whole = replace(found, family="generic")
        assert common.burden(whole, "bfloat16").weights == weights


def test_a_variant_is_taken_where_a_component_has_it(work):
    folder = work / "mixed"
    shutil.copytree(DEMO, folder)
    pipe = DiffusionPipeline.from_pretrained(DEMO)
    with torch.no_grad():
        pipe.vae.decoder.conv_out.weight.add_(1)
    pipe.vae.save_pretrained(folder / "vae", variant="bf16")
    found = replace(source("mixed", work), variant="bf16")
    expected = DiffusionPipeline.from_pretrained(folder, variant="bf16")
    made = common.load(found, "float32")
    for part, module in modules(expected).items():
        own = modules(made)[part].state_dict()
        assert all(torch.equal(tensor, own[key]) for key, tensor in module.state_dict().items())
    assert torch.equal(made.vae.decoder.conv_out.weight, pipe.vae.decoder.conv_out.weight)
    names = [path.name for path in from_files._weight_files(folder / "vae", "bf16")]
    assert names == ["diffusion_pytorch_model.bf16.safetensors"]
    names = [path.name for path in from_files._weight_files(folder / "vae", "")]
    assert names == ["diffusion_pytorch_model.safetensors"]


class Card:
    def __init__(self, gib):
        self.total_memory = int(gib * 2**30)


@pytest.fixture
def on_card(monkeypatch):
    """A session that believes it has a card of so much memory, and the devices it loads to."""
    loads = []

    def watched(load):
        def watching(found, dtype, device, steps):
            loads.append(device)
            return load(found, dtype, "cpu", steps)

        return watching

    for name in ("load_without_texts", "load_decoder"):
        monkeypatch.setattr(common, name, watched(getattr(common, name)))

    def session_on(name, gib):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card(gib))
        made = session.DiffusersSession(source(name), "float32", "cpu")
        made._device = "cuda:0"
        return made

    session_on.loads = loads
    return session_on


def image(manifest, **settings):
    path = manifest(job(**settings))
    return build_plan(read_manifest(path), lookup(str(path.parent), Pins()), Pins()).tasks[0]


OFFLOAD = resolve("group_offload(block, 1)", Size(1, 1))
"""For a card on which not even one component fits: the estimate of activations alone is too much for it."""


@pytest.mark.parametrize("name", ["demo", "random:demo"])
def test_auto_decides_before_loading_and_by_the_same_figures(manifest, on_card, name):
    task = image(manifest, model=name)
    assert on_card(name, 80).prepare("images", task) == ()
    small = on_card(name, 1)
    assert small.prepare("images", task) == OFFLOAD
    assert small.prepare("images", task) == OFFLOAD  # warm, the same
    assert on_card.loads == ["cuda:0", "cpu"]
    forced = image(manifest, model=name, memory="sequential_cpu_offload")
    full = image(manifest, model=name, memory="full")
    assert on_card(name, 80).prepare("decoder", forced) == (Call(name="sequential_cpu_offload"),)
    assert on_card(name, 1).prepare("decoder", full) == ()
    assert on_card.loads[2:] == ["cpu", "cuda:0"]


def test_the_figures_are_those_of_what_is_loaded():
    pipe = common.load_without_texts(source("demo"), "bfloat16")
    sizes = [2 * parameters(module) for module in modules(pipe).values()]
    expected = memory.Burden(weights=sum(sizes), largest=max(sizes), autoencoder="AutoencoderDC")
    assert common.burden(source("demo"), "bfloat16") == expected
    assert common.burden(source("random:demo"), "bfloat16") == expected
    assert common.burden(source("demo"), "bfloat16", decoder_only=True).weights == 2 * parameters(pipe.vae)


def test_what_does_not_fit_while_loading_goes_to_the_host(manifest, on_card, monkeypatch):
    made = on_card("demo", 80)
    load = common.load_without_texts

    def full(found, dtype, device, steps):
        pipe = load(found, dtype, device, steps)
        if device.startswith("cuda"):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return pipe

    monkeypatch.setattr(common, "load_without_texts", full)
    assert made.prepare("images", image(manifest, model="demo")) == ()
    assert on_card.loads == ["cuda:0", "cpu"]
    assert made.take_load_s() > 0
