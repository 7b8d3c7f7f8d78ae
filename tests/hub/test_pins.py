"""A run folder that pins other commits: what the manifest allows does not hold for whatever is pinned."""

import json
from pathlib import Path

import pytest

from batch.base.errors import ModelError
from batch.hub import cache
from batch.hub.loras import lora_here
from batch.records.tasks import Lora
from tests.conftest import DEMO
from tests.helpers import only_receipt
from tests.hub.test_allowed import with_code, with_pickle
from tests.hub.user import OTHER, offline
from tests.small_hub import COMMIT, LATER, Repo, folder_files

ALLOWING = OTHER.replace("}", ", guidance: 4.5}") + "run: {max_consecutive_failures: 1}\n%s: [someone/demo]\n"
KINDS = pytest.mark.parametrize(
    ("key", "files"), [("allow_pickle", with_pickle), ("trust_remote_code", with_code)]
)


def pin(run, **revisions):
    path = Path(run, ".run", "plan.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"revisions": revisions}))


@pytest.fixture
def pinned(near, hub, manifest):
    """The manifest of a run whose folder now pins a commit that is not what main is: somebody's pull request."""

    def make(key, files):
        repo = hub.repos["someone/demo"] = Repo(files())
        path = manifest(ALLOWING % key)
        assert near("run", path, "--out", "run").code == 0
        repo.earlier[LATER] = files() | {"README.md": b"of a pull request"}
        pin("run", **{"someone/demo": LATER})
        return path

    return make


@KINDS
def test_what_is_allowed_does_not_hold_for_another_commit(near, hub, pinned, key, files):
    path = pinned(key, files)
    for command in (["run", path, "--out", "run"], ["fetch", path, "--out", "run"]):
        refused = near(*command)
        assert (refused.code, f"write {key}: [someone/demo@{LATER}]" in refused.err) == (2, True), refused.err
        assert not [name for name in hub.downloads() if name.endswith((".py", ".bin"))]
    near("fetch", path, "--set", f"model=someone/demo@{LATER}")  # it is here, as others of the user may be
    again = near("run", path, "--out", "run")
    assert (again.code, f"[someone/demo@{LATER}]" in again.err) == (2, True), again.err


@KINDS
def test_a_commit_that_is_named_is_allowed(near, pinned, key, files):
    path = pinned(key, files)
    text = path.read_text().replace("[someone/demo]", f"[someone/demo@{LATER}]")
    path.write_text(text)
    outcome = near("run", path, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "no model of the grid" not in outcome.err
    assert {task["revision"] for task in tasks("run")} == {LATER}


def tasks(run):
    return [json.loads(line) for line in Path(run, ".run", "tasks.jsonl").read_text().splitlines()]


@KINDS
def test_ones_own_run_goes_on_offline(near, hub, manifest, monkeypatch, key, files):
    hub.repos["someone/demo"] = Repo(files())
    path = manifest(ALLOWING % key)
    assert near("run", path, "--out", "run").code == 0
    hub.repos["someone/demo"].move(files() | {"README.md": b"later"})
    offline(monkeypatch)
    more = near("run", path, "--out", "run", "--set", "seed=0..1")
    assert (more.code, "1 image rendered" in more.out, hub.requests) == (0, True, []), more.err
    assert near("verify", "run", "--reproduce", "1", "--allow-code").code == 0


def test_a_pin_of_a_model_that_needs_nothing_counts(near, hub, manifest):
    """Permissions that are not needed change nothing: the run goes on with the commit that it began with."""
    repo = hub.repos["someone/demo"] = Repo(folder_files(DEMO))
    path = manifest(ALLOWING % "allow_pickle")
    assert near("run", path, "--out", "run").code == 0
    repo.move(folder_files(DEMO) | {"README.md": b"later"})
    assert near("fetch", manifest(OTHER.replace("someone/demo", "someone/demo@main"), "newer.yaml")).code == 0
    again = near("run", path, "--out", "run", "--set", "seed=0..1")
    assert again.code == 0, again.err
    assert {task["revision"] for task in tasks("run")} == {COMMIT}


def test_a_commit_in_a_name_wins_over_a_pin(near, hub, manifest, lora):
    hub.repos["someone/demo"] = Repo(folder_files(DEMO))
    hub.repos["someone/style"] = Repo({"style.safetensors": lora})
    path = manifest(OTHER.replace("someone/demo", f"someone/demo@{COMMIT}, lora: someone/style@{COMMIT}"))
    assert near("run", path, "--out", "run").code == 0
    pin("run", **{f"someone/{name}@{COMMIT}": LATER for name in ("demo", "style")})
    again = near("run", path, "--out", "run")
    assert (again.code, "0 images rendered" in again.out) == (0, True), again.err
    assert only_receipt("run").task.revision == COMMIT


@pytest.mark.parametrize("commit", ["/etc", "../../x", "main", "refs/pr/1"])
def test_what_is_no_commit_is_no_folder(commit):
    with pytest.raises(ModelError, match="is no commit of a/b"):
        cache.snapshot("a/b", commit)
    with pytest.raises(ModelError, match="is no commit of a/b"):
        lora_here(Lora(path="x", sha256="0", source=f"a/b@{commit.replace('/', '_')}/x.safetensors"))


@pytest.mark.parametrize(
    "source",
    [
        f"a/b@{COMMIT}/../../../x.safetensors",
        f"a/b@{COMMIT}//etc/x.safetensors",
        f"a/b@{COMMIT}/..\\x.safetensors",
        f"a/b@{COMMIT}/C:x.safetensors",
        f"..\\b@{COMMIT}/x.safetensors",
    ],
)
def test_a_lora_of_a_receipt_lies_in_its_snapshot(source, monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda _path: pytest.fail("looked elsewhere"))
    assert lora_here(lora := Lora(path="x", sha256="0", source=source)) == lora
