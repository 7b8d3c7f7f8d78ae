"""Models and LoRAs from the Hub: fetched, checked, pinned and rendered, and what goes wrong on the way.

A small Hub answers the real client and the real fast path. Most tests call the command line in this process, with
the client's constants set to that Hub; the download itself always is a process of its own.
"""

import importlib.util
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from batch.base.errors import DownloadError, ModelError
from batch.catalogue import repositories, weights
from batch.hub import cache, fetch, remote
from batch.hub.cache import cache_folder, decided_by, hub_cache, used
from batch.hub.downloads import FetchOptions, RepoFiles
from batch.hub.models import find_model
from batch.records.events import Downloading, Received
from batch.store.folder import RunFolder
from tests.conftest import DEMO, ROOT
from tests.small_hub import COMMIT, LATER, SLOW, Repo, folder_files, serve

REPO = "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers"
KNOWN = "grid: {model: sana-1.6b-1k, prompt: a fox, steps: 1, dtype: float32}\n"
OTHER = "grid: {model: someone/demo, prompt: a fox, steps: 1}\n"
VAE = "vae/diffusion_pytorch_model.safetensors"
TOKEN = "hf_secret"


@pytest.fixture
def hub():
    with serve() as hub:
        yield hub


@pytest.fixture
def place(work, hub, monkeypatch):
    """The environment of a user whose Hub is the small one, with a cache of its own; no pause between attempts."""
    from huggingface_hub import constants

    given = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(work / "hub"), "HF_HOME": str(work / "home"),
             "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    at(hub.url, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(fetch, "PAUSES_S", (0.0, 0.0, 0.0))
    return work


