"""Which commit a name means, and when the Hub is asked anew."""

import pytest

from tests.conftest import DEMO
from tests.helpers import only_receipt
from tests.hub.user import OTHER, VAE, at, offline, other_weights, snapshot
from tests.small_hub import COMMIT, LATER, Repo, folder_files


def test_a_branch_that_is_named_is_asked_anew_by_fetch(place, near, hub, manifest, lora):
    config = "scheduler/scheduler_config.json"
    hub.repos["someone/demo"] = Repo(folder_files(DEMO))
    hub.repos["someone/style"] = Repo({"style.safetensors": lora})
    path = manifest(OTHER.replace("someone/demo", "someone/demo@main, lora: someone/style@main"))
    plain = manifest(OTHER, name="plain.yaml")
    run = near("run", path, "--out", "run")
    assert run.code == 0, run.err
    for repo, files in (
        ("someone/demo", {**folder_files(DEMO), config: folder_files(DEMO)[config] + b"\n"}),
        ("someone/style", {"style.safetensors": other_weights(lora)}),
    ):
        hub.repos[repo].move(files)
    for arguments in (
        ["fetch", plain],  # no revision is named: the one that is here
        ["fetch", path, "--out", "run"],  # pinned
        ["run", path, "--out", "run"],
        ["plan", path, "--out", "new"],
    ):
        outcome = near(*arguments)
        assert (outcome.code, hub.requests) == (0, []), outcome.err
    offline(hub_is_off := pytest.MonkeyPatch())
    assert "nothing to download" in near("fetch", path).out
    hub_is_off.undo()
    at("http://127.0.0.1:9", hub_is_off)
    unknown = near("fetch", path)
    assert unknown.code == 1
    assert "what 'main' of someone/demo is now is not known: the Hub does not answer" in unknown.err
    hub_is_off.undo()
    newer = near("fetch", path)
    assert newer.code == 0, newer.err
    assert f"someone/demo@main: someone/demo at {LATER[:12]} is complete" in newer.out
    assert f"someone/style@{LATER}/style.safetensors" in newer.out
    assert config in hub.downloads()
    for folder, commit in (("run", COMMIT), ("new", LATER)):
        assert near("run", path, "--out", folder).code == 0
        assert hub.requests == []
        task = only_receipt(folder).task
        assert (task.revision, task.loras[0].source) == (commit, f"someone/style@{commit}/style.safetensors")


@pytest.mark.parametrize("content", [None, b"\xff\xfe", LATER.encode()])
def test_a_cache_that_has_lost_what_main_is(place, near, hub, manifest, monkeypatch, content):
    hub.repos["someone/demo"] = Repo(folder_files(DEMO))
    path = manifest(OTHER)
    assert near("fetch", path).code == 0
    reference = snapshot("someone/demo").parent.parent / "refs" / "main"
    reference.unlink()
    if content:
        reference.write_bytes(content)
    at_plan = near("plan", path)
    assert at_plan.code == 2
    assert f"`fetch` asks the Hub. By its commit it can be named: someone/demo@{COMMIT}\n" in at_plan.err
    offline(monkeypatch)
    outcome = near("fetch", path)
    named = near("fetch", path, "--set", f"model=someone/demo@{COMMIT}")
    assert (named.code, hub.requests) == (0, []), named.err
    if content == LATER.encode():
        assert outcome.code == 2
        assert f"it says that 'main' is {LATER[:12]}, which is not here" in outcome.err
        assert f"HF_HUB_OFFLINE forbids asking the Hub. By its commit it can be named: someone/demo@{COMMIT}" in (
            outcome.err
        )
        return
    assert outcome.code == 0, outcome.err
    assert f"is {'damaged' if content else 'missing'} in the cache: taken is the only commit" in outcome.err
    assert near("plan", path).code == 0
    (snapshot("someone/demo") / VAE).unlink()  # not whole: nothing to take
    assert "HF_HUB_OFFLINE" in near("fetch", path).err
