"""How long a run is expected to take on all of its devices, before any of them has said a word."""

import json
import sys
from dataclasses import replace

import pytest

from batch.plan.estimate import estimate
from batch.plan.known import EstimateSource, Known
from batch.plan.rates import learn
from batch.records.events import Crew, Seat
from batch.records.receipts import Machine
from batch.run import crew
from batch.run.limits import Gate, Limits
from batch.run.options import Options
from batch.run.pace import Pace
from batch.run.prepare import prepare
from batch.store import history
from batch.store.folder import RunFolder
from tests.fake_driver import FakeCard, driver
from tests.known_times import Times
from tests.run.test_pace import BEGAN, alike, earlier

GRID = "grid: {model: demo, prompt: [a fox, a whale], seed: 0..9, steps: 1, size: 512x512}\n"


def known_of(seat):
    """What earlier runs tell: a slow card takes four times as long."""
    slower = 4.0 if seat.kind == "slow" else 1.0
    times = Times(step=0.4 * slower, decode=1.2 * slower, load=0.0, first=0.0, between=0.0, save=0.0, noise=0.0)
    return Known(history=learn(replace(item, machine=Machine(device=seat.kind)) for item in earlier(times)))


def seats(*kinds):
    return tuple(Seat(number=number, device="", kind=kind) for number, kind in enumerate(kinds))


def expected(count, *kinds):
    there, tasks = seats(*kinds), alike(count)
    known = known_of(there[0] if there else Seat(number=0, device="", kind="fast"))
    return crew.together(estimate(tasks, (), known), tasks, {}, known, known_of, there)


def test_devices_share_what_one_alone_takes():
    alone, four = expected(40, "fast"), expected(40, "fast", "fast", "fast", "fast")
    assert (alone.devices, four.devices) == (1, 4)
    assert four.seconds == pytest.approx(alone.seconds / 4, rel=0.02)
    assert four.seconds_from == EstimateSource.EARLIER_RUNS


def test_each_kind_counts_at_its_own_speed():
    alone, both = expected(50, "fast"), expected(50, "fast", "slow")
    assert both.seconds == pytest.approx(alone.seconds * 4 / 5, rel=0.05)


def test_more_devices_than_images_have_nothing_to_do():
    assert expected(2, "fast", "fast", "fast").devices == 2
    assert expected(0, "fast", "fast").devices == 1


def test_of_a_cluster_the_time_is_that_of_one_device():
    told, alone = expected(40), expected(40, "fast")
    assert told.devices is None
    assert told.seconds == alone.seconds


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, ["RTX 4090", "RTX 4090"]),
        ({"devices": "first"}, ["RTX 4090"]),
        ({"devices": "2,0"}, ["T4", "RTX 4090"]),
        ({"devices": "0,7"}, ["RTX 4090", ""]),
        ({"engine": "local"}, ["RTX 4090"]),
        ({"engine": "ray"}, []),
    ],
)
def test_a_run_is_expected_where_it_renders(manifest, monkeypatch, options, kinds):
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "RUN_BATCH_ENGINE"):
        monkeypatch.delenv(name, raising=False)
    cards = FakeCard("aa1", "T4", 15, 1000), FakeCard("ab2", gib=24), FakeCard("ab3", gib=24)
    monkeypatch.setitem(sys.modules, "pynvml", driver(*cards))
    job = prepare(manifest(GRID), Options(**options))
    assert [seat.kind for seat in job.crew] == kinds


def test_a_measurement_is_alone(manifest):
    job = prepare(manifest("kind: measure\n" + GRID), Options())
    assert len(job.crew) == 1


def gate_of(tasks, work):
    return Gate(
        Limits(), RunFolder(work), tasks, min_free_disk=0, known=known_of(seats("fast")[0]), of_seat=known_of
    )


def test_the_first_expectation_of_a_run_counts_all(work):
    tasks = alike(40)
    gate = gate_of(tasks, work)
    gate.crew(Crew(seats("fast", "fast")))
    two = Pace(tasks, gate, crew=seats("fast", "fast"), clock=lambda: 0.0)
    one = Pace(tasks, gate_of(tasks, work), clock=lambda: 0.0)
    assert two.after(BEGAN).seconds == pytest.approx(one.after(BEGAN).seconds / 2, rel=0.02)
    assert two.after(Crew(seats("fast", "fast"))) is None
    assert two.after(Crew(seats("fast"))).seconds == one.after(BEGAN).seconds


def test_nothing_is_expected_of_a_cluster_before_it_answers(work):
    tasks = alike(4)
    pace = Pace(tasks, gate_of(tasks, work), crew=(), clock=lambda: 0.0)
    assert pace.after(BEGAN).seconds is None
    assert pace.after(Crew(seats("fast"))).seconds > 0


@pytest.fixture
def known_here(manifest, own_cache):
    """A manifest whose images' times are known of earlier runs."""
    path = manifest(GRID)
    tasks = prepare(path, Options()).plan.tasks
    rates = learn(
        replace(item, task=replace(tasks[0], id=item.task.id)) for item in earlier(Times(load=0.0, first=0.0))
    )
    rates.machine = prepare(path, Options()).earlier.machine
    history.record(rates)
    return path


def test_plan_says_on_how_many_devices(known_here, cli):
    def plan(devices, *more):
        return cli("plan", known_here, "--engine", "process", "--devices", devices, *more).out

    one, two = (json.loads(plan(devices, "--json"))["expected"] for devices in ("cpu", "cpu,cpu"))
    assert (one["devices"], two["devices"]) == (1, 2)
    assert two["seconds"] == pytest.approx(one["seconds"] / 2, rel=0.1)
    assert " on 2 devices, judged by earlier runs here; done " in plan("cpu,cpu")
    assert " devices" not in plan("cpu")
    said = [cli("plan", known_here, "--engine", "process", "--devices", name) for name in ("0,1", "cpu,cpu")]
    assert ["cuda:0 and cuda:1 not seen on this machine" in item.out + item.err for item in said] == [True, False]


def test_plan_for_a_cluster_names_no_end(known_here, cli):
    line = next(line for line in cli("plan", known_here, "--engine", "ray").out.splitlines() if "time:" in line)
    assert "of one GPU's time" in line and "if started now" not in line


def test_plan_refuses_what_a_run_refuses(manifest, cli):
    found = cli("plan", manifest(GRID), "--devices", "cpu,cpu", "--engine", "local")
    assert found.code == 2 and "--engine local renders" in found.err
    assert cli("plan", manifest(GRID), "--devices", "gpu").code == 2
