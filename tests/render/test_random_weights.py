"""Models of random weights, and weights that go straight to the device: from configurations and from files."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, SCMScheduler

from batch.base.errors import ModelError
from batch.catalogue import architectures
from batch.catalogue.models import known_models
from batch.hub import models
from batch.hub.models import find_model
from batch.render import pipelines, random_weights, tiles
from batch.render.families import common
from batch.render.families.staged import Staged
from batch.store.folder import RunFolder
from tests import tiny_models
from tests.conftest import DEMO, ROOT
from tests.helpers import only_receipt, picture, receipts_of
from tests.render.parts import job, modules, parameters, source, tensors

pytestmark = pytest.mark.usefixtures("one_thread")


SIZES = {"0.6b": 591_747_872, "1.6b": 1_604_462_752}
NORMED = {"sana-1.5-1.6b-1k": 1_604_641_952, "sana-1.5-4.8b-1k": 4_721_825_952}
SPRINT = {"sana-sprint-0.6b-1k": 593_501_216, "sana-sprint-1.6b-1k": 1_610_237_472}
VAE, GEMMA = 312_250_275, 2_614_341_888


# The architectures


SANA = [name for name in architectures.known() if name.startswith("sana")]


@pytest.mark.parametrize("name", SANA)
def test_sanas_have_the_parameters_of_the_real_ones(name):
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
    assert names == set(SANA) - set(SPRINT)
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
            pipelines.burden(models.source(random), known.dtype).weights / 2**30
            + (0.14 if name.endswith("4k") else 0), abs=0.02
        )  # fmt: skip


def test_schedulers_are_those_of_the_checkpoints():
    def scheduler(name):
        return pipelines.load(
            source(f"random:{name}"), "float32", leave_out=lambda part: part != "scheduler"
        ).scheduler

    for name in set(SANA) - set(SPRINT):
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
    pipe = pipelines.load(found, "float32", leave_out=lambda part: part != "tokenizer")
    vocabulary = architectures.known()["sana-1.6b-4k"]["text_encoder/config.json"]["vocab_size"]
    assert max(pipe.tokenizer("A fox: 7 Füchse, 狐!").input_ids) < len(pipe.tokenizer) < vocabulary


# Built as loaded ones are


@pytest.mark.parametrize("name", tiny_models.BUILDERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_random_model_is_the_loaded_one_but_for_its_values(tiny, name, dtype):
    drawn, loaded = (
        modules(pipelines.load(source(f"random:{tiny(name)}"), dtype)),
        modules(pipelines.load(source(tiny(name)), dtype)),
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
    first, second = (pipelines.load_without_texts(source("random:demo-4k"), "bfloat16") for _ in range(2))
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
    assert set(modules(pipelines.load_text_encoder(found, "float32", "cpu"))) == {"text_encoder"}
    assert set(modules(pipelines.load_without_texts(found, "float32"))) == {"transformer", "vae"}
    assert set(modules(pipelines.load_decoder(found, "float32"))) == {"vae"}
    pipe = pipelines.load_without_texts(found, "float16")
    assert (pipe.transformer.dtype, pipe.vae.dtype) == (torch.float16, torch.bfloat16)


# Through the command line


def test_a_run_is_resumed_verified_and_named(cli, manifest, work, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = manifest(job(seed=[0, 1]))
    assert "random weights (random-2-" in cli("plan", path).out
    assert cli("run", path, "--out", "run", "--max-images", "1", "--quiet").code == 75
    first = only_receipt(work / "run")
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
    receipts = receipts_of(work / "run")
    assert len({item.file.sha256 for item in receipts}) == 3
    assert all(item.measurement.denoise and not item.measurement.whole for item in receipts)


def test_a_wrong_name_says_which_was_meant(cli, manifest, work):
    wrong = cli("plan", manifest(job(model="random:sana-1.6b-4")))
    assert wrong.code == 2
    assert "did you mean random:sana-1.6b-4k?" in wrong.err
    assert "possible after random: are sana-0.6b-1k" in cli("models", "random:xyzzy").err
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
    assert set(modules(pipelines.load(source("random:someone/tiny"), "float32"))) >= {"transformer", "vae"}
    with pytest.raises(ModelError, match="no such model on this machine"):
        source("random:someone/else")


# Guards


def _nan(latents):
    latents[..., 0] = float("nan")
    return latents


def test_guards_tell_of_random_weights_once_and_fail_real_ones(cli, manifest, work, monkeypatch):
    denoise, decode = common.denoise, Staged.decode
    monkeypatch.setattr(common, "denoise", lambda *args, **more: _nan(denoise(*args, **more)))
    monkeypatch.setattr(Staged, "decode", lambda *args: tiles.of(decode(*args).whole() * float("nan")))
    outcome = cli("run", manifest(job(seed=[0, 1])), "--out", "run", "--json")
    assert outcome.code == 0
    told = [event for event in outcome.events() if event["event"] == "random-weights"]
    assert [event["stage"] for event in told] == ["denoise", "decode", "decode"]
    assert all("weights of random:demo are random" in event["text"] for event in told)
    receipts = receipts_of(work / "run")
    assert [(item.repaired, item.degraded_from) for item in receipts] == [("", "")] * 2
    assert not any(picture(work / "run", item).any() for item in receipts)  # NaN is 0
    real = cli("run", "job.yaml", "--out", "real", "--set", "model=demo", "--json")
    assert real.code == 1
    assert {event["event"] for event in real.events()} >= {"invalid"}
    assert not RunFolder(work / "real").scan().receipts


def test_a_picture_of_a_wrong_size_fails_whatever_the_weights(cli, manifest, monkeypatch):
    decode = Staged.decode
    monkeypatch.setattr(Staged, "decode", lambda *args: tiles.of(decode(*args).whole()[..., :-1]))
    outcome = cli("run", manifest(job()), "--out", "run", "--json")
    assert outcome.code == 1
    assert "511x512 pixels instead of 512x512" in json.dumps(outcome.events())
