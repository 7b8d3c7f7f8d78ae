"""A run's history, what becomes slower or larger in it, and what the report says about both."""

import json
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from batch.cli.progress import Silent
from batch.records.events import Happening
from batch.records.receipts import CardState, FileRef, Machine, Measurement, Receipt, StagePeak
from batch.records.tasks import Task
from batch.records.values import Call
from batch.render.meter import Meter
from batch.report import html, table
from batch.report.images import reported
from batch.run import runner
from batch.run.drift import Drift
from batch.run.options import Options
from batch.store import events
from batch.store.events import EventLog
from batch.store.folder import RunFolder
from tests.fake_session import FakeBackend, Fault

# The log


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run", "me-1")


def happen(text, kind="note", **more):
    return Happening(kind=kind, text=text, **more)


def texts(folder):
    return [event.text for event in events.read(folder)]


def test_what_happened_is_written_down(folder):
    log = EventLog(folder)
    log.write(happen("ein Bär 🐻\nzwei", task="12ab", data={"stage": "decode", "rungs": ["a", 1, None]}))
    (event,) = events.read(folder)
    assert (event.text, event.kind, event.task, event.runner) == ("ein Bär 🐻\nzwei", "note", "12ab", "me-1")
    assert event.data == {"stage": "decode", "rungs": ["a", 1, None]}
    assert event.time.endswith("+00:00")
    assert events.read(RunFolder(folder.root / "other")) == []


def test_a_line_torn_by_a_kill_costs_that_line_only(folder):
    EventLog(folder).write(happen("one"))
    path = folder.state / events.FILE
    path.write_bytes(path.read_bytes()[:-20])
    EventLog(folder).write(happen("two"))
    EventLog(folder).write(happen("three"))
    assert texts(folder) == ["two", "three"]


@pytest.mark.parametrize(
    "line",
    [
        b"hello", b"[]", b"null", b'{"kind": "x"}', b"\xff\xfe\x00", b"\0" * 40, b"[" * 100_000,
        b'{"time": "2026-01-01T00:00:00+00:00", "runner": "r", "kind": 3, "text": "x"}',
        b'{"time": "yesterday", "runner": "r", "kind": "x", "text": "x"}',
        b'{"time": "2026-01-01T00:00:00+00:00", "runner": "r", "kind": "x", "text": "x", "data": [1]}',
    ],
)  # fmt: skip
def test_foreign_lines_are_passed_over(folder, line):
    EventLog(folder).write(happen("one"))
    with (folder.state / events.FILE).open("ab") as file:
        file.write(line + b"\n")
    EventLog(folder).write(happen("two"))
    assert texts(folder) == ["one", "two"]


def test_a_log_that_cannot_be_written_fails_nothing(folder):
    (folder.state / events.FILE).mkdir(parents=True)
    EventLog(folder).write(happen("lost"))
    assert texts(folder) == []
    blocked = RunFolder(folder.state / events.FILE / "file")
    blocked.root.write_text("no folder")
    EventLog(blocked).begin(1)


def test_the_log_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(events, "MAX_BYTES", 2_000)
    for number in range(100):
        EventLog(folder).write(happen(f"number {number}"))
    sizes = [(folder.state / name).stat().st_size for name in (events.FILE, events.OLDER)]
    assert max(sizes) < 2_300
    numbers = [int(text.split()[1]) for text in texts(folder)]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 15


def test_the_last_run_is_told_apart(folder):
    log = EventLog(folder)
    log.begin(2)
    log.write(happen("old"))
    assert [event.text for event in events.last_run(events.read(folder))] == ["old"]
    log.begin(1)
    assert events.last_run(events.read(folder)) == []
    log.write(happen("new"))
    assert [event.text for event in events.last_run(events.read(folder))] == ["new"]
    assert events.last_run([]) == []


def test_without_its_start_a_run_is_the_last_runners(folder):
    EventLog(folder).write(happen("old"))
    EventLog(RunFolder(folder.root, "me-2")).write(happen("new"))
    assert [event.text for event in events.last_run(events.read(folder))] == ["new"]


