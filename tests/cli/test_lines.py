"""A line end in a name or an error of a run folder makes no line of its own."""

import json

import pytest

from batch.base.errors import ForeignFolder
from batch.cli.progress import Lines
from batch.cli.verify import verification_text
from batch.records.events import Downloading
from batch.store import inside
from batch.store.folder import RunFolder
from batch.upkeep.reproduce import Reproduction, Verdict
from batch.upkeep.verify import Verification
from tests.conftest import SMALL
from tests.helpers import happen

LINE = "\n[4/4] all is well\nDIFFERENT  images/x.png"


def one_line_each(text):
    assert not [line for line in text.splitlines() if line.startswith(("[4/4]", "DIFFERENT  images/x.png"))]
    assert "\\u000a[4/4]" in text


def test_verify_shows_names_on_their_lines():
    again = [Reproduction(task_id="0", path=f"images/a{LINE}", verdict=Verdict.FAILED, detail=f"why{LINE}")]
    found = Verification(name=f"job{LINE}", total=0, findings=(), running=None)
    one_line_each(verification_text(found, again, ok=False))


def test_progress_shows_names_on_their_lines(capsys):
    for event in (happen(f"a{LINE}"), Downloading(f"a{LINE}")):
        Lines().on(event)
        one_line_each(capsys.readouterr().err)


@pytest.mark.parametrize("command", ["status", "verify", "report", "compare"])
def test_no_command_breaks_a_line(cli, manifest, command):
    assert cli("run", manifest(SMALL), "--out", "run", "--quiet").code == 0
    folder = RunFolder(manifest().parent / "run")
    owner = folder.state / "format.json"
    owner.write_text(json.dumps(json.loads(owner.read_text()) | {"name": f"job{LINE}"}))
    for path in (folder.state / "receipts").rglob("*.json"):
        data = json.loads(path.read_text())
        data["task"] |= {"model": f"demo{LINE}", "name": f"a{LINE}"}
        data["degraded_from"] = f"full{LINE}"
        path.write_text(json.dumps(data))
    outcome = cli(command, "run")
    assert not [line for line in outcome.out.splitlines() if line.startswith(("[4/4]", "DIFFERENT"))], outcome.out


def test_an_error_about_a_folder_is_one_line(cli, work):
    (work / "run" / "images").mkdir(parents=True)
    (work / "run" / "images" / f"x{LINE.replace('/', ' ')}").symlink_to(work)
    with pytest.raises(ForeignFolder):
        inside.check(work / "run")
    outcome = cli("status", "run")
    assert (outcome.code, len(outcome.err.splitlines())) == (3, 1), outcome.err


def test_a_folder_in_use_is_told_in_one_line(cli, manifest, work):
    path = manifest(SMALL)
    with RunFolder(work / "run", "me-1").hold():
        refused = cli("run", path, "--out", "run", "--quiet")
    assert (refused.code, len(refused.err.splitlines()), "\\u" in refused.err) == (3, 1, False), refused.err


def test_a_folder_whose_name_has_a_line_end_breaks_no_line(cli, manifest, work):
    name = "run\n[4/4]"
    ended = cli("run", manifest(SMALL), "--out", name)
    asked = cli("stop", name)
    assert (ended.code, asked.code) == (0, 2)
    assert not [line for line in (ended.out + asked.err).splitlines() if line.startswith("[4/4]")]


def test_an_error_that_goes_on_is_indented(cli, manifest):
    assert cli("run", manifest(SMALL), "--out", "run", "--quiet").code == 0
    state = RunFolder(manifest().parent / "run").state
    for path in (*(state / "receipts").rglob("*.json"), state / "tasks.jsonl"):
        path.write_text(path.read_text().replace('"model": "demo"', f'"model": {json.dumps(f"demo{LINE}")}'))
    outcome = cli("verify", "run", "--reproduce", "1")
    first, *rest = [line for line in outcome.err.splitlines() if line.strip()]
    assert (outcome.code, first[:6]) == (2, "error:"), outcome.err
    assert rest and all(line.startswith("    ") for line in rest), outcome.err
