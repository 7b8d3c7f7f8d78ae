"""verify: every damage has its state, and nothing is touched."""

import json
import os
import random

import pytest
from PIL import Image

from batch.store import lock
from tests.conftest import SMALL
from tests.upkeep.run_files import flip, image, names, receipt, snapshot, stray


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


def _pipe_instead(run):
    path = image(run)
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "missing": (lambda run: image(run).unlink(), "its file is gone"),
    "cut off": (lambda run: os.truncate(image(run), 1000), "it is no whole picture"),
    "a bit flipped": (lambda run: flip(image(run)), "it is no whole picture"),
    "a folder": (lambda run: _folder_instead(run, None), "a folder is in its place"),
    "receipt": (lambda run: receipt(run).write_bytes(bytes(100)), "cannot be read"),
    "orphaned": (stray, "images/stray.png: no receipt names it"),
}


if hasattr(os, "mkfifo"):
    DAMAGE["a pipe"] = (_pipe_instead, "a named pipe is in its place")


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_damage_has_its_state(cli, run, damage):
    make, said = DAMAGE[damage]
    state = damage if damage in {"missing", "orphaned"} else "damaged"
    make(run)
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert f"{state} 1" in outcome.out
    assert state.upper() in outcome.out
    assert said in outcome.out
    data = cli("verify", run, "--json").json()
    assert [item["state"] for item in data["findings"]] == [state]
    assert data["done"] == (4 if state == "orphaned" else 3)


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
    "image": (lambda run, rng: _mangle(image(run), rng), {"damaged"}),
    "receipt": (lambda run, rng: _mangle(receipt(run), rng), {"damaged"}),
    "foreign": (lambda run, rng: image(run).write_bytes(rng.randbytes(50_000)), {"damaged"}),
    "folder": (_folder_instead, {"damaged"}),
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


def test_foreign_receipts_and_lost_receipts(cli, run):
    receipt(run, "a-fox-1").write_bytes(receipt(run, "a-whale-1").read_bytes())
    receipt(run, "a-whale-0").unlink()
    findings = {item["path"]: item for item in cli("verify", run, "--json").json()["findings"]}
    foreign = next(item for item in findings.values() if item["state"] == "damaged")
    assert "receipt of another image" in foreign["detail"]
    # The image of a foreign receipt is told with it; one whose receipt is gone has no vouch at all.
    assert findings[image(run, "a-whale-0").relative_to(run).as_posix()]["state"] == "orphaned"


def test_a_receipt_may_not_lead_out_of_the_run(cli, run, work):
    (work / "mine.png").write_bytes(image(run).read_bytes())
    path = receipt(run)
    text = path.read_text()
    path.write_text(text.replace(json.loads(text)["file"]["path"], "../mine.png"))
    assert "outside of images/" in cli("verify", run).out
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
    assert "replaced 1" in cli("verify", run).out


def test_extra_failed_and_never_rendered(cli, run, manifest):
    path = manifest(SMALL.replace("[a fox, a whale]", "a fox"))
    assert cli("run", path, "--out", run, "--quiet").code == 0
    outcome = cli("verify", run)
    assert (outcome.code, "extra 2" in outcome.out) == (0, True)
    image(run, "a-whale-0").unlink()  # nobody needs it
    assert cli("verify", run).code == 0
    flip(image(run, "a-whale-1"))
    assert cli("verify", run, "--json").json()["damaged"] == 1
    path = manifest(SMALL.replace("steps: 1", "steps: [1, 2]\n  extra.sigmas: [null, [1.0, 0.5]]"))
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
