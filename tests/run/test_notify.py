"""Who is told, by a real command and a real web hook, and what stays secret; staying awake."""

import json
import sys
import threading
import time

import psutil
import pytest

from batch.base.errors import UserError
from batch.manifest.read import read_manifest
from batch.run.notifier import LEFT, Notifier
from batch.run.targets import check
from batch.store import lock
from tests.run.hooks import WRITES, hook

COUNTS = {"done": 5, "failed": 1, "missing": 0}


def tell(targets, work, *events, seconds=20.0):
    notifier = check(targets, seconds)
    for event in events or ("done",):
        notifier.send(event, f"night {event}", "5 of 6 pictures — ✓", COUNTS, work / "outputs")
    return notifier.close()


def refused(*targets):
    with pytest.raises(UserError) as caught:
        check(targets)
    return str(caught.value)


def test_a_command_gets_the_event_on_stdin_and_environment(command, work, monkeypatch):
    monkeypatch.setenv("WHOM", "two words")
    target = command(WRITES, "told.jsonl", "$WHOM", "${WHOM}!", "$$5")
    assert tell([target], work, "stalled", "done") == []
    first, second = [json.loads(line) for line in (work / "told.jsonl").read_text().splitlines()]
    assert first["stdin"] == {
        "event": "stalled",
        "title": "night stalled",
        "message": "5 of 6 pictures — ✓",
        "folder": str(work / "outputs"),
        "folders": [str(work / "outputs")],
        "counts": COUNTS,
        "picture": None,
    }
    assert first["environ"] == {
        "RUN_BATCH_EVENT": "stalled",
        "RUN_BATCH_TITLE": "night stalled",
        "RUN_BATCH_MESSAGE": "5 of 6 pictures — ✓",
        "RUN_BATCH_FOLDER": str(work / "outputs"),
        "RUN_BATCH_DONE": "5",
        "RUN_BATCH_FAILED": "1",
        "RUN_BATCH_MISSING": "0",
    }
    assert first["argv"] == ["two words", "two words!", "$5"]
    assert second["stdin"]["event"] == "done"


def test_a_url_is_told_through_apprise(work, monkeypatch):
    with hook() as (url, got):
        monkeypatch.setenv("HOOK", f"{url}/night?rto=20")
        assert tell(["$HOOK", "${HOOK}"], work, "failed", "low-disk") == []
    assert [path for path, _ in got] == ["/night"] * 4
    bodies = [body for _, body in got]
    assert {(body["title"], body["type"]) for body in bodies} == {
        ("night failed", "failure"),
        ("night low-disk", "warning"),
    }
    assert bodies[0]["message"] == "5 of 6 pictures — ✓"


def test_a_url_within_a_command_is_the_commands_own(command, work):
    assert tell([command(WRITES, "told.jsonl", "https://ntfy.sh/topic")], work) == []
    assert json.loads((work / "told.jsonl").read_text())["argv"] == ["https://ntfy.sh/topic"]


def test_one_that_is_named_twice_is_told_once(command, work):
    target = command(WRITES, "told.jsonl")
    assert tell([target, target], work) == []
    assert len((work / "told.jsonl").read_text().splitlines()) == 1


def test_nobody_to_tell(work):
    threads = threading.active_count()
    assert tell([], work) == []
    assert threading.active_count() == threads


def test_a_command_that_fails_is_a_warning_without_secrets(command, work, monkeypatch):
    monkeypatch.setenv("TOKEN", "tk_geheim")
    target = command("import sys; sys.exit(f'no entry: {sys.argv[1]} at https://ntfy.sh/{sys.argv[1]}')", "$TOKEN")
    (warning,) = tell([target], work)
    assert warning == f"{sys.executable} was not told 'done': it ended with code 1: no entry: $TOKEN at https://…"