def at(url, monkeypatch):
    """The client in this process asks that address; it was imported with another one."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    rest = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "".join(rest[1:]))


@pytest.fixture
def near(place, hub, cli):
    """The command line in this process."""

    def call(*arguments):
        hub.requests.clear()
        outcome = cli(*arguments)
        assert TOKEN not in outcome.out + outcome.err
        assert "Traceback" not in outcome.err
        return outcome

    return call


def offline(monkeypatch, on=True):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if on else "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", on)


def apart(*arguments, **changes):
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, str(ROOT / "run_batch.py"), *map(str, arguments)], env={**os.environ, **changes},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def in_two_precisions(variant="bf16"):
    """The demo model as a repository with weights in two precisions, and with files no session needs."""
    files = {"README.md": b"#", "assets/teaser.png": b"png", "transformer/diffusion_pytorch_model.bin": b"pickle"}
    for name, data in folder_files(DEMO).items():
        stem, suffix = name.rsplit(".", 1)
        if suffix == "safetensors":
            files |= {f"{stem}.{variant}.{suffix}": data, name: b"twice the size" + data}
        else:
            files[name] = data
    return files


def only_receipt(folder):
    (receipt,) = RunFolder(Path(folder)).scan().receipts.values()
    return receipt


def snapshot(repo=REPO, commit=COMMIT):
    return cache_folder(repo) / "snapshots" / commit


def leftovers(work):
    return list((work / "hub").rglob("*.incomplete"))


# Which commit


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


# The whole path


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
    assert {receipt.task.revision for receipt in RunFolder(Path("run")).scan().receipts.values()} == {COMMIT}
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


class Told:
    """What a user would see of a download."""

    def __init__(self):
        self.lines, self.seen = [], []

    def on(self, event):
        if isinstance(event, Downloading):
            self.lines.append(event.text)
        elif isinstance(event, Received):
            self.seen.append(event.done)


@pytest.mark.parametrize("xet", ["", "slow"])
def test_a_slow_download_is_no_stall(place, hub, xet):
    if xet:
        pytest.importorskip("hf_xet")
    large = random.Random(0).randbytes(5 * SLOW)
    hub.repos["a/b"] = Repo({VAE: large}, xet=xet, faults={VAE: ["slow"]})
    item = RepoFiles(name="b", repo="a/b", commit=COMMIT, files={VAE: len(large)})
    told, begun = Told(), time.monotonic()
    fetch.fetch([item], FetchOptions(listener=told, stall=2.0))
    assert time.monotonic() - begun > 5
    assert len(told.lines) == 2, told.lines  # it begins, it is complete
    assert (item.folder / VAE).read_bytes() == large
    assert hub.downloads() == ([] if xet else [VAE])
    assert told.seen == sorted(told.seen)
    steps = [after - before for before, after in zip([0, *told.seen], told.seen, strict=False)]
    assert max(steps) < len(large) / 4


# What the Hub and the disk refuse


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


# Downloads that break off


@pytest.mark.parametrize("answer", ["500", "hang", "stall"])
def test_the_fast_path_fails_and_the_download_goes_on_without_it(place, near, hub, manifest, answer):
    pytest.importorskip("hf_xet")
    hub.repos[REPO] = Repo(folder_files(DEMO), xet=answer)
    outcome = near("fetch", manifest(KNOWN), "--stall-timeout", "1s")
    assert outcome.code == 0, outcome.err
    assert hub.asked_of_store() >= 2
    assert any("/xorbs/" in path for _, path, _ in hub.requests) == (answer == "stall")
    assert len(re.findall(r"the download (stalled for 1 s|failed: .*); again\n", outcome.out)) == 1
    assert "; again without Xet (HF_HUB_DISABLE_XET=1)\n" in outcome.out
    assert {name for name in hub.downloads() if "safetensors" in name} == {
        name for name in folder_files(DEMO) if "safetensors" in name
    }
    assert leftovers(place) == []
    assert "xet_secret" not in outcome.out + outcome.err


def test_a_connection_that_ends_is_resumed(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO), faults={VAE: ["cut"]})
    assert near("fetch", manifest(KNOWN)).code == 0
    assert (snapshot() / VAE).read_bytes() == folder_files(DEMO)[VAE]


def test_a_stalled_download_begins_anew_and_keeps_the_whole(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO), faults={VAE: ["stall"]})
    outcome = near("fetch", manifest(KNOWN), "--stall-timeout", "1s")
    assert outcome.code == 0, outcome.err
    assert "the download stalled for 1 s; again\n" in outcome.out
    assert sorted(hub.downloads()) == sorted([*folder_files(DEMO), VAE])
    assert leftovers(place) == []


def test_a_download_that_stalls_for_good_says_what_is_missing(near, hub, manifest, place, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    hub.repos[REPO] = Repo(folder_files(DEMO), faults={VAE: ["stall"] * 99})
    path = manifest(KNOWN)
    outcome = near("fetch", path, "--stall-timeout", "0.5s")
    assert outcome.code == 1
    assert "1 of 10 files are missing after 4 attempts (the last one stalled for 0.5 s)" in outcome.err
    assert "without Xet" not in outcome.out
    hub.repos[REPO].faults.clear()
    again = near("fetch", path)
    assert "downloading 1 of 10 files" in again.out
    assert hub.downloads() == [VAE]


def test_a_file_that_is_cut_off_is_fetched_again(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    for name, command in ((VAE, ["fetch", path]), ("model_index.json", ["run", path, "--out", "run"])):
        (snapshot() / name).resolve().write_bytes(b"")
        outcome = near(*command)
        assert outcome.code == 0, outcome.err
        assert f"{name} is damaged, it has 0 bytes instead of" in outcome.out + outcome.err
        assert hub.downloads() == [name]


def test_a_file_that_is_damaged_in_its_full_length(near, hub, manifest, place):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    blob = (snapshot() / VAE).resolve()
    whole = blob.read_bytes()
    blob.write_bytes(b"\xff" * 8 + whole[8:])
    failed = near("run", path, "--out", "run")
    assert failed.code == 1
    assert "`fetch --check` finds it" in failed.err
    assert failed.err.count(VAE) == 1
    assert "nothing to download" in near("fetch", path).out
    checked = near("fetch", path, "--check")
    assert f"{VAE} is damaged: removed, to be downloaded again" in checked.out
    assert hub.downloads() == [VAE]
    assert (snapshot() / VAE).read_bytes() == whole
    assert near("run", path, "--out", "run").code == 0


def other_weights(data):
    """As many bytes, with the same header."""
    from safetensors.torch import load, save

    changed = save({name: -tensor for name, tensor in load(data).items()}, {"format": "pt"})
    assert len(changed) == len(data)
    return changed


def test_weights_that_were_swapped_are_found(near, hub, manifest, place):
    whole = folder_files(DEMO)[VAE]
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("run", path, "--out", "run").code == 0
    (snapshot() / VAE).write_bytes(other_weights(whole))
    again = near("verify", "run", "--reproduce", "1")
    assert again.code == 1
    assert "DIFFERENT" in again.out
    assert "fetch MANIFEST --out RUN --check compares their content with the Hub's" in again.out
    assert "nothing to download" in near("fetch", path, "--out", "run").out
    checked = near("fetch", path, "--out", "run", "--check")
    assert f"{VAE} is damaged: removed, to be downloaded again" in checked.out
    assert (snapshot() / VAE).read_bytes() == whole


def test_weights_that_are_no_links_are_checked_too(near, hub, manifest, place, monkeypatch):
    """As on a disk without links, or where a file was moved there."""
    whole = folder_files(DEMO)[VAE]
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    (snapshot() / VAE).unlink()
    (snapshot() / VAE).write_bytes(other_weights(whole))
    offline(monkeypatch)
    remote._asked.cache_clear()
    unchecked = near("fetch", path, "--check")
    assert unchecked.code == 2
    assert "lie here without their hashes, so they cannot be checked: HF_HUB_OFFLINE" in unchecked.err
    offline(monkeypatch, on=False)
    checked = near("fetch", path, "--check")
    assert f"{VAE} is damaged: removed, to be downloaded again" in checked.out
    assert (snapshot() / VAE).read_bytes() == whole
    assert near("fetch", path, "--check").code == 0


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


def test_offline_nothing_is_removed(near, hub, manifest, place, monkeypatch):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    offline(monkeypatch)
    assert near("fetch", path, "--check").code == 0
    blob = (snapshot() / VAE).resolve()
    for damage, arguments, words in (
        (b"\xff" + blob.read_bytes()[1:], ["fetch", path, "--check"], ""),
        (b"cut off", ["fetch", path], " has 7 of 83,780 bytes"),
        (b"cut off", ["run", path, "--out", "run"], " has 7 of 83,780 bytes"),
    ):
        blob.write_bytes(damage)
        outcome = near(*arguments)
        assert outcome.code == 2
        assert f"is damaged ({VAE}{words}), and HF_HUB_OFFLINE forbids downloading it again" in outcome.err
        assert blob.read_bytes() == damage
    assert not Path("run/contact_sheet.jpg").exists()
    offline(monkeypatch, on=False)
    assert near("fetch", path, "--check").code == 0
    assert hub.downloads() == [VAE]


def test_files_of_one_content_are_mended_together(near, hub, manifest, place):
    twins = ["tokenizer/special.json", "scheduler/special.json"]
    hub.repos[REPO] = Repo({**folder_files(DEMO), **dict.fromkeys(twins, b'{"one": "blob"}')})
    path = manifest(KNOWN)
    assert near("fetch", path).code == 0
    (snapshot() / twins[0]).resolve().write_bytes(b"{")
    outcome = near("fetch", path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("is damaged") == 2
    assert [(snapshot() / name).read_bytes() for name in twins] == [b'{"one": "blob"}'] * 2


@pytest.mark.parametrize("command", ["fetch", "run"])
def test_ctrl_c_ends_the_download_too(place, hub, manifest, command):
    hub.repos[REPO] = Repo(folder_files(DEMO), faults={VAE: ["stall"] * 9})
    command = [sys.executable, str(ROOT / "run_batch.py"), command, str(manifest(KNOWN))]
    # What is started in the background ignores Ctrl-C, and what it starts inherits that.
    heeding = None if os.name == "nt" else lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding,  # noqa: PLW1509
    )
    deadline = time.monotonic() + 60
    while not leftovers(place) and time.monotonic() < deadline:
        time.sleep(0.05)
    if os.name == "nt":
        process.kill()
        pytest.skip("no Ctrl-C for another process here")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "stopped: interrupted while a model was downloaded. Nothing is lost" in said
    assert "run the same command again to go on" in said
    assert leftovers(place) == []
    assert not list(place.rglob("contact_sheet*"))


@pytest.mark.parametrize("fast", [True, False])
def test_attempts_are_counted_while_no_file_gets_finished(work, monkeypatch, fast):
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "hub"))
    monkeypatch.setattr(fetch, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(fetch, "_xet_is_on", lambda: fast)
    item = RepoFiles(name="b", repo="a/b", commit=COMMIT, files={f"{n}.json": 1 for n in range(9)})
    finished, ways = iter([2, 1, 1, 0, 1, 0, 0, 0]), []

    def attempt(request, *, xet, **_):
        ways.append(xet)
        item.folder.mkdir(parents=True, exist_ok=True)
        for name in request["files"][: next(finished)]:
            (item.folder / name).write_text("x")
        return "stalled"

    monkeypatch.setattr(fetch.watch, "attempt", attempt)
    with pytest.raises(DownloadError, match="4 of 9 files are missing after 8 attempts"):
        fetch.fetch([item], FetchOptions(listener=Told()))
    # Each attempt that finishes a file is the first of four again; two of them may use Xet.
    assert ways == ([True] * 4 + [False] * 4 if fast else [False] * 8)


def test_remains_are_removed_unless_a_download_lives(work, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "hub"))
    blobs = cache_folder("a/b") / "blobs"
    blobs.mkdir(parents=True)
    part, whole = blobs / "abc.01234567.incomplete", blobs / "abc"
    part.write_bytes(b"12345")
    whole.write_bytes(b"1234567890")
    lock = work / "hub" / ".locks" / blobs.parent.name / "abc.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        assert cache.sweep("a/b") == 0
        assert part.exists()
    assert cache.sweep("a/b") == 5
    assert list(blobs.iterdir()) == [whole]


# Which files


def test_which_files_are_needed():
    index = {"_class_name": "P", "x": ["d", "X"], "y": ["d", "Y"], "z": ["t", "Z"], "w": [None, None], "n": 1}
    names = ["model_index.json", "x/config.json", "x/m.fp16.safetensors", "x/m.safetensors", "y/config.json",
             "y/m-00001-of-00002.safetensors", "y/m-00002-of-00002.safetensors", "y/m.safetensors.index.json",
             "y/m.bf16-00001-of-00002.safetensors", "y/m.bf16-00002-of-00002.safetensors",
             "y/m.safetensors.index.bf16.json", "z/vocab.txt", "z/README.md", "z/teaser.png",
             "other/m.safetensors",
             "x/pytorch_model.bin", "x/model.onnx", "x/modeling.py", "pipeline.py",
             "y/deep/m.safetensors"]  # fmt: skip
    shared = {"model_index.json", "x/config.json", "y/config.json", "z/vocab.txt"}
    plain = {name for name in names if name.startswith("y/m-")} | {"y/m.safetensors.index.json"}
    bf16 = {name for name in names if name.startswith("y/m") and "bf16" in name}
    assert weights.of(index, names, variant="").files == shared | {"x/m.safetensors"} | plain
    assert weights.of(index, names, dtype="bfloat16").files == shared | {"x/m.safetensors"} | bf16
    assert weights.of(index, names, dtype="bfloat16(x=float32)").variant == "bf16"
    assert weights.of(index, names, dtype="float16").files == shared | {"x/m.fp16.safetensors"} | plain
    assert weights.of(index, names, dtype="float32").variant == ""


def test_variants_of_shards_in_both_spellings():
    for stem in ("model.fp16-0000{}-of-00002", "model-0000{}-of-00002.fp16"):
        shards = [f"text_encoder/{stem.format(number)}.safetensors" for number in (1, 2)]
        names = ["text_encoder/config.json", "text_encoder/model.safetensors.index.fp16.json", *shards]
        index = {"text_encoder": ["transformers", "X"]}
        found = weights.of(index, [*names, "text_encoder/model.safetensors"], dtype="float16")
        assert found.files == {"model_index.json", *names}
        only = weights.of(index, names)  # nothing else is there
        assert (only.variant, only.files) == ("fp16", found.files)
        assert weights.lacking(index, names, only) == []
        assert weights.lacking(index, names[:-1], only) == [shards[1]]
        assert weights.lacking(index, [names[0], *shards], only) == ["text_encoder/the index of the weights"]


def test_a_snapshot_that_nobody_listed_is_used_as_it_is(near, hub, manifest, place):
    """As an older client, or a copy from another machine, leaves it."""
    twice = {name.replace(".safetensors", ".bf16.safetensors"): data for name, data in folder_files(DEMO).items()}
    hub.repos[REPO] = Repo({**folder_files(DEMO), **twice})
    here = snapshot()
    for name, data in folder_files(DEMO).items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(data)
    reference = here.parent.parent / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text(COMMIT)
    path = manifest(KNOWN)
    run = near("run", path, "--out", "run")
    assert (run.code, hub.requests) == (0, []), run.err
    assert near("fetch", path).code == 0  # asks which files there are, and has them in another precision
    assert hub.downloads() == []
    (here / VAE).unlink()
    assert near("fetch", path).code == 0
    assert VAE.replace(".safetensors", ".bf16.safetensors") in hub.downloads()


# Pickles and code


def with_pickle():
    import torch
    from safetensors.torch import load

    files = folder_files(DEMO)
    written = io.BytesIO()
    torch.save(load(files.pop(VAE)), written)
    return {**files, "vae/diffusion_pytorch_model.bin": written.getvalue(), "vae/openvino_model.bin": b"other"}


def with_code():
    files = folder_files(DEMO)
    index = json.loads(files["model_index.json"]) | {"_class_name": ["pipeline", "MyPipeline"]}
    code = b"from diffusers import SanaPipeline\n\n\nclass MyPipeline(SanaPipeline):\n    pass\n"
    return {**files, "model_index.json": json.dumps(index).encode(), "pipeline.py": code, "train.sh": b"#"}


@pytest.mark.parametrize(
    ("key", "files", "own"),
    [
        ("allow_pickle", with_pickle, "vae/diffusion_pytorch_model.bin"),
        ("trust_remote_code", with_code, "pipeline.py"),
    ],
)
def test_what_could_run_code_is_refused_unless_allowed(near, hub, manifest, work, key, files, own):
    hub.repos["someone/demo"] = Repo(files())
    text = OTHER.replace("}", ", guidance: 4.5}") + "run: {max_consecutive_failures: 1}\n"
    for command in (["fetch", manifest(text)], ["run", manifest(text), "--out", "run"]):
        refused = near(*command)
        assert refused.code == 2
        assert f"{key}: [someone/demo]" in refused.err or f"allow it with {key}" in refused.err
        assert own not in hub.downloads()
    allowed = manifest(text + f"{key}: [someone/demo]\n")
    if files is with_code:  # what its call does by default, only its code knows
        for axis in ("steps: 1", "guidance: 4.5"):
            unsaid = allowed.read_text(encoding="utf-8").replace(f", {axis}", "")
            planned = near("run", manifest(unsaid, "unsaid.yaml"), "--out", "run")
            assert planned.code == 2
            assert f"unsaid.yaml:1: {axis.split(':')[0]}: someone/demo runs code of its own" in planned.err
    of_a_commit = near("plan", allowed, "--set", f"model=someone/demo@{COMMIT}")
    assert "no model of the grid" not in of_a_commit.err
    fetched = near("fetch", allowed, "--set", f"model=someone/demo@{COMMIT}")
    assert fetched.code == 0, fetched.err
    assert own in hub.downloads()
    assert not {"vae/openvino_model.bin", "train.sh"}.intersection(hub.downloads())
    run = near("run", allowed, "--out", "run")
    assert (run.code, hub.requests) == (0, []), run.err
    assert only_receipt("run").allowed == (key,)
    page = (work / "run" / "report.html").read_text(encoding="utf-8")
    assert re.search(rf'"allowed": ?"{key}"', page)


def test_what_is_allowed_names_models(cli, manifest):
    text = "allow_pickle: true\ntrust_remote_code: someone/demo\n" + OTHER
    outcome = cli("plan", manifest(text))
    assert outcome.code == 2
    assert "job.yaml:1: allow_pickle: it names the models for which that is accepted: allow_pickle: [MODEL]" in (
        outcome.err
    )
    assert "job.yaml:2: trust_remote_code: it names" in outcome.err
    assert "trust_remote_code: [someone/demo]" in outcome.err


def test_a_permission_that_was_not_needed_is_in_no_receipt(cli, manifest):
    path = manifest(
        "allow_pickle: [demo]\ntrust_remote_code:\n  - demo\n  - dmeo\n" + KNOWN.replace("sana-1.6b-1k", "demo")
    )
    outcome = cli("run", path, "--out", "run")
    assert outcome.code == 0
    assert "job.yaml:4: trust_remote_code: no model of the grid is called 'dmeo'" in outcome.err
    assert "allow_pickle" not in outcome.err
    assert only_receipt("run").allowed == ()


# LoRAs


@pytest.fixture(scope="module")
def lora(tmp_path_factory):
    """A LoRA of the demo model's transformer, as the bytes of its file."""
    from diffusers import SanaPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    pipe = SanaPipeline.from_pretrained(DEMO)
    pipe.transformer.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    folder = tmp_path_factory.mktemp("lora")
    layers = get_peft_model_state_dict(pipe.transformer)
    SanaPipeline.save_lora_weights(folder, transformer_lora_layers=layers)
    return (folder / "pytorch_lora_weights.safetensors").read_bytes()


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
    with_lora = [receipt.task for receipt in RunFolder(Path("run")).scan().receipts.values() if receipt.task.loras]
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


