"""Run folders of an earlier version (tests/golden/) go on: nothing is lost, nothing is rendered again."""

import csv
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers import hashes, times

GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture
def old(work):
    """A copy of a golden run folder in the current folder."""

    def copy(name: str) -> Path:
        shutil.copytree(GOLDEN / name, work / name)
        return work / name

    return copy


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["task_id"]: row for row in csv.DictReader(file)}


def test_an_old_folder_is_resumed(cli, old):
    folder = old("render")
    hashes_before, times_before = hashes(folder), times(folder)
    done = cli("run", folder / "manifest.yaml", "--out", folder)
    assert done.code == 0, done.err
    assert "2 images rendered" in done.out
    assert "4 were done before" in done.out
    after = hashes(folder)
    assert len(after) == 6
    assert hashes_before.items() <= after.items()
    assert times_before.items() <= times(folder).items()


def test_an_old_folder_has_its_status(cli, old):
    status = cli("status", old("render"), "--json").json()
    found = {key: status[key] for key in ("done", "failed", "missing", "degraded")}
    assert found == {"done": 4, "failed": 1, "missing": 1, "degraded": 1}


def test_an_old_folder_is_verified(cli, old):
    verified = cli("verify", old("render"), "--json")
    assert verified.code == 1  # one failed, one is missing
    report = verified.json()
    assert (report["done"], report["total"]) == (4, 6)
    assert cli("verify", old("measure"), "--json").json()["done"] == 4


@pytest.mark.parametrize("name", ["render", "measure"])
def test_an_old_folder_is_reported(cli, old, name):
    folder = old(name)
    before = rows(folder)
    reported = cli("report", folder)
    assert reported.code == 0, reported.err
    after = rows(folder)
    assert before.keys() == after.keys()
    assert all(row.items() <= after[key].items() for key, row in before.items())  # columns were added since
    assert (folder / "report.html").stat().st_size > 10_000
    assert (folder / "contact_sheet.jpg").is_file()


def test_an_old_measurement_is_compared(cli, old):
    compared = cli("compare", old("measure"), "--json")
    assert compared.code == 0, compared.err
    rows = {item["memory"]: item for item in compared.json()["rows"]}
    assert rows["full"]["is_reference"]
    assert rows["tiled"]["identical"] == 1.0
    assert rows["tiled"]["total_s"] > 0


def test_an_old_measurement_is_resumed(cli, old):
    folder = old("measure")
    before = hashes(folder)
    done = cli("run", folder / "manifest.yaml", "--out", folder, "--max-images", "1")
    assert done.code in (0, 75), done.err
    after = hashes(folder)
    assert len(after) > len(before)
    assert before.items() <= after.items()


def test_an_old_picture_is_rendered_again_bit_by_bit(cli, old):
    folder = old("render")
    done = cli("verify", folder, "--reproduce", "1", "--json")
    assert done.code in (0, 1), done.err
    assert done.json()["reproduced"] is not None


def test_a_manifest_is_made_of_an_old_folder(cli, old):
    made = cli("manifest", "from", old("render"))
    assert made.code == 0, made.err
    assert "an orange house at night" in made.out
