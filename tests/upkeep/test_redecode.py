"""redecode: kept latents decoded again with another memory setting."""

import shutil
from pathlib import Path

import pytest

from batch.store import lock
from batch.store.folder import RunFolder
from tests.conftest import SMALL
from tests.helpers import picture, receipts_of
from tests.upkeep.run_files import image, snapshot

SETTING = "vae_tiling(256, 192)"


def pixels_of(folder):
    return {item.task.id: (picture(folder, item), item.file.sha256) for item in receipts_of(folder)}


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
    measured = [item.measurement for item in receipts_of(out)]
    assert all(item.denoise is None and item.decode.seconds > 0 for item in measured)
    again = cli("run", "job.yaml", "--out", out, "--set", f"memory={SETTING}", "--quiet")
    assert "0 images rendered" in again.out
    assert "4 of 4 done" in again.out
    assert cli("verify", out).code == 0


@pytest.mark.parametrize("command", [["redecode", "--memory", SETTING], ["verify", "--reproduce", "1"]])
def test_what_is_done_on_one_device_of_this_machine_is_not_done_on_a_cluster(cli, run, monkeypatch, command):
    monkeypatch.setenv("RUN_BATCH_ENGINE", "ray")
    refused = cli(command[0], run, *command[1:])
    assert refused.code == 2
    assert "RUN_BATCH_ENGINE=ray: " in refused.err
    assert "on one device of it. Leave the variable out for that command" in refused.err


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
