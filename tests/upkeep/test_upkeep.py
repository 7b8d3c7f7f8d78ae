"""After the night: verify, redecode, prune, and what the machine and the models are."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch.base import nvml
from batch.cli.main import main
from batch.report.compare.pixels import difference
from batch.store import lock
from batch.store.folder import RunFolder
from batch.upkeep import doctor, requirements
from tests.conftest import DEMO, ROOT, SMALL

RUN_BATCH = [sys.executable, str(ROOT / "run_batch.py")]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Four images with latents, rendered once for all tests here."""
    place = tmp_path_factory.mktemp("rendered")
    (place / "job.yaml").write_text(SMALL)
    arguments = ["run", str(place / "job.yaml"), "--out", str(place / "run"), "--keep-latents", "--quiet"]
    assert main(arguments) == 0
    return place


@pytest.fixture
def run(rendered, work) -> Path:
    """A copy of the run, as ./run beside ./job.yaml."""
    shutil.copytree(rendered / "run", work / "run")
    shutil.copy(rendered / "job.yaml", work / "job.yaml")
    return Path("run")


def image(run, name="a-fox-0"):
    (found,) = (run / "images").glob(f"{name}-*.png")
    return found


def receipt(run, name="a-fox-0"):
    (found,) = (
        path for path in (run / ".run" / "receipts").rglob("*.json") if f'"images/{name}-' in path.read_text()
    )
    return found


def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def names(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def stray(run):
    Image.new("RGB", (8, 8)).save(run / "images" / "stray.png")
    (run / "images" / "notes.txt").write_text("no image: none of verify's business")


# verify


def test_a_whole_run_is_verified_without_a_change(cli, run):
    before = snapshot(run)
    outcome = cli("verify", run)
    assert outcome.code == 0, outcome.out
    assert "4 of 4 done and whole" in outcome.out
    assert outcome.out.rstrip().endswith("all is well")
    assert snapshot(run) == before
    data = cli("verify", run, "--json").json()
    assert (data["ok"], data["done"], data["findings"], data["reproduced"]) == (True, 4, [], None)
    assert data["bytes_read"] == sum(path.stat().st_size for path in (run / "images").iterdir())


DAMAGE = {
    "missing": (lambda run: image(run).unlink(), "its file is gone"),
    "truncated": (lambda run: os.truncate(image(run), 1000), "1,000 of"),
    "modified": (lambda run: flip(image(run)), "as long as written, with other content"),
    "damaged": (lambda run: receipt(run).write_bytes(bytes(100)), "cannot be read"),
    "orphaned": (stray, "images/stray.png: no receipt names it"),
}


@pytest.mark.parametrize("state", DAMAGE)
def test_each_damage_has_its_state(cli, run, state):
    make, said = DAMAGE[state]
    make(run)
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert f"{state} 1" in outcome.out
    assert state.upper() in outcome.out
    assert said in outcome.out
    data = cli("verify", run, "--json").json()
    assert [item["state"] for item in data["findings"]] == [state]
    assert data["done"] == (4 if state == "orphaned" else 3)


def _swap(run, _rng):
    first, second = image(run), image(run, "a-whale-1")
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)