def test_a_service_that_refuses_is_a_warning_without_secrets(work, capfd):
    with hook(status=500) as (url, got):
        address = url.replace("://", "://user:geheim@") + "/topic-of-mine"
        (warning,) = tell([address], work)
    assert len(got) == 1
    assert warning.startswith("json://… was not told 'done': ")
    assert "500" in warning
    assert not any(secret in warning for secret in ("geheim", "user", "127.0.0.1", "topic-of-mine"))
    assert capfd.readouterr() == ("", "")


def test_a_service_that_is_not_there_is_a_warning(work):
    with hook() as (url, _):
        pass
    (warning,) = tell([f"{url}/topic-of-mine"], work)
    assert warning == "json://… was not told 'done': A Connection error occurred sending JSON notification to …."


HANGS = """\
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("child", "w").write(str(child.pid))
time.sleep(600)
"""


def test_a_command_that_hangs_is_ended_with_its_children(command, work):
    began = time.monotonic()
    warnings = tell([command(HANGS)], work, "stalled", "done", seconds=2)
    assert time.monotonic() - began < 9
    assert [warning.rpartition("told ")[2].split()[0] for warning in warnings] == ["'stalled':", "'done':"]
    assert "ended" in warnings[0]
    assert_ended(int((work / "child").read_text()))


def wait_for(path):
    end = time.monotonic() + 10
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def assert_ended(pid):
    """It may be a zombie, whose parent is gone too."""
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.02)
    pytest.fail("the child of a command that was ended goes on")


def test_who_is_left_is_ended_and_nobody_else_is_told(command, work):
    """A command with its children, a service that does not answer; at once."""
    with hook(pause=30) as (url, _):
        notifier = check([command(HANGS), f"{url}/?rto=60"])
        for event in ("stalled", "done"):
            notifier.send(event, "night", "all done", COUNTS, work)
        wait_for(work / "child")
        notifier.end()
        assert notifier.waiting_for == (sys.executable, "json://…")
        assert 30 < notifier.left_s <= 60
        began = time.monotonic()
        notifier.leave()
        warnings = notifier.close()
    assert time.monotonic() - began < 2
    assert notifier.waiting_for == ()
    assert [warning.partition(" was not told ")[2] for warning in warnings] == [
        f"'stalled': {LEFT}, and it is ended",
        f"'done': {LEFT}",
        f"'stalled': {LEFT}",
        f"'done': {LEFT}",
    ]
    assert_ended(int((work / "child").read_text()))


TELLS = """\
import sys
from pathlib import Path
from batch.run.targets import check
notifier = check([sys.argv[1]], float(sys.argv[2]))
notifier.send("done", "night", "", {}, Path())
notifier.close()
"""


@pytest.mark.parametrize(("how", "seconds"), [("kill", 600), ("suspend", 1)])
def test_a_command_does_not_outlive_who_waits_for_it(command, work, how, seconds):
    """Nor its time, where that is stopped."""
    told = 'import os\nopen("parent", "w").write(str(os.getpid()))\n' + HANGS
    telling = psutil.Popen([sys.executable, "-c", TELLS, command(told), str(seconds)])
    try:
        wait_for(work / "child")
        getattr(telling, how)()
        for name in ("parent", "child"):
            assert_ended(int((work / name).read_text()))
    finally:
        telling.kill()
        telling.wait()


def test_a_service_that_hangs_holds_up_nothing(command, work):
    with hook(pause=30) as (url, _):
        began = time.monotonic()
        notifier = check([f"{url}/?rto=60", command(WRITES, "told.jsonl")], 1.5)
        notifier.send("done", "night", "all done", COUNTS, work)
        assert time.monotonic() - began < 1
        assert notifier.close() == ["json://… was not told 'done': no answer within 1.5 s"]
        assert time.monotonic() - began < 10
    assert (work / "told.jsonl").exists()
    notifier.send("done", "night", "all done", COUNTS, work)  # too late, and no error


