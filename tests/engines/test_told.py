"""What a run tells while it goes on and afterwards."""

import json
import sys
from pathlib import Path

from batch.records.events import Beat
from batch.records.kinds import Stage
from batch.run import drift, limits
from tests.engines.nights import JOB
from tests.fake_session import Fault
from tests.helpers import fake_run


def test_the_log_and_the_report_say_what_happened(night, once, cli):
    ended = night(
        once("exit", seed=1, prompt="a"),
        Fault("oom-torch", "decode", unless="vae_tiling"),
        Fault("nan", "denoise", seed=2, prompt="b"),
        engine="process",
    )
    status = cli("status", "run", "--json").json()
    assert status["happened"] == {"out-of-memory": 2, "worker-died": 1, "invalid": 1}
    assert (status["done"], status["failed"], status["degraded"]) == (5, 1, 5)
    assert "worker-died" in cli("status", "run").out
    page = (ended.folder.root / "report.html").read_text(encoding="utf-8")
    assert "the worker died at a-1" in page
    log = (ended.folder.state / "events.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = [json.loads(line)["kind"] for line in log]
    assert kinds[-1] == "end"
    assert "failed" in kinds


def test_why_the_run_stopped_stands_in_status_and_report(night, cli):
    night(limits=limits.Limits(max_images=2))
    for text in (cli("status", "run").out, Path("run/report.html").read_text(encoding="utf-8")):
        assert "the run stopped: --max-images 2 is reached" in text
    night()
    assert "stopped" not in cli("status", "run").out
    with Path("run/.run/events.jsonl").open("a") as log:  # a run that was killed says no more
        log.write(
            '{"time": "2026-11-24T03:00:00+00:00", "runner": "x-1", "kind": "started", "text": "", "data": {}}\n'
        )
    assert "began 2026-11-24 " in cli("status", "run").out


def test_an_encoder_that_is_there_is_not_said_to_load(manifest, work):
    """Each text would take the bar of texts away."""
    beats = Beats()
    text = JOB.replace("[a, b]", "[told a, told b, told c, told d]").replace("0..2", "0")
    fake_run(manifest(text), seen=beats, out=work / "run", engine="local")
    assert beats.of_texts == [Stage.LOAD, *[Stage.ENCODE] * 4]


class Beats:
    """Hears what is told of texts."""

    def __init__(self):
        self.of_texts = []

    def on(self, event):
        if isinstance(event, Beat) and event.name in {f"told {letter}" for letter in "abcd"}:
            self.of_texts.append(event.stage)


def test_a_slow_down_is_told_by_the_run(night, monkeypatch):
    monkeypatch.setattr(drift, "MIN_SECONDS", 0.2)
    slow = tuple(Fault("slow", seed=seed, seconds=0.8) for seed in range(11, 20))
    ended = night(*slow, text=JOB.replace("[a, b]", "a").replace("0..2", "0..19"))
    assert ended.seen.kinds() == ["slower"]
    assert "slower than before: " in ended.seen.happenings[0].text


def test_somebody_is_told(night, once, tmp_path):
    script = tmp_path / "tell.py"
    script.write_text(
        "import json, sys\n"
        "told = json.load(sys.stdin)\n"
        f"open({str(tmp_path / 'told')!r}, 'a').write(json.dumps(told) + chr(10))\n"
    )
    target = f'"{sys.executable}" "{script}"'
    night(once("hang", seed=1, prompt="a"), engine="process", task_timeout=1.5, notify=(target,))
    night(Fault("error"), out="failing", notify=(target,))
    night(out="stopping", notify=(target,), limits=limits.Limits(max_images=2))
    night(out="full", notify=(target,), text=JOB.replace("1MB", "900TB"))
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [item["event"] for item in told] == ["stalled", "done", "failed", "stopped", "low-disk"]
    assert "make room for about" in told[4]["message"]
    assert told[1]["counts"] == {"done": 6, "failed": 0, "missing": 0}
    assert told[2]["counts"] == {"done": 0, "failed": 5, "missing": 1}
    assert told[3]["counts"] == {"done": 2, "failed": 0, "missing": 4}
    assert "5 images failed one after the other" in told[2]["message"]