def _mangle(path, rng):
    data = path.read_bytes()
    ways = [
        lambda: data[: rng.randrange(len(data))],
        lambda: bytes(len(data)),
        lambda: bytes(rng.randrange(256) for _ in range(200)),
        lambda: b"",
        lambda: data[: len(data) // 2] + data[len(data) // 2 + 1 :],
        lambda: data.replace(b'"', b"'", 3) if path.suffix == ".json" else data[::-1],
    ]
    path.write_bytes(rng.choice(ways)())


def _folder_instead(run, _rng):
    path = image(run)
    path.unlink()
    path.mkdir()


RANDOM_DAMAGE = {
    "image": (lambda run, rng: _mangle(image(run), rng), {"truncated", "modified"}),
    "receipt": (lambda run, rng: _mangle(receipt(run), rng), {"damaged"}),
    "swapped": (_swap, {"truncated", "modified"}),
    "foreign": (lambda run, rng: image(run).write_bytes(rng.randbytes(50_000)), {"truncated", "modified"}),
    "folder": (_folder_instead, {"missing", "truncated", "modified"}),
}


@pytest.mark.parametrize("kind", RANDOM_DAMAGE)
@pytest.mark.parametrize("seed", range(4))
def test_damaged_at_random_it_is_said_and_never_a_traceback(cli, run, kind, seed):
    make, states = RANDOM_DAMAGE[kind]
    make(run, random.Random(f"{kind} {seed}"))
    outcome = cli("verify", run, "--json")
    assert outcome.code == 1
    assert {item["state"] for item in outcome.json()["findings"]} <= states
    for command in ("status", "report"):
        assert cli(command, run).code == 0


def test_longer_files_foreign_receipts_and_lost_receipts(cli, run):
    image(run).write_bytes(image(run).read_bytes() + b"tail")
    receipt(run, "a-fox-1").write_bytes(receipt(run, "a-whale-1").read_bytes())
    receipt(run, "a-whale-0").unlink()
    findings = {item["path"]: item for item in cli("verify", run, "--json").json()["findings"]}
    assert "4 bytes longer" in findings[image(run).relative_to(run).as_posix()]["detail"]
    foreign = next(item for item in findings.values() if item["state"] == "damaged")
    assert "receipt of another image" in foreign["detail"]
    # The image of a foreign receipt is told with it; one whose receipt is gone has no vouch at all.
    assert findings[image(run, "a-whale-0").relative_to(run).as_posix()]["state"] == "orphaned"


def test_a_receipt_may_not_lead_out_of_the_run(cli, run, work):
    (work / "mine.png").write_bytes(image(run).read_bytes())
    path = receipt(run)
    text = path.read_text()
    path.write_text(text.replace(json.loads(text)["file"]["path"], "../mine.png"))
    assert "outside of the run folder" in cli("verify", run).out
    cli("prune", run)
    assert (work / "mine.png").is_file()


def test_right_bytes_that_are_no_whole_picture(cli, run):
    import hashlib

    half = image(run).read_bytes()[:-3000]
    image(run).write_bytes(half)
    data = json.loads(receipt(run).read_text())
    data["file"] |= {"bytes": len(half), "sha256": hashlib.sha256(half).hexdigest()}
    receipt(run).write_text(json.dumps(data))
    assert "no whole picture" in cli("verify", run).out
    Image.new("RGB", (32, 64)).save(image(run))
    whole = image(run).read_bytes()
    data["file"] |= {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    receipt(run).write_text(json.dumps(data))
    assert "it has 32x64 pixels, not 512x512" in cli("verify", run).out


def test_extra_failed_and_never_rendered(cli, run, manifest):
    path = manifest(SMALL.replace("[a fox, a whale]", "a fox"))
    assert cli("run", path, "--out", run, "--quiet").code == 0
    outcome = cli("verify", run)
    assert (outcome.code, "extra 2" in outcome.out) == (0, True)
    image(run, "a-whale-0").unlink()  # nobody needs it
    assert cli("verify", run).code == 0
    flip(image(run, "a-whale-1"))
    assert cli("verify", run, "--json").json()["modified"] == 1
    path = manifest(SMALL.replace("steps: 1", "steps: [1, 2]\n  extra.sigmas: [null, [[1.0, 0.5]]]"))
    tasks = cli("run", path, "--out", run, "--quiet", "--set", "prompt=a fox", "--set", "seed=0").code
    assert tasks == 1
    data = cli("verify", run, "--json").json()
    assert (data["total"], data["done"], data["failed"], data["ok"]) == (4, 2, 2, False)
    assert "custom sigmas" in cli("verify", run).out
    for failure in (run / ".run" / "failures").iterdir():
        failure.unlink()
    assert "MISSING    2 images never rendered" in cli("verify", run).out


@pytest.mark.parametrize("kind", ["jpeg", "tiff", "webp-lossless"])
def test_what_was_never_rendered_is_named_as_its_file_will_be(cli, manifest, kind):
    path = manifest(SMALL + f"output: {{format: {kind}}}\n")
    assert cli("run", path, "--out", "run", "--quiet", "--max-images", "1").code == 75
    before = names("run/images")
    findings = cli("verify", "run", "--json").json()["findings"]
    assert {(item["state"], item["detail"]) for item in findings} == {("missing", "never rendered")}
    assert cli("run", path, "--out", "run", "--quiet").code == 0
    assert {item["path"] for item in findings} == {f"images/{name}" for name in names("run/images") - before}


def test_verify_works_while_a_run_goes_on(cli, run):
    receipt(run).unlink()  # an image whose receipt is on its way
    with lock.hold(run / ".run"):
        data = cli("verify", run, "--json").json()
        assert data["running"]["pid"] == os.getpid()
        assert (data["orphaned"], data["missing"], data["done"]) == (0, 1, 3)
        assert "a run is going on" in cli("verify", run).out
    assert cli("verify", run, "--json").json()["orphaned"] == 1


def test_reproduced_bit_for_bit_and_the_run_is_not_touched(cli, run):
    before = snapshot(run)
    outcome = cli("verify", run, "--reproduce", "2")
    assert outcome.code == 0, outcome.out
    assert "rendered again: 2 of 2 images bit-identical" in outcome.out
    assert snapshot(run) == before


def replace_image(run, change):
    """Another picture under a receipt that vouches for it."""
    import hashlib

    with Image.open(image(run)) as opened:
        pixels = change(np.asarray(opened).copy())
    Image.fromarray(pixels).save(image(run))
    whole = image(run).read_bytes()
    data = json.loads(receipt(run).read_text())
    data["file"] |= {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    data["machine"]["torch"] = "1.0"
    receipt(run).write_text(json.dumps(data))


def test_near_and_different_pictures_are_told_apart(cli, run):
    def one_level(pixels):
        pixels[:10, :, 0] ^= 1
        return pixels

    replace_image(run, one_level)
    data = cli("verify", run, "--reproduce", "9", "--json").json()
    verdicts = [item["verdict"] for item in data["reproduced"]]
    assert (sorted(verdicts), data["ok"]) == (["identical"] * 3 + ["near"], False)
    near = next(item for item in data["reproduced"] if item["verdict"] == "near")
    assert near["max_difference"] == 1
    assert near["changed_share"] == pytest.approx(10 / 512)
    # One level in one channel of ten rows: 255^2 over 10/512/3.
    assert near["psnr_db"] == pytest.approx(10 * np.log10(255**2 / (10 / 512 / 3)))
    assert "torch 1.0 then" in near["detail"]
    replace_image(run, lambda pixels: 255 - pixels)
    outcome = cli("verify", run, "--reproduce", "9")
    assert outcome.code == 1
    assert "DIFFERENT" in outcome.out
    assert "PSNR" in outcome.out


def test_the_sample_is_drawn_by_its_number(cli, run):
    def drawn(*arguments):
        data = cli("verify", run, "--reproduce", "1", "--json", *arguments).json()
        return [item["task_id"] for item in data["reproduced"]]

    first = drawn()
    assert drawn("--sample", "0") == first
    assert any(drawn("--sample", str(number)) != first for number in range(1, 9))


def test_another_model_is_not_a_reproduction(cli, work, manifest):
    shutil.copytree(DEMO, work / "jobs" / "model")
    (work / "jobs" / "job.yaml").write_text(SMALL.replace("demo", "model").replace("0..1", "0"))
    assert cli("run", "jobs/job.yaml", "--out", "run", "--keep-latents", "--quiet").code == 0
    assert cli("verify", "run", "--reproduce", "1").code == 0  # the folder is found beside the manifest
    config = work / "jobs" / "model" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + "\n")
    for command in (
        ["verify", "run", "--reproduce", "1"],
        ["redecode", "run", "--memory", "vae_tiling(256, 192)"],
    ):
        outcome = cli(*command)
        assert outcome.code == 2
        assert "the model model is not the one" in outcome.err


def test_an_entry_that_was_changed_is_not_a_revision_that_was(cli, work, manifest, monkeypatch):
    own = work / "models.yaml"
    monkeypatch.setenv("RUN_BATCH_MODELS", str(own))
    own.write_text("mine: {like: demo, overrides: {scheduler: {flow_shift: 5.0}}}\n")
    path = manifest("grid: {model: mine, prompt: a fox, steps: 1}\n")
    assert cli("run", path, "--out", "run").code == 0
    for text in ("mine: {like: demo, overrides: {scheduler: {flow_shift: 6.0}}}\n", "mine: {like: demo}\n"):
        own.write_text(text)
        outcome = cli("verify", "run", "--reproduce", "1")
        assert outcome.code == 2
        assert f"its entry in {own} has changed since" in outcome.err
        assert "its revision was" not in outcome.err


@pytest.mark.parametrize("option", [["--sample", "1"], ["--devices", "cpu"]])
def test_options_of_reproduce_need_it(cli, run, option):
    outcome = cli("verify", run, *option)
    assert (outcome.code, "no effect without --reproduce" in outcome.err) == (2, True)


def test_difference_of_pictures():
    one = np.zeros((300, 4, 3), np.uint8)
    other = one.copy()
    assert difference(one, other).psnr_db == float("inf")
    other[299, 0] = (3, 0, 0)
    gap = difference(one, other)
    assert (gap.max_difference, gap.changed_share) == (3, 1 / 1200)
    assert difference(one, other[:1]) is None


# redecode

SETTING = "vae_tiling(256, 192)"


def pixels_of(folder):
    return {
        key: (np.asarray(Image.open(Path(folder, item.file.path))), item.file.sha256)
        for key, item in RunFolder(Path(folder)).scan().receipts.items()
    }


def test_redecoded_is_what_a_fresh_run_with_that_setting_gives(cli, run):
    before = snapshot(run)
    outcome = cli("redecode", run, "--memory", SETTING)
    assert outcome.code == 0, outcome.err
    assert "4 images rendered" in outcome.out
    out = Path("run-vae-tiling-256-192")
    assert snapshot(run) == before
    assert cli("run", "job.yaml", "--out", "fresh", "--quiet", "--set", f"memory={SETTING}").code == 0
    assert {key: value[1] for key, value in pixels_of(out).items()} == {
        key: value[1] for key, value in pixels_of("fresh").items()
    }
    assert not set(pixels_of(out)) & set(pixels_of(run))
    assert (out / "manifest.yaml").read_text() == Path("fresh/manifest.yaml").read_text()
    assert (out / "results.csv").is_file()
    assert (out / "contact_sheet.jpg").is_file()
    measured = [item.measurement for item in RunFolder(out).scan().receipts.values()]
    assert all(item.denoise is None and item.decode.seconds > 0 for item in measured)
    again = cli("run", "job.yaml", "--out", out, "--set", f"memory={SETTING}", "--quiet")
    assert "0 images rendered" in again.out
    assert "4 of 4 done" in again.out
    assert cli("verify", out).code == 0


def test_redecode_goes_on_and_says_what_has_no_latents(cli, run):
    source = RunFolder(run)
    gone = next(task for task in source.tasks() if task.prompt == "a whale")
    source.latents_path(gone.id).unlink()
    arguments = ["redecode", run, "--memory", SETTING, "--out", "out", "--quiet"]
    first = cli(*arguments)
    assert "3 images rendered" in first.out
    assert "1 done image left out: no latents" in first.err
    image(Path("out")).unlink()
    assert "1 image rendered" in cli(*arguments).out
    assert "0 images rendered" in cli(*arguments).out
    with lock.hold(Path("out/.run")):
        assert cli(*arguments).code == 3


def test_damaged_latents_are_a_failed_image(cli, run):
    source = RunFolder(run)
    path = source.latents_path(source.tasks()[0].id)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    arguments = ["redecode", run, "--memory", SETTING, "--out", "out", "--quiet"]
    outcome = cli(*arguments)
    assert (outcome.code, "1 FAILED" in outcome.out, "run the same command again" in outcome.out) == (
        1,
        True,
        True,
    )
    path.write_bytes(whole)
    for _ in range(2):
        outcome = cli(*arguments)
    assert (outcome.code, "4 of 4 done" in outcome.out) == (0, True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("tiled", "as they were decoded"),  # 512x512 fits into one tile
        ("model_cpu_offload", "as they were decoded"),
        ("nonsense", "'nonsense' is no memory setting"),
        ("vae_tiling(100, 50)", "multiples of 32"),
    ],
)
def test_settings_that_make_no_sense(cli, run, setting, said):
    outcome = cli("redecode", run, "--memory", setting)
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err
    assert sorted(path.name for path in Path().iterdir()) == ["job.yaml", "run"]


def test_redecode_without_latents_or_into_itself(cli, run):
    assert "the run itself" in cli("redecode", run, "--memory", SETTING, "--out", "./run").err
    shutil.rmtree(run / "latents")
    outcome = cli("redecode", run, "--memory", SETTING)
    assert outcome.code == 2
    assert "--keep-latents" in outcome.err
    assert "keep_latents: true" in outcome.err
    assert cli("redecode", "elsewhere", "--memory", SETTING).code == 2


def test_latents_are_kept_when_asked_for_only(cli, manifest):
    cli("run", manifest(SMALL.replace("0..1", "0")), "--out", "without", "--quiet")
    assert not Path("without/latents").exists()
    cli("run", manifest(SMALL.replace("0..1", "0") + "output: {keep_latents: true}\n"), "--out", "with", "--quiet")
    kept = {path.stem for path in Path("with/latents").iterdir()}
    assert kept == set(RunFolder(Path("with")).scan().receipts)


# prune


@pytest.fixture
def smaller(cli, run, manifest):
    """The run after its manifest lost a prompt, with a stray image."""
    path = manifest(SMALL.replace("[a fox, a whale]", "a fox"))
    assert cli("run", path, "--out", run, "--quiet").code == 0
    stray(run)
    return run


def test_pruned_and_put_back(cli, smaller):
    before = names(smaller)
    dry = cli("prune", smaller, "--dry-run")
    assert (dry.code, names(smaller)) == (0, before)
    assert "would move 3 images, 9 files in all" in dry.out
    assert "images/stray.png" in dry.out
    pruned = cli("prune", smaller, "--json").json()
    trash = Path(pruned["trash"])
    moved = {item["path"] for item in pruned["files"]}
    assert trash.parent == smaller / "trash"
    assert names(trash) == moved
    assert (pruned["images"], pruned["bytes"]) == (
        3,
        sum(path.stat().st_size for path in trash.rglob("*") if path.is_file()),
    )
    assert {item["path"]: item["why"] for item in pruned["files"]}["images/stray.png"] == "orphaned"
    assert names(smaller) - {path for path in names(smaller) if path.startswith("trash/")} == before - moved
    # Nothing else sees the trash, and there is nothing left to do.
    assert cli("status", smaller, "--json").json()["extra"] == 0
    assert cli("verify", smaller).code == 0
    assert "nothing to prune" in cli("prune", smaller).out
    assert "0 images rendered" in cli("run", "job.yaml", "--out", smaller, "--quiet").out
    assert cli("prune", smaller, "--restore", trash.name).code == 0
    assert names(smaller) == before
    whole = SMALL.replace("grid:", "name: job\ngrid:")
    Path("whole.yaml").write_text(whole)
    assert "0 images rendered" in cli("run", "whole.yaml", "--out", smaller, "--quiet").out


def test_what_prune_says_puts_things_back(cli, smaller):
    outcome = cli("prune", smaller)
    assert "moved 3 images" in outcome.out
    command = outcome.out.split("put back with: run-batch ")[1].split()
    assert "put back 9 files" in cli(*command).out


def test_restore_never_writes_over_a_file(cli, smaller):
    trash = Path(cli("prune", smaller, "--json").json()["trash"])
    stray(smaller)
    outcome = cli("prune", smaller, "--restore", trash.name)
    assert (outcome.code, "images/stray.png is in the run folder again" in outcome.err) == (2, True)
    assert "possible are" in cli("prune", smaller, "--restore", "yesterday").err
    assert cli("prune", smaller, "--restore", "../images").code == 2
    assert cli("prune", smaller, "--restore", trash.name, "--dry-run").code == 2


def test_an_interrupted_prune_leaves_no_receipt_without_image(cli, smaller):
    from batch.base import atomic

    moves = []
    whole = atomic.move

    def breaks(source, target):
        if len(moves) == 2:
            raise OSError("the disk went away")
        moves.append(source)
        whole(source, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(atomic, "move", breaks)
        assert cli("prune", smaller).code == 1
    for path in (smaller / ".run" / "receipts").rglob("*.json"):
        assert (smaller / json.loads(path.read_text())["file"]["path"]).is_file()
    assert cli("prune", smaller).code == 0
    assert cli("verify", smaller).code == 0


def test_prune_needs_the_lock_and_the_list_of_tasks(cli, smaller):
    with lock.hold(smaller / ".run"):
        assert cli("prune", smaller).code == 3
        assert cli("prune", smaller, "--dry-run").code == 0
    (smaller / ".run" / "tasks.jsonl").unlink()
    outcome = cli("prune", smaller)
    assert (outcome.code, "run the manifest again first" in outcome.err) == (2, True)
    assert cli("verify", smaller).code == 1


def test_a_damaged_receipt_of_a_planned_image_is_not_pruned(cli, run):
    receipt(run).write_bytes(b"{")
    assert "nothing to prune" in cli("prune", run).out
    assert "1 image rendered" in cli("run", "job.yaml", "--out", run, "--quiet").out
    assert cli("verify", run).code == 0


# models, doctor, completion


def test_models(cli, manifest, cache, monkeypatch):
    from batch.catalogue.models import packaged

    hub = cache / "hub-of-models"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    name = "sana-1.6b-4k"
    assert cli("models").out.count("not on this machine") == sum(bool(model.repo) for model in packaged().values())
    data = {model["name"]: model for model in cli("models", "--json").json()}
    assert (data["demo"]["here"], data[name]["here"]) == (True, False)
    assert len(data[name]["sizes"]) > 30
    folder = hub / "models--Efficient-Large-Model--Sana_1600M_4Kpx_BF16_diffusers" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    one = cli("models", name, "--json").json()
    assert (one["native"], one["here"], one["cached_bytes"]) == ("5376x3072", True, 2)
    text = cli("models", name).out
    assert "3072x5376" in text
    assert "flow-euler" in text
    assert max(map(len, text.splitlines())) <= 100
    (folder / "model_index.json").write_text('{"vae": ["diffusers", "AutoencoderDC"]}')
    assert not cli("models", name, "--json").json()["here"]
    assert "a part of it" in cli("models", name).out
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text("a" * 40)
    folder.rename(folder.parent / ("a" * 40))
    planned = cli("plan", manifest(f"grid: {{model: {name}, prompt: a fox}}\n"))
    assert f"only a part of it is in {hub}; `fetch` downloads the rest" in planned.err
    assert "is not known" in cli("models", "nonsense").err


def test_memory_settings_are_explained(cli):
    from batch.memory import profiles, steps

    text = cli("models", "--memory").out
    assert all(f"  {name}" in text for name in [*profiles.PROFILES, *steps.STEPS])
    assert cli("models", "--memory", "--json").json()["steps"]["vae_tiling"]["changes_pixels"]
    assert cli("models", "demo", "--memory").code == 2


def broken_torch(work, monkeypatch, text):
    package = work / "broken" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


def test_doctor_sees_what_is_here(cli, monkeypatch):
    import torch

    monkeypatch.setenv("HF_HUB_ENABLE_HF_TRANSFER", "1")
    outcome = cli("doctor", "--json")
    data = outcome.json()
    assert outcome.code == (0 if data["ok"] else 1)
    assert data["torch"]["version"] == torch.__version__
    assert data["torch"]["error"] == ""
    assert data["packages"]["diffusers"]
    assert None not in data["packages"].values()
    assert data["memory"] > data["memory_free"] > 0
    assert {place["what"] for place in data["places"]} == {"pictures", "models", "prompt embeddings"}
    assert "lora" in data["extras"]
    assert not {"test", "dev"} & set(data["extras"])
    assert any("HF_XET_HIGH_PERFORMANCE=1" in note["text"] for note in data["notes"])
    if not data["cards"]:
        assert (outcome.code, data["device"]) == (0, "cpu")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HF_HUB_OFFLINE": "1"}, ["HF_HUB_OFFLINE is set"]),
        ({"TRANSFORMERS_OFFLINE": "yes"}, ["TRANSFORMERS_OFFLINE is set"]),
        ({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, []),  # the client asks the first one alone
        ({}, []),
    ],
)
def test_doctor_tells_what_forbids_asking_the_hub(monkeypatch, variables, said):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, variables.get(name, ""))
    words = ": only models that are on this machine can be rendered"
    assert [note.text for note in doctor.switch_notes()] == [f"{text}{words}" for text in said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ImportError('libcudart.so.13 is not there')", "libcudart.so.13 is not there"),
        ("import os, sys; sys.stderr.write('bad cpu'); os._exit(132)", "ended the process with code 132: bad cpu"),
    ],
)
def test_doctor_works_where_torch_does_not(cli, work, monkeypatch, text, said):
    broken_torch(work, monkeypatch, text)
    outcome = cli("doctor")
    assert outcome.code == 1, outcome.out
    assert "PROBLEM: torch cannot be loaded" in outcome.out
    assert said in outcome.out
    assert "-m pip install" in outcome.out
    assert "NOT READY: 1 problem" in outcome.out
    assert "GiB" in outcome.out