def test_one_that_raises_is_a_warning(work):
    class Broken:
        label = "broken"

        def tell(self, message, seconds, leave):
            raise RuntimeError("at ntfys://geheim")

    notifier = Notifier([Broken()])
    notifier.send("stopped", "night", "", COUNTS, work)
    assert notifier.close() == ["broken was not told 'stopped': RuntimeError"]
    assert notifier.close() == notifier.close()


def test_what_cannot_work_is_said_before_the_run_and_all_at_once(monkeypatch):
    monkeypatch.delenv("NTFY_TOPIC", raising=False)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("GEHEIM", "tk_geheim")
    said = refused(
        "ntfys://$NTFY_TOPIC",
        "curl $EMPTY",
        "ntfyss://geheim/topic",
        "mailto://geheim",
        "https://example.org/geheim",
        "no-such-program --key geheim",
        "$GEHEIM",
        "mail 'geheim",
        "awk {$1}",
        "  ",
    )
    assert said.splitlines() == [
        "notify: ntfys://…: $NTFY_TOPIC is not set; set it, or write $$ for a dollar sign",
        "notify: curl: $EMPTY is not set; set it, or write $$ for a dollar sign",
        "notify: apprise does not understand ntfyss://…; did you mean ntfys://? (https://appriseit.com/services/)",
        "notify: apprise does not understand mailto://…; a part of the address is missing or wrong "
        "(https://appriseit.com/services/)",
        "notify: apprise does not understand https://…; for a web hook write jsons://HOST/PATH "
        "(https://appriseit.com/services/)",
        "notify: the command no-such-program is not found; write its full path, or put it on the PATH",
        "notify: the command $GEHEIM is not found; write its full path, or put it on the PATH",
        "notify: mail: a quotation mark is left open",
        "notify: awk: a lone $; write $$ for a dollar sign, or $NAME",
        "notify: an entry is empty; write a URL or a command",
    ]


def test_without_apprise_a_url_is_an_error_and_a_command_is_not(command, work, monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    said = refused("ntfys://geheim")
    assert "ntfys://… needs the package apprise; install it with\n" in said
    assert '-m pip install "apprise"' in said
    assert "geheim" not in said
    assert tell([command(WRITES, "told.jsonl")], work) == []


def test_the_manifest_names_who_is_told(manifest):
    text = "grid: {model: demo, prompt: a}\nnotify: [ntfys://$NTFY_TOPIC, ./tell.sh]\n"
    assert read_manifest(manifest(text)).notify == ("ntfys://$NTFY_TOPIC", "./tell.sh")
    assert read_manifest(manifest()).notify == ()


def test_the_lock_does_not_show_who_is_told(work, monkeypatch):
    line = [
        *("run_batch.py", "run", "a.yaml", "--notify", "ntfys://geheim", "--notify=curl geheim", "--quiet"),
        *("--set", "notify=[ntfys://geheim]", "--set=notify=geheim", "--set", "steps=2"),
    ]
    monkeypatch.setattr(sys, "argv", line)
    with lock.hold(work / ".run"):
        kept = (work / ".run" / "lock.json").read_text()
        shown = lock.holder(work / ".run")["command"]
    assert "geheim" not in kept
    assert shown == (
        "run_batch.py run a.yaml --notify … --notify=… --quiet --set notify=… --set=notify=… --set steps=2"
    )


def test_doctor_lists_both_extras():
    from batch.upkeep import requirements

    _, extras = requirements.required()
    assert [[item.name for item in extras[name]] for name in ("notify", "awake")] == [["apprise"], ["wakepy"]]


def test_a_command_that_prints_without_end_costs_no_memory(command, tmp_path):
    loud = "import sys\nfor _ in range(150): sys.stderr.write('x' * 10**6 + chr(10))\nsys.exit('the last words')\n"
    before = psutil.Process().memory_info().rss
    notifier = check([command(loud)])
    notifier.send("done", "t", "m", COUNTS, tmp_path)
    (warning,) = notifier.close()
    assert "the last words" in warning
    assert psutil.Process().memory_info().rss - before < 50 * 2**20
