"""What a run makes of --devices before it renders: who takes several, and whether host memory has room for all."""

from types import SimpleNamespace

import pytest

from batch.base import hardware
from batch.manifest.values import Size
from batch.memory.profiles import resolve
from batch.run import course, encoders, host, prepare
from batch.run.encoders import HalfSizes
from batch.run.options import Options
from tests.fake_session import FakeBackend
from tests.helpers import GIB, Seen, fake_run, grid, plan
from tests.measurements import JOB as MEASURE

SIZES = HalfSizes(texts=5 * GIB, images=3 * GIB)
WORK = GIB
ONE = grid(model="demo", prompt="a fox", steps=1, size="512x512")


def steps(setting):
    return resolve(setting, Size(1024, 1024))


@pytest.mark.parametrize(
    ("setting", "memory", "needed"),
    [
        ("auto", 24, 0),
        ("auto", 4, 3),
        ("full", 4, 0),
        ("model_cpu_offload", 24, 3),
        ("text_encoder_cpu", 24, 5),
        ("text_encoder_offload+model_cpu_offload", 24, 5),
        ("group_offload(block, 1, stream=false)", 24, 5),
        ("group_offload(block, 1)", 24, 5 * host.LOCKED),
        ("fp8_weights+model_cpu_offload", 24, 1.5),
        ("full", None, 5),
    ],
)
def test_what_one_worker_takes_of_host_memory(setting, memory, needed):
    card = memory and memory * GIB
    assert host.in_host(SIZES, WORK, steps(setting), card, auto=setting == "auto") == needed * GIB


def test_without_a_card_rendering_takes_host_memory():
    assert host.in_host(HalfSizes(texts=GIB, images=3 * GIB), WORK, (), None, auto=True) == 4 * GIB


@pytest.fixture
def offloading(manifest, monkeypatch):
    """What is said of a model that takes 3 GiB of host memory where so many workers share so much."""
    made = plan(manifest(grid(model="demo", prompt="a", memory="model_cpu_offload", size="512x512")))
    monkeypatch.setattr(encoders, "of_model", lambda *_: SIZES)

    def said(workers, free, memory=24):
        monkeypatch.setattr(host.psutil, "virtual_memory", lambda: SimpleNamespace(available=free * GIB))
        return host.warning(made, memory and memory * GIB, workers)

    return said


def test_all_workers_share_the_memory_of_the_host(offloading):
    assert offloading(4, 12) == ""
    said = offloading(4, 10)
    assert "demo: 4 workers keep weights in host memory, 3.0 GiB each, 12.0 GiB together" in said
    assert (
        "10.0 GiB are free; name 3 devices at most (--devices) or take a memory setting that offloads less" in said
    )
    assert "at most" not in offloading(2, 2)
    assert offloading(1, 1) == ""


def test_a_run_warns_of_it_for_as_many_workers_as_it_has(cli, manifest, monkeypatch):
    seen = []
    monkeypatch.setattr(
        host, "warning", lambda _plan, memory, workers: seen.append((memory, workers)) or "crowded"
    )
    monkeypatch.setattr(hardware.nvml, "cards", lambda **_: ())
    path = manifest(grid(model="demo", prompt="a fox", seed="0..3", size="512x512"))
    assert prepare.prepare(path, Options(devices="cpu,cpu,cpu", engine="process")).plan.warnings[-1] == "crowded"
    one_image = Options(devices="cpu,cpu,cpu", engine="process", overrides=("seed=0",))
    prepare.prepare(path, one_image)
    prepare.prepare(path, Options(engine="local"))
    prepare.prepare(manifest(MEASURE, name="measure.yaml"), Options())
    assert seen == [(None, 3), (None, 1), (None, 1), (None, 1)]


def test_text_encoders_stay_where_there_is_room_for_those_of_all_workers(manifest, monkeypatch):
    tasks = plan(manifest(ONE)).tasks
    monkeypatch.setattr(encoders, "of_model", lambda *_: SIZES)
    monkeypatch.setattr(encoders.psutil, "virtual_memory", lambda: SimpleNamespace(available=16 * GIB))
    asked = []

    def look(devices):
        asked.append(devices)
        return hardware.Hardware(card=True, memory=24 * GIB)

    monkeypatch.setattr(hardware, "look", look)
    assert encoders.apart(None, tasks, "cuda:0", devices="0,1", workers=2) == ""
    assert "would be taken by 3 workers" in encoders.apart(None, tasks, "cuda:0", devices="0,1", workers=3)
    assert "would be taken by 2 workers" in encoders.apart(None, tasks, "cpu", workers=2)
    assert asked == ["0,1"]


def test_the_engine_says_how_many_share_it(manifest, work, monkeypatch):
    told = []
    monkeypatch.setattr(
        encoders, "apart", lambda *_, devices, workers, **__: told.append((devices, workers)) or "x"
    )
    fake_run(manifest(ONE), seen=Seen(), out=work / "run", engine="local")
    assert told == [(None, 1)]


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        (ONE, ("--engine", "local", "--devices", "cpu,cpu"), "on one device; name one"),
        (MEASURE, ("--devices", "0,1"), "a measurement is alone"),
        (ONE, ("--devices", "0,,1"), "nothing between two commas"),
        (ONE, ("--devices", "0,cpu"), "low bits"),
        (ONE, ("--devices", "zero"), "'zero' is no device"),
    ],
)
def test_lists_that_are_refused(cli, manifest, text, options, why):
    outcome = cli("run", manifest(text), "--out", "run", *options)
    assert (outcome.code, why in outcome.err) == (2, True), outcome.err


@pytest.mark.parametrize("devices", ["cpu,cpu", "all"])
@pytest.mark.parametrize(
    "command", [("redecode", "run", "--memory", "full"), ("verify", "run", "--reproduce", "1")]
)
def test_what_renders_a_few_pictures_takes_one_device(cli, work, command, devices):
    (work / "run").mkdir()
    outcome = cli(*command, "--devices", devices)
    assert (outcome.code, "on one device; name one" in outcome.err) == (2, True), outcome.err


@pytest.mark.parametrize(("asked", "device"), [(None, "first"), ("all", "first"), ("cpu", "cpu"), ("1", "1")])
def test_a_measurement_takes_the_first(manifest, work, monkeypatch, asked, device):
    engines = []

    class Measuring:
        def __init__(self, *, engine, **_):
            engines.append(engine.devices)

        def run(self):
            return

    monkeypatch.setattr(course, "Measuring", Measuring)
    fake_run(manifest(MEASURE), seen=Seen(), out=work / "run", devices=asked)
    assert engines == [device]


def test_an_engine_of_one_process_takes_the_first_of_all(manifest, work):
    assert FakeBackend().devices("all").devices == ("cuda:0",)
    for number, devices in enumerate((None, "all")):
        result = fake_run(manifest(ONE), seen=Seen(), out=work / f"run{number}", engine="local", devices=devices)
        assert result.rendered == 1