# Where models lie


def test_the_cache_folder_and_what_decides_it(monkeypatch, work):
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.setenv("USERPROFILE", str(work))
    assert (hub_cache(), decided_by()) == (work / ".cache" / "huggingface" / "hub", "")
    monkeypatch.setenv("LARGE", str(work / "large"))
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert (hub_cache(), decided_by()) == (work / "hf" / "hub", "HF_HOME")
    monkeypatch.setenv("HF_HUB_CACHE", "$LARGE/models")
    assert (hub_cache(), decided_by()) == (work / "large" / "models", "HF_HUB_CACHE")
    with used(Path("here")):
        assert (hub_cache(), decided_by()) == (work / "here", "--cache-dir")
    assert decided_by() == "HF_HUB_CACHE"


@pytest.mark.parametrize("named", ["", " "])
def test_places_that_are_named_by_nothing(near, hub, manifest, work, monkeypatch, named):
    hub.repos[REPO] = Repo(folder_files(DEMO))
    path = manifest(KNOWN)
    for command in ("plan", "fetch", "run"):
        outcome = near(command, path, "--cache-dir", named)
        assert outcome.code == 2
        assert "'--cache-dir': it is empty; name a folder" in outcome.err
    # An empty variable is none, for the client of the Hub too, to which it is the current folder.
    for name in ("HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_XET_CACHE", "RUN_BATCH_CACHE", "RUN_BATCH_MODELS"):
        monkeypatch.setenv(name, named)
    before = set(work.iterdir())
    done = apart("fetch", path, HOME=str(work / "hub"), USERPROFILE=str(work / "hub"))
    assert done.returncode == 0, done.stderr
    assert set(work.iterdir()) - before == {work / "hub"}
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.setenv("USERPROFILE", str(work))
    assert (hub_cache(), decided_by()) == (work / ".cache" / "huggingface" / "hub", "")


def test_a_cache_that_cannot_be_written(near, hub, manifest, small_disk):
    small, mounted = small_disk
    assert mounted("ro")
    hub.repos[REPO] = Repo(folder_files(DEMO))
    outcome = apart("fetch", manifest(KNOWN), "--cache-dir", small)
    assert outcome.returncode == 2
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(f"error: the folder for models, {small}, cannot be written: Read-only file system.")
    assert "--cache-dir" in line


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
