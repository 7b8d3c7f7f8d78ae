"""Models that are in a repository as blocks: fetched, pinned and rendered like the rest."""

import json

from batch.catalogue import modular
from tests.helpers import only_receipt
from tests.hub.user import snapshot
from tests.small_hub import COMMIT, Repo, folder_files

NAME = "someone/anima"
JOB = f"grid: {{model: {NAME}, prompt: a fox, steps: 1, size: 64x64, dtype: float32}}\n"


def placed(files, place):
    """The files of a model whose index says that all components lie there."""
    index = json.loads(files[modular.INDEX])
    for name, value in index.items():
        if isinstance(value, list):
            value[2]["pretrained_model_name_or_path"] = place(name)
    return {**files, modular.INDEX: json.dumps(index).encode()}


def test_blocks_of_a_repository_are_fetched_and_rendered(place, near, hub, manifest, tiny):
    files = placed(folder_files(tiny("anima")), lambda _: NAME)
    unread = {"README.md": b"#", "prompt_upsampler/model.safetensors": b"large"}
    hub.repos[NAME] = Repo({**files, **unread})
    path = manifest(JOB)
    assert near("fetch", path).code == 0
    here = {item.relative_to(snapshot(NAME)).as_posix() for item in snapshot(NAME).rglob("*") if item.is_file()}
    assert here == files.keys()
    run = near("run", path, "--out", "run")
    assert run.code == 0, run.err
    assert hub.requests == []
    assert only_receipt("run").task.revision == COMMIT


def test_a_repository_that_leads_to_another_is_refused(near, hub, manifest, tiny):
    files = placed(folder_files(tiny("anima")), lambda name: "Qwen/Qwen3-0.6B" if name == "text_encoder" else NAME)
    hub.repos[NAME] = Repo({name: data for name, data in files.items() if not name.startswith("text_encoder/")})
    outcome = near("fetch", manifest(JOB))
    assert outcome.code == 2
    said = f"{NAME} holds no text_encoder: its modular_model_index.json says that it lies in Qwen/Qwen3-0.6B"
    assert said in outcome.err
    assert "Qwen3" not in "".join(hub.downloads())
