"""benchmarks/card.py: every section ends in rows, whatever becomes of it; with tiny models all of it runs here."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from batch.base import nvml
from batch.memory.steps import STEPS
from benchmarks import card, card_rows
from benchmarks.card_bench import CARD, CPU, STEP_SETTINGS, Rates
from benchmarks.card_rows import Floor, Prediction, Row
from tests.conftest import ROOT

BENCH = replace(CPU, patience=1.0)


def sound(_bench, say):
    say("figure", 2.0, "s", predicted=1.0, headline=True)


def broken(_bench, say):
    say("figure", 1)
    raise ValueError("it is broken")


def killed(_bench, say):
    say("figure", 1)
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted(_bench, say):
    say("figure", 1)
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(600)


def endless(_bench, say):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    say("child", other.pid)
    time.sleep(600)


def sections(*names, seconds=20.0):
    return [
        card.Section(number=number, name=name, seconds=seconds, work=f"{__name__}:{name}")
        for number, name in enumerate(names, 1)
    ]


def visit(out, *names, seconds=20.0):
    """The exit code, and the rows as both files have them."""
    context = multiprocessing.get_context("spawn")
    code = card.visit(sections(*names, seconds=seconds), BENCH, out, 9, context)
    return code, rows_of(out)


def rows_of(out):
    lines = [json.loads(line) for line in (out / "card.jsonl").read_text(encoding="utf-8").splitlines()]
    with (out / "card.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert table == [{name: "" if value is None else str(value) for name, value in row.items()} for row in lines]
    return lines


def named(rows, section):
    return {row["name"]: row for row in rows if row["section"] == section}


def test_an_error_is_a_row_and_the_next_section_runs(tmp_path, capsys):
    code, rows = visit(tmp_path, "broken", "sound")
    assert code == 1
    first, second = named(rows, "broken"), named(rows, "sound")
    assert first["figure"]["value"] == 1
    assert first["ended"]["value"] == "failed"
    assert "Traceback" in first["ended"]["note"]
    assert "ValueError: it is broken" in first["ended"]["note"]
    assert first["ended"]["note"].startswith("ValueError: it is broken\n")
    assert list(second["figure"].values()) == ["sound", "figure", 2.0, "s", 1.0, 2.0, ""]
    assert second["ended"]["value"] == "well"
    assert "not well: 1 broken (failed)" in capsys.readouterr().out


def test_a_process_that_dies_is_a_row(tmp_path):
    code, rows = visit(tmp_path, "killed")
    assert code == 1
    assert named(rows, "killed")["figure"]["value"] == 1
    assert named(rows, "killed")["ended"]["value"] == "crashed"
    assert "SIGKILL" in named(rows, "killed")["ended"]["note"]


def test_a_late_section_is_ended_with_all_it_started(tmp_path):
    code, rows = visit(tmp_path, "endless", seconds=2.0)
    assert code == 1
    found = named(rows, "endless")
    assert found["ended"]["value"] == "cut off"
    assert "card.log shows where it was" in found["ended"]["note"]
    assert "in endless" in (tmp_path / "card.log").read_text(encoding="utf-8")
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(found["child"]["value"]).wait(5)
        psutil.Process(found["child"]["value"])


def test_what_there_is_no_time_for_is_not_started(tmp_path):
    context = multiprocessing.get_context("spawn")
    assert card.visit(sections("sound"), BENCH, tmp_path, 0.01, context) == 1
    assert named(rows_of(tmp_path), "sound")["ended"]["value"] == "not started"


def test_an_interrupted_visit_says_what_did_not_end(tmp_path, capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        code, rows = visit(tmp_path, "sound", "interrupted", "broken")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 1
    ended = {row["section"]: row["value"] for row in rows if row["name"] == "ended"}
    assert ended == {"sound": "well", "interrupted": "interrupted", "broken": "interrupted"}
    assert named(rows, "interrupted")["figure"]["value"] == 1
    assert "not well: 2 interrupted (interrupted), 3 broken (interrupted)" in capsys.readouterr().out


def test_an_older_visit_is_never_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(card, "visit", lambda *_given: 0)
    monkeypatch.chdir(tmp_path)
    assert card.main(["--cpu", "--out", str(tmp_path / "new")]) == 0
    for taken in (tmp_path / "new", tmp_path / "new" / "card.jsonl", ""):
        with pytest.raises(SystemExit) as ended:
            card.main(["--cpu", "--out", str(taken)])
            card.main(["--cpu", "--out", str(taken)])  # "" is the folder one is in: once
        assert ended.value.code == 2
        assert "name another folder" in capsys.readouterr().err


def test_a_full_disk_costs_no_visit(small_disk, capsys):
    place, size = small_disk
    size("size=64k")
    (place / "full").write_bytes(b"x" * 60 * 1024)
    code = card.visit(sections("sound"), BENCH, place, 9, multiprocessing.get_context("spawn"))
    told = capsys.readouterr().out
    assert code == 1
    assert "figure" in told
    assert "not all of it is in the files: No space left on device" in told
    assert not list(place.glob("*.new"))


def test_only_names_sections_by_their_numbers(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(card, "visit", lambda *given: seen.append(given) or 0)
    for number, options in enumerate((["--only", "12, 8, 1"], ["--minutes", "4"], [])):
        assert card.main(["--cpu", "--out", str(tmp_path / str(number)), *options]) == 0
    numbers = [[section.number for section in given[0]] for given in seen]
    assert numbers == [[1, 8, 12], [1, 2, 4, 5, 8], list(range(1, 12))]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cpu", "--only", "1,13"], "'13' is no section; there are 1 versions, 2 rates"),
        (["--cpu", "--minutes", "5"], "choose from 4, 9"),
        pytest.param(
            [],
            "--cpu goes through the same",
            marks=pytest.mark.skipif(bool(nvml.cards()), reason="there is a card"),
        ),
    ],
)
def test_a_mistake_ends_with_2_and_what_would_be_right(options, says, capsys):
    with pytest.raises(SystemExit) as ended:
        card.main(options)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_a_visit_of_nine_minutes_has_room_for_all_sections():
    for minutes, numbers in ((4, card.SHORT), (9, card.FIRST)):
        needed = sum(item.seconds + card.STARTING_S for item in card.SECTIONS if item.number in numbers)
        assert needed + card.LAST_S <= 60 * minutes


def test_predictions_stand_beside_figures():
    rates = Rates(bandwidth=1e9, matrix=1e12, float32=1e11)
    found = {"memory": Prediction(value=4.0, note="at best 3"), "none": Prediction(note="not there")}
    row = Row(section="a", name="b", value=6.0, note="own")
    beside = replace(row, of="memory").beside(found, rates)
    assert (beside.predicted, beside.ratio, beside.note) == (4.0, 1.5, "own; at best 3")
    lacking = replace(row, of="none").beside(found, rates)
    assert (lacking.predicted, lacking.ratio, lacking.note) == (None, None, "own; not there")
    # The value is in milliseconds; bytes take longer than the products, unless these are in float32.
    for floor, ratio in ((Floor(flops=1e9, bytes=2e6), 3.0), (Floor(flops=1e9, float32=True), 0.6)):
        assert replace(row, floor=floor).beside({}, rates).ratio == pytest.approx(ratio)
    assert replace(row, floor=Floor(bytes=1)).beside({}, None).predicted is None


def test_rates_are_those_measured():
    units = {"copy bandwidth": "GB/s", "matrix product": "TFLOP/s", "matrix product, float32": "TFLOP/s"}
    rows = [Row(section="rates", name=name, value=3.0, unit=unit) for name, unit in units.items()]
    assert card.measured(rows) == Rates(bandwidth=3e9, matrix=3e12, float32=3e12)
    assert card.measured(rows[:2]) is None


def test_the_table_fits_whatever_there_is(tmp_path):
    names = [(item.number, item.name) for item in card.SECTIONS]
    rows = [
        Row(section=name, name=f"figure {index}", value=index * 1e9, unit="TFLOP/s", predicted=3.0, note="n" * 99,
            headline=True)
        for _, name in names
        for index in range(9)
    ]  # fmt: skip
    rows[8] = replace(rows[8], note="FINDING: here")
    lines = card_rows.table(rows, names, tmp_path / ("long" * 40), 12.0)
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert all(any(line.startswith(f"{number:2} {name}") for line in lines) for number, name in names)
    assert any("! figure 8" in line for line in lines)


def test_every_memory_step_is_tried():
    assert {step for step, _ in STEP_SETTINGS} == set(STEPS)


def test_a_card_and_a_cpu_go_the_same_way():
    for bench in (CARD, CPU):
        for scene in (bench.large, bench.small, bench.program):
            assert scene.found().name == scene.model
        assert bench.large.size.width > bench.tile[0]
        assert f"vae_tiling({bench.tile[0]}, {bench.tile[1]})" == bench.large.memory


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")
def test_all_of_it_on_a_cpu(tmp_path):
    own = ("RUN_BATCH_PREDICT", "RUN_BATCH_ENGINE", "TORCHINDUCTOR_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment["TORCH_COMPILE_DISABLE"] = "1"  # Inductor takes half a minute; tests/plan/test_batching.py has it
    command = [sys.executable, str(ROOT / "benchmarks" / "card.py"), "--cpu", "--out", str(tmp_path / "out")]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = rows_of(tmp_path / "out")
    names = [item.name for item in card.SECTIONS if item.number in card.FIRST]
    assert [row["section"] for row in rows if row["name"] == "ended"] == names
    for name in names:
        assert len(named(rows, name)) > 2, name
    assert named(rows, "session")["denoise: allocated"]["predicted"] > 0
    assert named(rows, "kernels")["1x1 with bias: linear"]["ratio"] > 0
    assert named(rows, "decode")["bits equal"]["value"] is True
    assert not [row for row in rows if row["note"].startswith("FINDING")]
    assert len(list((tmp_path / "out").iterdir())) <= 8
    assert all(item.is_file() for item in (tmp_path / "out").iterdir())
    assert "every section ended well" in ran.stdout