# The card


class NVMLError(Exception):
    pass


def refuse(*_arguments):
    raise NVMLError("Not Supported")


def driver(**calls):
    """A module that stands in for the driver's: it knows these calls, and refuses the others."""
    known = {
        "nvmlDeviceGetTemperature": refuse,
        "nvmlDeviceGetClockInfo": refuse,
        "nvmlDeviceGetPowerUsage": refuse,
    }
    return SimpleNamespace(NVMLError=NVMLError, **{**known, **calls})


@pytest.fixture
def card(monkeypatch):
    def state(**calls):
        monkeypatch.setitem(sys.modules, "pynvml", driver(**calls))
        meter = Meter("cpu")
        meter._handle = "card 0"
        return meter.card()

    return state


def test_there_is_no_state_without_a_card():
    assert Meter("cpu").card() is None


def test_the_state_of_a_card(card):
    state = card(
        nvmlDeviceGetTemperature=lambda handle, sensor: {("card 0", 0): 84}[handle, sensor],
        nvmlDeviceGetClockInfo=lambda handle, clock: {("card 0", 1): 1410}[handle, clock],
        nvmlDeviceGetPowerUsage=lambda _handle: 312_500,
        nvmlDeviceGetCurrentClocksEventReasons=lambda _handle: 0x40 | 0x8 | 0x1,
    )
    assert state == CardState(
        temperature_c=84, clock_mhz=1410, power_w=312.5, throttled="hardware slowdown, thermal slowdown (hardware)"
    )


def test_what_a_card_does_not_say_is_not_known(card):
    assert card() == CardState()


@pytest.mark.parametrize(
    "calls",
    [
        {"nvmlDeviceGetCurrentClocksThrottleReasons": lambda _handle: 0x4},
        {
            "nvmlDeviceGetCurrentClocksEventReasons": refuse,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _handle: 0x4,
        },
    ],
)
def test_both_names_of_the_reasons_are_known(card, calls):
    assert card(**calls).throttled == "power cap"


@pytest.mark.parametrize(("reasons", "words"), [(0x1, ""), (0x2, ""), (0x3, ""), (0x9000, "reason 0x9000")])
def test_idle_and_set_clocks_are_no_throttling(card, reasons, words):
    assert card(nvmlDeviceGetCurrentClocksEventReasons=lambda _handle: reasons).throttled == words


# Drift

HOT = CardState(temperature_c=84, clock_mhz=1410, throttled="thermal slowdown (hardware)")
COOL = CardState(temperature_c=61, clock_mhz=1980)
MIB = 2**20


def receipt(seconds, reserved=None, *, rss=None, card=None, warmup=False, repaired="", used="", **task) -> Receipt:
    size = {"width": 5376, "height": 3072, "rendered_width": 5376, "rendered_height": 3072}
    plain = {"model": "sana", "dtype": "bf16", "prompt": "a", "seed": 1, "steps": 20, "guidance": 4.5}
    made = Task(**{**size, **plain, "id": "12ab", "memory": "full", **task})
    denoise = StagePeak(seconds=seconds * 0.75, reserved=reserved, rss=rss)
    return Receipt(
        task=made,
        file=FileRef(path="images/a.png", bytes=1, sha256="", width=made.width, height=made.height),
        measurement=Measurement(
            encode=StagePeak(seconds=100.0), denoise=denoise, decode=StagePeak(seconds=seconds * 0.25),
            save_s=50.0, warmup=warmup, card=card,
        ),
        machine=Machine(),
        attempts=1,
        started_at="",
        memory_used=used,
        repaired=repaired,
    )  # fmt: skip


def told(*receipts) -> list[tuple[int, str]]:
    """Number of the receipt and text of each happening."""
    drift = Drift()
    return [(number, item.text) for number, one in enumerate(receipts) for item in drift.seen(one)]


def noisy(seconds, count):
    """Of about so many seconds; every fourth takes three times as long."""
    return [receipt(seconds * (3 if number % 4 == 3 else 1 + number % 3 / 100)) for number in range(count)]


