"""A run that was rendered on two kinds of device: what it reports is told apart by them."""

from dataclasses import replace
from pathlib import Path

from batch.cli.progress import Silent
from batch.report.write import write_report
from batch.store.folder import RunFolder
from tests.conftest import SMALL
from tests.helpers import fake_run
from tests.report.pages import embedded
from tests.report.two_cards import A100, RTX


def test_two_kinds_in_one_folder_are_shown_apart(cli, manifest):
    fake_run(manifest(SMALL), seen=Silent(), out=Path("run"), engine="local")
    folder = RunFolder(Path("run"), "me")
    for number, task in enumerate(folder.tasks()):
        folder.commit(replace(folder.receipt(task.id), machine=RTX if number else A100))
    with folder.hold():
        write_report(folder)
    timing = embedded((folder.root / "report.html").read_text(encoding="utf-8"))[1]["timing"]
    rows = [dict(zip(timing["columns"], row, strict=True)) for row in timing["rows"]]
    assert {row["device"]: row["images"] for row in rows} == {A100.device: 1, RTX.device: 3}
    assert len(rows) == 2
    compared = cli("compare", "run", "--json").json()["rows"]
    assert {row["device"].partition(" (")[0]: row["images"] for row in compared} == {A100.device: 1, RTX.device: 3}