CARD = nvml.Card(name="NVIDIA GeForce RTX 4090", memory=24 * 2**30, free=20 * 2**30)
GPU = {"name": "NVIDIA GeForce RTX 4090", "memory": 24 * 2**30, "capability": "8.9"}


@pytest.mark.parametrize(
    ("torch", "cards", "stops", "said"),
    [
        (doctor.Torch(version="2.13.0+cpu"), (CARD,), True, "download.pytorch.org/whl/cu130"),
        (doctor.Torch(version="2.13.0+cpu"), (), False, ""),
        (doctor.Torch(version="2.13.0", cuda="13.0", devices=(GPU,)), (CARD,), False, ""),
        (
            doctor.Torch(version="2.13.0", cuda="13.0", stage="cuda", error="too old"),
            (CARD,),
            True,
            "newest driver",
        ),
        (doctor.Torch(version="2.13.0", cuda="13.0", stage="cuda", error="no GPU"), (), False, "no GPU"),
        (doctor.Torch(version="2.13.0", cuda="13.0", devices=(GPU,)), (CARD, CARD), False, "sees 1 of 2 cards"),
        (doctor.Torch(version="2.13.0", stage="diffusers", error="X"), (), True, "diffusers cannot be loaded: X"),
    ],
)
def test_what_is_wrong_between_torch_driver_and_cards(torch, cards, stops, said):
    notes = doctor.torch_notes(torch, cards)
    assert any(note.stops for note in notes) == stops
    assert bool(notes) == bool(said)
    assert said in " ".join(f"{note.text} {note.remedy}" for note in notes)


