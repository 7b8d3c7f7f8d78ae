"""What the Hub, the disk and a setting refuse."""

import importlib.util
import json
import re

import pytest

from batch.catalogue import repositories
from batch.hub import cache
from tests.conftest import DEMO
from tests.hub.user import KNOWN, OTHER, REPO, VAE, apart, at, offline
from tests.small_hub import Repo, folder_files


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("not there", 2, "job.yaml:1: model: .* is not on the Hub, or it is private"),
        ("gated", 2, "account of the token that is set has no access to it: accept its terms"),
        ("gated, no token", 2, "accept its terms at .*, then log in"),
        ("broken", 1, "answers 500"),
        ("unreachable", 1, "cannot be reached"),
        ("offline", 2, "HF_HUB_OFFLINE"),
        ("no model", 2, "holds no diffusers model"),
        ("no such revision", 2, "has no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses(near, hub, manifest, monkeypatch, what, code, words):

    files = folder_files(DEMO)
    if what == "no model":
        del files["model_index.json"]
    if what != "not there":
        hub.repos[REPO] = Repo(files, gated=what.startswith("gated"))
    hub.broken = what == "broken"
    if what == "unreachable":
        at("http://127.0.0.1:9", monkeypatch)
    if what == "offline":
        offline(monkeypatch)
    if what.endswith("no token"):
        monkeypatch.delenv("HF_TOKEN")
    path = manifest(KNOWN.replace("sana-1.6b-1k", f"{REPO}@v9") if what == "no such revision" else KNOWN)
    for command in (["fetch", path], ["run", path, "--out", "run"]):
        outcome = near(*command)
        assert outcome.code == code, outcome.err
        assert re.search(words, outcome.err)


def test_a_disk_that_is_too_small(near, hub, manifest):
    hub.repos[REPO] = Repo(folder_files(DEMO), claimed_sizes={VAE: 10**17})
    outcome = near("fetch", manifest(KNOWN))
    assert outcome.code == 2
    assert "93132257.46 GiB" in outcome.err
    assert "--cache-dir" in outcome.err
    assert hub.downloads() == ["model_index.json"]  # it says which files are needed


def test_a_disk_that_fills_up(near, hub, manifest, small_disk):
    small, resize = small_disk
    assert resize("size=1100m")
    large = b"\0" * 3_000_000
    hub.repos[REPO] = Repo({**folder_files(DEMO), VAE: large})
    hub.before_file = lambda file: resize("size=1m") if file == VAE else None
    outcome = near("fetch", manifest(KNOWN), "--cache-dir", small)
    assert outcome.code == 2, outcome.err
    assert f"the disk of {small}, where models are kept, is full" in outcome.err
    assert "--cache-dir" in outcome.err
    assert "again" not in outcome.out  # no attempt would change it


@pytest.mark.parametrize("token", ["hf_sécret", "hf_se cret", "hf_se\ncret", '"hf_secret"'])
@pytest.mark.parametrize("source", ["HF_TOKEN", "file"])
def test_a_token_that_no_request_can_carry(near, hub, manifest, work, monkeypatch, token, source):
    from huggingface_hub import constants

    hub.repos[REPO] = Repo(folder_files(DEMO))
    file = work / "token"
    file.write_text(token + "\n", encoding="utf-8")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(file))
    monkeypatch.setenv("HF_TOKEN", token if source == "HF_TOKEN" else "")
    outcome = near("fetch" if " " in token else "run", manifest(KNOWN))
    assert outcome.code == 2
    assert f"{'HF_TOKEN' if source == 'HF_TOKEN' else file} holds characters that no token has" in outcome.err
    assert token not in outcome.err
    assert hub.requests == []


IDS = ["a/b", "_a/b_", "a/b.c-d", "a/" + "b" * 96, "a/" + "b" * 97, "someone/sdxl--tiny", "a/b..c", "a/.b", "a/b-",
       "a/b.git", "a/ö", "-a/b", "a /b", "a/b c", "a/"]  # fmt: skip


@pytest.mark.parametrize("name", IDS)
def test_repositories_are_named_as_the_client_wants_them(cli, manifest, name):
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        right = True
    except HFValidationError:
        right = False
    assert repositories.is_repository(name) == right
    for command in (["plan"], ["run"]) if not right else ():
        outcome = cli(*command, manifest(json.dumps({"grid": {"model": name, "prompt": "a"}})))
        assert outcome.code == 2
        assert f"job.yaml:1: model: {name} names no repository of the Hub: owner and name consist" in outcome.err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("someone/x@", "no revision stands behind the @ of someone/x@"),
        (f"{REPO}@", "no revision stands behind the @"),
        ("random:someone/x@", "no revision stands behind the @"),
        ("someone/x@a..b", "'a..b' is no revision"),
        ("someone/x@../../x", "'../../x' is no revision"),
    ],
)
def test_revisions_that_are_none(cli, manifest, name, words):
    path = manifest(OTHER.replace("someone/demo", name))
    for command in ("plan", "fetch"):
        outcome = cli(command, path)
        assert outcome.code == 2
        assert f"job.yaml:1: model: {words}" in outcome.err.replace(f"{name}: ", "")


@pytest.mark.parametrize("hub_switch", [None, "", "0", "1", "true", "off"])
@pytest.mark.parametrize("transformers_switch", [None, "", "0", "on"])
def test_offline_switches_are_read_as_the_client_reads_them(monkeypatch, hub_switch, transformers_switch):
    from huggingface_hub import constants

    for name, value in (("HF_HUB_OFFLINE", hub_switch), ("TRANSFORMERS_OFFLINE", transformers_switch)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("huggingface_hub.constants_again", constants.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert bool(cache.offline_by()) == again.HF_HUB_OFFLINE


def test_the_switch_that_forbids_asking_is_named(place, hub, manifest):
    """The client reads both once, when it is imported."""
    hub.repos[REPO] = Repo(folder_files(DEMO))
    done = apart("fetch", manifest(KNOWN), HF_HUB_OFFLINE="", TRANSFORMERS_OFFLINE="1")
    assert done.returncode == 2
    assert "TRANSFORMERS_OFFLINE forbids asking the Hub" in done.stderr
    assert hub.requests == []
