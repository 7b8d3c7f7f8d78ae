"""``manifest new``: each starter is planned as it is written, and those in jobs/ are the same."""

import pytest
import yaml

from batch.manifest.starters import STARTERS, starter
from tests.cli.test_completion import completed
from tests.conftest import ROOT


@pytest.mark.parametrize(("kind", "images"), [("quickstart", 24), ("overnight", 32), ("compare", 150)])
def test_a_starter_is_planned_as_it_is_written(cli, work, kind, images):
    made = cli("manifest", "new", kind)
    assert (made.code, made.out) == (0, f"  {kind}.yaml\n  next: run-batch plan {kind}.yaml\n")
    text = (work / f"{kind}.yaml").read_text(encoding="utf-8")
    assert f"run-batch plan {kind}.yaml" in text
    assert "$" not in text
    planned = cli("plan", f"{kind}.yaml", "--json")
    assert (planned.code, planned.json()["images"]) == (0, images), planned.err
    assert set(STARTERS) == {path.stem for path in (ROOT / "batch/manifest/starters").iterdir()}


def test_a_first_job_is_written_without_a_word(cli, work):
    assert cli("manifest", "new").code == 0
    assert (work / "quickstart.yaml").exists()
    small = ["--set", "prompt=a red star", "--set", "seed=0", "--set", "size=512x512", "--set", "steps=1"]
    assert cli("run", "quickstart.yaml", "--quiet", *small).code == 0


def test_a_file_that_is_there_is_left_alone(cli, work):
    (work / "night.yaml").write_text("mine")
    refused = cli("manifest", "new", "overnight", "-o", "night.yaml")
    assert (refused.code, "night.yaml exists" in refused.err) == (2, True)
    assert (work / "night.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("a.csv", "write for example -o a.yaml"),
        ("a", "write for example -o a.yaml"),
        ("gone/a.yaml", "cannot be written: "),
        (".", "write for example -o quickstart.yaml"),
    ],
)
def test_a_file_that_cannot_be_one_is_said(cli, work, file, said):
    refused = cli("manifest", "new", "-o", file)
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["two words.yaml", "line\nbreak: [.yaml", "狐.yml", "half \udcff.yaml", "$file.yaml"]
)
def test_a_name_of_any_letters_stays_a_comment(cli, work, name):
    assert cli("manifest", "new", "compare", "-o", name).code == 0
    assert yaml.safe_load((work / name).read_text(encoding="utf-8"))["kind"] == "measure"


@pytest.mark.parametrize(("kind", "job"), [("quickstart", "quickstart"), ("compare", "compare_memory")])
def test_jobs_and_starters_are_the_same(kind, job):
    schema = "# yaml-language-server: $schema=../batch/manifest/manifest.schema.json\n"
    text = starter(kind, run="python run_batch.py", file=f"jobs/{job}.yaml", folder=f"outputs/{job}")
    assert (ROOT / f"jobs/{job}.yaml").read_text(encoding="utf-8") == schema + text


def test_the_night_of_the_starter_is_that_of_the_job(cli, work):
    assert cli("manifest", "new", "overnight").code == 0
    made = yaml.safe_load((work / "overnight.yaml").read_text(encoding="utf-8"))
    job = yaml.safe_load((ROOT / "jobs/sana_4k_overnight.yaml").read_text(encoding="utf-8"))
    assert made["grid"] | {"prompt": None} == job["grid"] | {"prompt": None}
    assert made["run"] == job["run"]


def test_starters_are_completed():
    assert completed("run-batch manifest new o") == {"plain,overnight"}
