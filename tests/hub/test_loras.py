"""LoRAs from the Hub, from a revision of it, and those that are not there."""

import json
import shutil
from dataclasses import replace

import pytest

from batch.base.errors import ModelError
from batch.engines.ray import belongings
from batch.hub.downloads import FetchOptions
from tests.helpers import Seen, plan, receipts_of
from tests.hub.user import snapshot
from tests.small_hub import COMMIT, Repo


def test_a_lora_from_the_hub(near, hub, manifest, work, lora):
    hub.repos["someone/style"] = Repo({"README.md": b"#", "style.safetensors": lora, "old/v1.safetensors": lora})
    name = "someone/style"
    path = manifest(f"grid: {{model: demo, prompt: a fox, steps: 1, lora: [none, '{name}(scale=0.5)']}}\n")
    plan = near("plan", path)
    assert (plan.code, hub.requests) == (0, []), plan.err
    assert "2 images" in plan.out
    run = near("run", path, "--out", "run")
    assert run.code == 0, run.err
    assert hub.downloads() == ["style.safetensors"]
    with_lora = [receipt.task for receipt in receipts_of("run") if receipt.task.loras]
    assert [task.loras[0].source for task in with_lora] == [f"{name}@{COMMIT}/style.safetensors"]
    assert json.loads((work / "run/.run/plan.json").read_text())["revisions"] == {name: COMMIT}
    hub.repos[name].move({"style.safetensors": b"other"})
    assert "0 images rendered" in near("run", path, "--out", "run").out
    assert near("verify", "run", "--reproduce", "2").code == 0
    assert near("plan", path).code == 0
    assert hub.requests == []
    # The content counts: the same file beside the manifest is the same picture.
    (work / "style.safetensors").write_bytes(lora)
    own = manifest(path.read_text().replace(name, "style.safetensors"), name="own.yaml")
    same = near("run", own, "--out", "run", "--set", "name=job")
    assert "0 images rendered" in same.out, same.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("someone/styles", "there are a.safetensors, b.safetensors, sub/c.safetensors"),
        ("someone/styles/d.safetensors", "someone/styles holds no d.safetensors"),
        ("someone/none", "is not on the Hub"),
        ("someone/styles/sub", "is not a .safetensors file, nor a repository of the Hub"),
        ("nowhere.safetensors", "there is no file"),
        ("folder/nowhere.safetensors", "there is no file"),
    ],
)
def test_loras_that_are_not_there(near, hub, manifest, name, said, lora):
    hub.repos["someone/styles"] = Repo(
        dict.fromkeys(["a.safetensors", "b.safetensors", "sub/c.safetensors"], lora)
    )
    outcome = near("fetch", manifest(f"grid:\n  model: demo\n  prompt: a\n  lora: {name}\n"))
    assert outcome.code == 2
    assert "job.yaml:4: lora: " in outcome.err
    assert said in outcome.err


def test_a_lora_of_a_revision_in_a_folder(near, hub, manifest, work, lora):
    repo = hub.repos["someone/styles"] = Repo({"sub/c.safetensors": lora})
    repo.move({"sub/c.safetensors": b"another"})
    path = manifest(f"grid: {{model: demo, prompt: a, lora: someone/styles/sub/c.safetensors@{COMMIT}}}\n")
    outcome = near("fetch", path)
    assert outcome.code == 0, outcome.err
    assert f"someone/styles@{COMMIT}/sub/c.safetensors is on this machine" in outcome.out
    assert snapshot("someone/styles").joinpath("sub/c.safetensors").read_bytes() == lora


def test_a_node_with_a_cache_elsewhere_downloads_what_is_beside_the_models(
    near, hub, manifest, work, lora, monkeypatch
):
    hub.repos["someone/style"] = Repo({"style.safetensors": lora})
    path = manifest("grid: {model: demo, prompt: a fox, steps: 1, lora: someone/style}\n")
    assert near("fetch", path).code == 0
    (style,) = plan(path).tasks[0].loras
    how = FetchOptions(listener=Seen())
    assert belongings.beside([style], how) == {}
    shutil.move(work / "hub", work / "of-another-machine")
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "of-this-node"))
    hub.requests.clear()
    found = belongings.beside([style], how)
    assert hub.downloads() == ["style.safetensors"]
    assert list(found) == [style.path]
    assert found[style.path].startswith(str(work / "of-this-node"))
    with pytest.raises(ModelError, match=r"the LoRA style: .* is another file than on the machine of the run"):
        belongings.beside([replace(style, sha256="0" * 64)], how)