def test_doctor_says_how_to_install_what_is_missing(cli, work, monkeypatch):
    (work / "pyproject.toml").write_text(
        "[project]\nname = 'run-batch'\ndependencies = ['click>=99', 'no-such-package>=1', 'torch>=2']\n"
        "[project.optional-dependencies]\nglow = ['no-such-glow>=3', 'click']\ndev = ['x']\n"
    )
    monkeypatch.setattr(requirements, "__file__", str(work / "batch" / "upkeep" / "requirements.py"))
    broken_torch(work, monkeypatch, "raise ImportError('broken')")
    text = cli("doctor").out
    assert "PROBLEM: not installed: no-such-package" in text
    assert '-m pip install "no-such-package>=1"' in text
    assert "note: of another version: click" in text
    assert '-m pip install "no-such-glow>=3"' in text
    assert "NOT READY: 2 problems" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_one(cli, work, shell):
    script = cli("completion", shell).out
    assert "_RUN_BATCH_COMPLETE" in script
    assert "run-batch" in script
    program = shutil.which(shell)
    if program is not None and shell == "bash":
        (work / "script").write_text(script)
        subprocess.run([program, "-n", "script"], check=True)
    assert cli("completion", "powershell").code == 2


def completed(words):
    environment = os.environ | {
        "_RUN_BATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(RUN_BATCH, env=environment, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_completion_gives_commands_options_files_and_folders():
    assert {"plain,run", "plain,plan", "plain,verify", "plain,doctor"} <= completed("run-batch ")
    assert completed("run-batch re") == {"plain,report", "plain,redecode"}
    assert any(item.startswith("file,") for item in completed("run-batch jobs/qu"))
    assert any(item.startswith("file,") for item in completed("run-batch plan jo"))
    assert any(item.startswith("dir,") for item in completed("run-batch verify out"))
    assert "plain,--reproduce" in completed("run-batch verify --re")


def test_a_thumbnail_that_cannot_be_written_costs_no_image(cli, manifest, work):
    path = manifest()
    (work / "out").mkdir()
    assert cli("run", path, "--out", "out", "--max-images", "1").code == 75
    shutil.rmtree(work / "out" / "thumbs")
    (work / "out" / "thumbs").write_text("a file where the folder should be")
    done = cli("run", path, "--out", "out")
    assert done.code == 0, done.err
    assert len(RunFolder(work / "out").scan().receipts) == 4
    assert (work / "out" / "contact_sheet.jpg").is_file()
