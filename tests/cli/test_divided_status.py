"""status of a folder that several runs divide: what each of them is at, and which commands go on."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from batch.cli.progress import Silent
from batch.records.kinds import HappeningKind, Stage
from batch.records.live import LiveStatus, RunState, SeatState, SeatStatus
from batch.records.shard import Shard
from batch.run.limits import Limits
from batch.run.together import merged
from batch.store import live
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.conftest import SMALL
from tests.helpers import fake_run, happen, receipts_of

RUN = Path("outputs/job")


@pytest.fixture
def path(manifest):
    """Twelve images."""
    return manifest(SMALL.replace("0..1", "0..5"))


def shard(path, number, of=3, **options):
    return fake_run(path, seen=Silent(), engine="local", shard=Shard(number, of), **options)


def held(number, of=3):
    """A shard that is at work there."""
    return RunFolder(RUN, shard=Shard(number, of)).hold()


def state_of(number, of=3):
    return RUN / ".run" / "shards" / f"{number}-of-{of}"


def says(number, **changes):
    """Have a shard say something else of itself than it did last."""
    live.write(state_of(number), replace(live.read(state_of(number)), **changes), "me")


def lines(cli):
    return cli("status", RUN).out.splitlines()


def two_devices(image):
    return (
        SeatStatus(
            number=0, label="cpu 1", state=SeatState.RENDERING, image=image, stage=Stage.DENOISE, part=1, parts=8
        ),
        SeatStatus(number=1, label="cpu 2", state=SeatState.GONE),
    )


def test_each_shard_has_its_devices_below_it(cli, path):
    for number in (1, 2):
        shard(path, number, limits=Limits(max_images=1))
        says(number, state=RunState.RENDERING, said="", seats=two_devices(f"fox-{number}"))
    with held(1), held(2):
        said = lines(cli)
    assert said[1] == "  2 shards rendering"
    for number in (1, 2):
        (at,) = [index for index, line in enumerate(said) if line.startswith(f"  shard {number}/3 on ")]
        assert said[at].endswith("): rendering on 1 of 2 devices, 1 lost")
        assert said[at + 1 : at + 3] == [f"      cpu 1  fox-{number}, denoising 1 of 8", "      cpu 2  lost"]
    assert sum("cpu 1" in line for line in said) == 2


def test_the_page_of_shards_shows_none_of_their_devices_as_all():
    mine = LiveStatus(
        state=RunState.PAUSED, name="job", pid=1, host="a", began=1.0, updated=9.0, seats=two_devices("fox"),
        options=("--devices=cpu,cpu",),
    )  # fmt: skip
    found = merged(mine, [mine], whole=9)
    assert (found.seats, found.options, found.said) == ((), (), "2 shards paused")


def test_what_is_left_is_told_by_the_devices_that_each_part_had(cli, path):
    """The last word of each that is as it left it, and of one that never began, or has more to do now, a guess."""
    for number, rest_s in ((1, 70.0), (2, 80.0)):
        shard(path, number, limits=Limits(max_images=1))
        says(number, rest_s=rest_s)
    found = {item["shard"]: item for item in cli("status", RUN, "--json").json()["idle_shards"]}
    assert [found[name]["eta_s"] for name in ("1/3", "2/3")] == [70.0, 80.0]
    assert (found["3/3"]["to_render"], found["3/3"]["eta_s"] < 60) == (4, True)
    data = cli("status", RUN, "--json").json()
    assert (data["eta_s"], "rest_s" in data) == (80.0, False)
    assert "  about 1m 20s for the rest, all shards at once" in lines(cli)
    alone = found["3/3"]["eta_s"]
    says(1, seats=two_devices("fox") + two_devices("fox"), to_render=7)
    (one, _, other) = cli("status", RUN, "--json").json()["idle_shards"]
    assert one["eta_s"] == pytest.approx(alone * 3 / 4 / 2, rel=0.01)  # two of four are there
    assert other["eta_s"] == pytest.approx(alone)


def test_of_shards_at_work_the_last_one_says_when_all_is_done(cli, path):
    for number, rest_s in ((1, 70.0), (2, 400.0)):
        shard(path, number, limits=Limits(max_images=1))
        says(number, state=RunState.PAUSED, rest_s=rest_s)
    with held(1), held(2):
        assert cli("status", RUN, "--json").json()["eta_s"] == 400.0
        assert "  the shards at work: about 6m 40s once resumed" in lines(cli)
        says(1, state=RunState.RENDERING, ends_from="judged by this run's images")
        (end,) = [line for line in lines(cli) if "done about" in line]
        assert end.startswith("  the shards at work: ") and end.endswith(
            ", in 6m 40s, judged by this run's images"
        )
        says(2, ends_by="--until 07:00")
        assert "  the shards at work: about 6m 40s for the rest" in lines(cli)


def test_the_command_of_an_unfinished_shard_can_be_pasted(cli, path):
    shard(path, 1)
    shard(path, 2, limits=Limits(max_images=1), overrides=("output.name={prompt}-{seed}",))
    said = lines(cli)
    assert "  nothing left to render: shard 1/3" in said
    at = next(
        index for index, line in enumerate(said) if line.startswith("  not at work: shard 2/3, with 3 images")
    )
    words = shlex.split(said[at + 1].partition("go on with it: ")[2])
    assert words[-6:] == ["--set", "output.name={prompt}-{seed}", "--engine", "local", "--shard", "2/3"]
    assert any(line.startswith("  not at work: shard 3/3, with 4 images") for line in said)
    assert any(line.startswith("  or all in one run: ") and line.endswith("--engine local") for line in said)
    assert cli(*words[1:]).code == 0
    assert len(receipts_of(RUN)) == 8
    assert "  nothing left to render: shards 1/3, 2/3" in lines(cli)


def test_while_others_are_at_work_the_commands_stand_there_too(cli, path):
    shard(path, 3)
    with held(1):
        said = lines(cli)
        assert any(line.startswith("  not at work: shard 2/3, with 4 images to render") for line in said)
        assert any(line.endswith("--shard 2/3") for line in said)
        assert "  nothing left to render: shard 3/3" in said
        assert not any("all in one run" in line for line in said)
        (found,) = cli("status", RUN, "--json").json()["idle_shards"]
    assert (found["shard"], found["to_render"], found["options"]) == ("2/3", 4, ["--engine=local"])


def test_of_many_shards_the_first_have_commands(cli, path):
    shard(path, 1, 12)
    said = lines(cli)
    assert sum("go on with it" in line for line in said) == 4
    nor = "  nor shards 6/12, 7/12, 8/12, 9/12, 10/12, 11/12, 12/12, with 7 images to render: likewise"
    assert nor in said


def test_what_happened_says_in_which_shard(cli, path):
    for number in (1, 2):
        shard(path, number, limits=Limits(max_images=1))
        log = EventLog(RunFolder(RUN, shard=Shard(number, 3)))
        log.write(happen("resumed after 10.3s", HappeningKind.RESUMED))
    said = cli("status", RUN).out
    assert "shard 1/3: resumed after" in said and "shard 2/3: resumed after" in said


def test_killed_shards_are_named(cli, path):
    for number in (1, 2):
        shard(path, number, limits=Limits(max_images=1))
        log = state_of(number) / "events.jsonl"
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        log.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries if entry["kind"] == "started"))
    assert "  shards 1/3, 2/3 were killed" in lines(cli)