def test_a_steady_run_tells_nothing():
    assert told(*noisy(4.1, 200)) == []
    assert told(*[receipt(4.1, 6000 * MIB)] * 200) == []


def test_half_the_speed_is_told_once_with_its_figures():
    (one,) = told(*noisy(4.1, 40), *noisy(8.2, 100))
    number, text = one
    assert 42 <= number <= 50
    assert re.fullmatch(r"slower: 8\.[23] s an image instead of 4\.1 s at 5376x3072", text)


def test_what_was_over_is_told_again():
    happened = told(*[receipt(4)] * 20, *[receipt(8)] * 20, *[receipt(4)] * 20, *[receipt(8)] * 20)
    assert [number // 20 for number, _ in happened] == [1, 3]


def test_around_the_limit_nothing_flaps():
    around = [receipt(4 * (1.55 if number // 10 % 2 else 1.45)) for number in range(200)]
    assert len(told(*[receipt(4)] * 20, *around)) == 1


def test_what_has_doubled_since_is_told_again():
    happened = told(*[receipt(4)] * 20, *[receipt(8)] * 20, *[receipt(11)] * 20, *[receipt(17)] * 20)
    assert [number // 20 for number, _ in happened] == [1, 3]
    assert "17.0 s an image instead of 4.0 s" in happened[1][1]


def test_milliseconds_are_noise():
    assert told(*[receipt(0.01)] * 20, *[receipt(0.1)] * 20) == []


def test_warm_ups_and_repaired_images_do_not_count():
    slow = [receipt(40, 90_000 * MIB, warmup=True), receipt(40, 90_000 * MIB, repaired="decoded in float32")]
    assert told(*[receipt(4, 6000 * MIB)] * 10, *slow * 20) == []
    assert told(*slow * 20, *[receipt(4)] * 12, *[receipt(8)] * 10)[0][1].endswith("instead of 4.0 s at 5376x3072")


@pytest.mark.parametrize(
    "other",
    [
        {"model": "flux"}, {"rendered_width": 1024}, {"steps": 60}, {"used": "vae_tiling"}, {"memory": "low"},
        {"scheduler": Call(name="heun")}, {"dtype": "fp32"},
    ],
)  # fmt: skip
def test_images_are_compared_with_their_like(other):
    small = [receipt(4, 4000 * MIB)] * 15
    large = [receipt(12, 9000 * MIB, **other)] * 15
    assert told(*small, *large, *small, *large) == []
    mixed = [item for pair in zip(small, large, strict=True) for item in pair]
    slower = [receipt(30, 9000 * MIB, **other), receipt(4, 4000 * MIB)] * 15
    (one,) = told(*mixed, *slower)
    assert "instead of 12.0 s" in one[1]


def test_growth_is_told_once_and_again_when_doubled():
    leak = [receipt(4, (4000 + 100 * number) * MIB) for number in range(150)]
    happened = told(*leak)
    assert len(happened) == 2
    assert happened[0][1] == "memory grows: 5300 MiB reserved instead of 4400 MiB at 5376x3072"
    assert "10600 MiB reserved" in happened[1][1]


def test_what_is_no_growth_and_no_slow_down():
    small = {"width": 512, "height": 512, "rendered_width": 512, "rendered_height": 512}
    few, many = [receipt(1, 2000 * MIB, **small)] * 10, [receipt(4, 8000 * MIB)] * 10
    # The allocator keeps what a larger size needed.
    assert told(*few, *many, *[receipt(1, 8000 * MIB, **small)] * 10) == []
    # Another number of timesteps is another amount of work.
    assert told(*[receipt(2, extra=(("timesteps", (5,)),))] * 10, *[receipt(8)] * 10) == []
    # Texts are encoded now and then; what that takes says nothing of the images.
    cost = receipt(4, 2000 * MIB).measurement
    encoded = replace(cost, encode=StagePeak(seconds=1.0, reserved=10_000 * MIB))
    cheap = replace(receipt(4, 2000 * MIB), measurement=cost)
    assert told(*[cheap] * 10, *[replace(cheap, measurement=encoded)] * 10) == []


def test_a_little_growth_is_none():
    assert told(*[receipt(4, 400 * MIB)] * 10, *[receipt(4, 640 * MIB)] * 20) == []
    assert told(*[receipt(4, 40_000 * MIB)] * 10, *[receipt(4, 45_000 * MIB)] * 20) == []


def test_host_memory_counts_where_there_is_no_card_only():
    assert "resident" in told(*[receipt(4, rss=2000 * MIB)] * 10, *[receipt(4, rss=4000 * MIB)] * 10)[0][1]
    card = [receipt(4, 3000 * MIB, rss=rss * MIB) for rss in [2000] * 10 + [4000] * 10]
    assert told(*card) == []


def test_throttling_can_be_told_from_a_leak():
    drift = Drift()
    run = [receipt(4.1, card=COOL)] * 10 + [receipt(8.2, card=HOT)] * 10
    (happening,) = [item for one in run for item in drift.seen(one)]
    assert (happening.kind, happening.task) == ("slower", "12ab")
    assert happening.text.endswith(
        "at 5376x3072 (84 °C, 1410 MHz, held back by thermal slowdown (hardware); at first 61 °C, 1980 MHz)"
    )
    assert json.loads(json.dumps(happening.data)) == dict(happening.data)
    assert happening.data["card_at_first"]["clock_mhz"] == 1980


def test_without_a_card_nothing_is_said_of_it():
    (one,) = told(*[receipt(4)] * 10, *[receipt(8, card=CardState())] * 10)
    assert "(" not in one[1]


# What people read

HOSTILE = "</script><script>alert(1)</script><b>bold</b>"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Six images: two repaired or degraded, one that stays bad, one that fails; and what happened."""
    root = tmp_path_factory.mktemp("night")
    job = root / "night.yaml"
    job.write_text(
        "grid: {model: demo-1k, prompt: [a fox, a whale], seed: 0..2, steps: 2, size: 1344x768}\n"
        "run: {min_free_disk: 1MB}\noutput: {format: webp}\n"
    )
    faults = (
        Fault("nan", "decode", seed=0, prompt="a fox"),
        Fault("nan", "denoise", seed=1, prompt="a fox"),
        Fault("error", "decode", seed=1, prompt="a whale"),
        Fault("oom-torch", "decode", seed=2, unless="vae_tiling"),
    )
    options = Options(out=root / "run", engine="local", backend=FakeBackend(faults))
    runner.run(job, options, Silent(), threading.Event())
    folder = RunFolder(root / "run", "me-1")
    (folder.state / events.FILE).unlink(missing_ok=True)
    task = next(task for task in folder.tasks() if task.prompt == "a fox" and task.seed == 2)
    log = EventLog(folder)
    log.begin(3)
    log.begin(6)
    for number in range(4):
        log.write(happen(f"out of memory, number {number}", "out-of-memory", task=task.id))
    log.write(happen(HOSTILE, "worker-died", data={"log": f"first\n{HOSTILE}\nlast"}))
    runner.report(folder.root)
    return folder


def test_the_table_has_the_setting_used_and_what_was_invalid(night):
    rows = table.read(night.root / "results.csv").set_index(["prompt", "seed"])
    assert rows.loc[("a fox", 2), "degraded_from"] == "auto"
    assert "vae_tiling" in rows.loc[("a fox", 2), "memory"]
    assert rows.loc[("a fox", 0), ["status", "memory", "degraded_from", "error"]].tolist() == [
        "done",
        "auto",
        "",
        "",
    ]
    assert rows.loc[("a fox", 1), "status"] == "invalid"
    assert "not finite" in rows.loc[("a fox", 1), "error"]
    assert rows.loc[("a whale", 1), "status"] == "failed"
    assert rows.status.value_counts()["done"] == 4


def test_times_are_told_apart_by_the_setting_used(night):
    data = html.page_data("night", reported(night.tasks(), night.scan()), night.scan(), [])
    rows = [dict(zip(data["timing"]["columns"], row, strict=True)) for row in data["timing"]["rows"]]
    found = {row["memory"]: {"images": row["images"], "failed": row["failed"]} for row in rows}
    (degraded,) = [name for name in found if "degraded" in name]
    assert degraded.startswith("vae_tiling")
    assert degraded.endswith("(degraded from auto)")
    assert found["auto"] == {"images": 2, "failed": 2}
    assert found[degraded] == {"images": 2, "failed": 0}


def test_comparing_says_that_memory_ran_out_in_the_first_run(night, tmp_path, cli):
    other = tmp_path / "other"
    shutil.copytree(night.root, other)
    said = cli("compare", night.root, other).out
    assert "memory ran out in" in said
    assert "were rendered with vae_tiling" in said


def page_data(folder):
    page = (folder.root / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_report_says_what_happened(night):
    data = page_data(night)
    assert (data["summary"]["failed"], data["summary"]["done"], data["summary"]["degraded"]) == (2, 4, 2)
    assert [item["kind"] for item in data["happened"]] == ["started", *["out-of-memory"] * 4, "worker-died"]
    assert data["happened"][1]["name"].startswith("a-fox-2-")
    images = {(image["prompt"], image["seed"]): image for image in data["images"]}
    assert "float32" in images["a fox", "0"]["repaired"]
    assert images["a fox", "1"]["status"] == "invalid"
    assert "vae_tiling" in images["a fox", "2"]["memory"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_what_happened_in_a_browser(night, tmp_path):
    def seen(folder):
        command = [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ]
        address = (folder.root / "report.html").resolve().as_uri()
        return subprocess.run([*command, address], capture_output=True, text=True, timeout=60, check=True).stdout

    dom = seen(night)
    section = re.search(r'<section id="happened".*?</section>', dom, re.DOTALL)[0]
    assert section.count("<tr") == 7
    assert "out of memory, number 3" in section
    assert re.search(r"<details>.*first\n&lt;/script&gt;.*last</pre></details>", section, re.DOTALL)
    assert "<b>bold" not in dom
    assert "repaired: decoded in float32" in dom
    assert "degraded from auto" in dom
    assert dom.count('class="card invalid"') == dom.count('class="card failed"') == 1
    shutil.copytree(night.root, tmp_path / "quiet")
    quiet = RunFolder(tmp_path / "quiet")
    (quiet.state / events.FILE).unlink()
    EventLog(quiet).begin(6)
    runner.report(quiet.root)
    assert '<section id="happened" class="happened" hidden="">' in seen(quiet)


def test_status_says_what_happened_in_the_last_run(night, cli):
    said = cli("status", night.root).out
    assert "happened in the last run: out-of-memory 4, worker-died 1" in said
    lines = re.findall(r"^ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (.*)$", said, re.MULTILINE)
    assert lines == ["out of memory, number 2", "out of memory, number 3", HOSTILE]
    data = cli("status", night.root, "--json").json()
    assert data["happened"] == {"out-of-memory": 4, "worker-died": 1}
    assert [item["text"] for item in data["last_happenings"]] == lines


def test_the_contact_sheet_marks_degraded_and_repaired_pictures(night, tmp_path):
    shutil.copytree(night.root, tmp_path / "plain")
    plain = RunFolder(tmp_path / "plain")
    for path in (plain.state / "receipts").rglob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "degraded_from": "", "repaired": ""}))
    runner.report(plain.root)
    marked, unmarked = (Image.open(item.root / "contact_sheet.jpg").convert("L") for item in (night, plain))
    apart = np.abs(np.asarray(marked, int) - np.asarray(unmarked, int)) > 60
    assert regions(apart.any(axis=0)) == 3  # a fox with seed 0 and with 2, a whale with seed 2


def regions(flags) -> int:
    """Runs of set flags, where gaps of less than 60 pixels are none."""
    (places,) = np.nonzero(flags)
    return int(len(places) > 0) + int((np.diff(places) > 60).sum())
