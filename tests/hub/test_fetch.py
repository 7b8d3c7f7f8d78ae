"""The whole path: fetched, checked, pinned, and rendered without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batch.base.errors import ModelError
from batch.hub.models import find_model
from tests.conftest import DEMO, ROOT
from tests.helpers import only_receipt, receipts_of
from tests.hub.user import KNOWN, OTHER, REPO, TOKEN, apart, in_two_precisions, snapshot
from tests.small_hub import COMMIT, LATER, Repo, folder_files


def test_what_is_fetched_renders_without_a_network(place, near, hub, manifest):
    hub.repos[REPO] = Repo(in_two_precisions())
    path = manifest(KNOWN)
    first = apart("fetch", path)
    assert first.returncode == 0, first.stderr
    wanted = {name for name in in_two_precisions() if ".bf16." in name or Path(name).suffix == ".json"}
    assert set(hub.downloads()) == wanted
    assert any(token == f"Bearer {TOKEN}" for _, _, token in hub.requests)
    again = near("fetch", path)
    assert "complete, nothing to download" in again.out
    assert hub.requests == []
    run = near("run", path, "--out", "run", "--json")
    assert run.code == 0, run.err
    assert hub.requests == []
    receipt = only_receipt("run")
    assert (receipt.task.revision, receipt.allowed) == (COMMIT, ())
    assert near("verify", "run", "--reproduce", "1").code == 0
    assert hub.requests == []
    kept = [path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()]
    assert len(kept) > 8
    assert not any(TOKEN.encode() in data for data in [*kept, first.stdout.encode(), first.stderr.encode()])


def test_run_fetches_and_a_moving_main_changes_no_run(place, near, hub, manifest):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    run = near("run", path, "--out", "run")
    assert run.code == 0, run.err
    assert "downloading 9 of 10 files" in run.err
    assert set(hub.downloads()) == set(folder_files(DEMO))
    hub.repos[REPO].move({**folder_files(DEMO), "scheduler/scheduler_config.json": b"{}"})
    for reference in place.glob("hub/*/refs/main"):
        reference.unlink()
    more = near("run", manifest(KNOWN.replace("a fox", "[a fox, a whale]")), "--out", "run")
    assert more.code == 0, more.err
    assert {receipt.task.revision for receipt in receipts_of("run")} == {COMMIT}
    assert LATER not in json.dumps(hub.requests)
    assert json.loads((place / "run/.run/plan.json").read_text())["revisions"] == {"sana-1.6b-1k": COMMIT}


def test_what_run_says_of_a_download(place, near, hub, manifest):
    hub.repos["someone/demo"] = Repo(in_two_precisions())
    path = manifest(OTHER)
    events = near("run", path, "--out", "run", "--json").events()
    texts = [event["text"] for event in events if event["event"] == "fetch"]
    assert "downloading 6 of 10 files" in texts[0]  # those that say what it is are there already
    assert "is complete" in texts[-1]
    quiet = near("run", path, "--out", "run2", "--quiet", "--cache-dir", "second")
    assert (quiet.code, quiet.err) == (0, "")
    # Two precisions: the one that the model's dtype asks for.
    assert {name for name in hub.downloads() if "safetensors" in name} == {
        name for name in in_two_precisions() if ".bf16." in name
    }
    assert (place / "second" / "models--someone--demo").is_dir()
    assert os.environ["HF_HUB_CACHE"] == str(place / "hub")


def test_nothing_is_fetched_where_nothing_is_to_render(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("run", path, "--out", "run").code == 0
    (place / "hub").rename(place / "gone")
    assert near("run", path, "--out", "run").code == 0
    assert hub.requests == []


def test_a_download_loads_no_torch(place, hub, manifest):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    code = (
        "import sys; from batch.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'diffusers', 'transformers', 'pandas'} & set(sys.modules);"
        "sys.exit(code or ','.join(heavy) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "fetch", str(manifest(KNOWN.replace("steps: 1", "steps: 20")))],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_ENABLE_HF_TRANSFER": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "HF_HUB_ENABLE_HF_TRANSFER is set: hf_transfer is not used any more" in done.stdout
    assert done.stderr == ""


def test_the_fast_path(near, hub, manifest):
    pytest.importorskip("hf_xet")
    hub.repos[REPO] = Repo(folder_files(DEMO), xet="works")
    path = manifest(KNOWN)
    outcome = near("fetch", path)
    assert outcome.code == 0, outcome.err
    assert "again" not in outcome.out
    weights = {name for name in folder_files(DEMO) if name.endswith(".safetensors")}
    assert set(hub.downloads()) == set(folder_files(DEMO)) - weights
    assert sum("/xorbs/" in path for _, path, _ in hub.requests) == len(weights)
    assert {name: (snapshot() / name).read_bytes() for name in folder_files(DEMO)} == folder_files(DEMO)
    checked = near("fetch", path, "--check")
    assert "nothing to download" in checked.out, checked.out
    assert hub.requests == []
    run = near("run", path, "--out", "run")
    assert (run.code, hub.requests) == (0, []), run.err


def test_local_models_need_nothing(cli, manifest):
    outcome = cli("fetch", manifest())
    assert (outcome.code, outcome.out) == (0, "demo: ships with the program, nothing to download\n")


def test_a_model_elsewhere_is_planned_but_not_rendered_offline(cli, manifest, work, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "empty"))
    assert cli("plan", manifest(KNOWN)).code == 0
    outcome = cli("plan", manifest(OTHER))
    assert outcome.code == 2
    assert "`fetch` the manifest first" in outcome.err
    with pytest.raises(ModelError, match="not on this machine"):
        find_model("someone/demo", work, {}, online=False)
