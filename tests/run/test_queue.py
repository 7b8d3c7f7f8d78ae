"""Several manifests in one command: one budget, one summary, one exit code."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batch.base.errors import DiskLow
from batch.records.events import Closed
from batch.records.receipts import Outcome
from batch.run import queue as queues
from batch.run import runner, summary
from batch.run.limits import Limits
from batch.run.options import Options
from batch.run.queue import Queue
from batch.run.steering import Steering
from batch.store.folder import RunFolder
from tests.conftest import SMALL
from tests.fake_session import FakeBackend, Fault
from tests.helpers import Seen, receipts_of

BROKEN = "grid: {model: demo, promt: a}\n"


@pytest.fixture
def named(manifest):
    """Manifests of four images each, by the letters of a word."""

    def write(letters, **texts):
        return [manifest(texts.get(letter, SMALL), f"{letter}.yaml") for letter in letters]

    return write


def queue(paths, *faults, stop=None, listeners=None, **options):
    return Queue(
        manifests=paths,
        options=Options(backend=FakeBackend(faults), **options),
        listeners=listeners or (lambda _: Seen()),
        stop=stop or Steering(),
    )


def done(*names):
    return [len(receipts_of(f"outputs/{name}")) for name in names]


def test_one_after_the_other_with_a_line_each(cli, named):
    ended = cli("run", *named("abc"))
    assert ended.code == 0, ended.err
    assert done("a", "b", "c") == [4, 4, 4]
    lines = ended.out.splitlines()[-4:]
    for letter, line in zip("abc", lines, strict=False):
        assert f"{letter}.yaml: 4 of 4 done, " in line
        assert line.endswith(f"outputs/{letter}/report.html")
    assert lines[3].startswith("in all: 12 images rendered in ")
    again = cli("a.yaml", "b.yaml", "c.yaml", "--quiet")  # the word run may be left out
    assert again.code == 0
    assert again.out.splitlines()[3].startswith("in all: 0 images rendered")
    assert again.err == ""


def test_one_manifest_alone_is_as_ever(cli, named):
    ended = cli("run", *named("a"))
    assert "in all" not in ended.out
    assert ended.out.splitlines()[-1].startswith("check every file")


def test_what_is_wrong_in_one_is_said_first(cli, named):
    ended = cli("run", *named("abc", b=BROKEN))
    assert ended.code == 2
    assert done("a", "c") == [4, 4]
    assert "b.yaml:1: unknown axis 'promt'" in ended.err
    assert ended.err.index("unknown axis") < ended.err.index("4 images to render")
    assert "b.yaml: NOT RUN: " in ended.out


def test_a_manifest_that_is_not_there_costs_the_others_nothing(cli, named):
    ended = cli("run", "missing.yaml", *named("a"))
    assert (ended.code, done("a")) == (2, [4])
    assert "missing.yaml" in ended.err


def test_two_with_one_run_folder(cli, named):
    ended = cli("run", *named("ab", b="name: a\n" + SMALL))
    assert (ended.code, done("a")) == (2, [4])
    assert "b.yaml: error: its run folder outputs/a is that of " in ended.err


def test_out_names_one_folder(cli, named):
    ended = cli("run", *named("ab"), "--out", "here")
    assert ended.code == 2
    assert "--out here: that is one folder, and there are 2 manifests. Leave it out" in ended.err
    assert not Path("here").exists()


def test_a_manifest_given_twice_runs_once(cli, named):
    path, other = named("ab")
    ended = cli("run", path.name, other, path)
    assert (ended.code, done("a", "b")) == (2, [4, 4])
    assert f"{path}: error: named twice; it counts once" in ended.err
    assert [line.partition(":")[0] for line in ended.out.splitlines()[-4:-1]] == ["a.yaml", str(other), str(path)]


def test_one_that_is_left_out_is_said_so(cli, named):
    paths = named("abc", b=BROKEN)
    ended = cli("run", *paths)
    assert f"{paths[1]} is left out; the queue goes on without it" in ended.err
    last = cli("run", "a.yaml", "missing.yaml")
    assert "is left out" in last.err
    assert "is left out" not in cli("run", "missing.yaml", "nor-this.yaml").err.splitlines()[-1]


def test_each_says_which_of_how_many_it_is(cli, named):
    paths = named("abc", b=BROKEN)
    lines = [line.partition(" ")[2].partition("; all done")[0] for line in cli("run", *paths).err.splitlines()]
    assert [line for line in lines if line.startswith("manifest ")] == [
        f"manifest 1 of 3: {paths[0]}",
        f"manifest 3 of 3: {paths[2]}",
    ]
    assert lines[lines.index(f"manifest 3 of 3: {paths[2]}") + 1].startswith("c: 4 images to render")
    assert "manifest 1 of" not in cli("run", *paths, "--quiet").err


def test_each_says_when_all_will_be_done(cli, named):
    paths = named("abc")
    for path in paths:
        cli("run", path, "--max-images", "1", "--quiet")

    def turns(*options):
        lines = [line.partition(" ")[2] for line in cli("run", *paths, *options).err.splitlines()]
        return [line.partition(".yaml; ")[2] for line in lines if line.startswith("manifest ")]

    (cut,) = turns("--max-images", "1")
    assert re.fullmatch(r"about .*s for all that is left", cut)
    *both, alone = turns()
    assert all(re.fullmatch(r"all done (tomorrow )?about \d\d:\d\d", said) for said in both)
    assert (len(both), alone) == (2, "")
    assert turns() == ["", "", ""]  # nothing is left


def test_how_to_go_on_is_said_once_at_the_end(cli, named):
    paths = named("abc", b=BROKEN)
    ended = cli("run", *paths, "--max-images", "2")
    again = "run the same command again to go on"
    assert ended.err.count(again) == 1
    assert ended.err.rstrip().endswith(again)
    assert f"{paths[2]}: not begun: --max-images 2 is reached" in ended.out
    assert "c.yaml" not in ended.err
    (stopped,) = [line for line in ended.out.splitlines() if "stopped: " in line]
    assert stopped.startswith(f"{paths[0]}: 2 of 4 done, ")
    assert "stopped: --max-images 2 is reached; " in stopped and "are left" not in stopped
    assert again not in cli("run", *paths).err


def test_where_nothing_runs_the_last_line_says_so(cli, named):
    ended = cli("run", *named("b", b=BROKEN), "missing.yaml")
    assert (ended.code, ended.out.splitlines()[-1]) == (2, "nothing was run")
    mixed = cli("run", "missing.yaml", *named("a"))
    assert mixed.out.splitlines()[-1].endswith(", 1 manifest NOT RUN")


def test_the_last_lines_name_the_first_problem_alone(cli, named):
    named("ab", b=BROKEN)
    (line,) = [line for line in cli("run", "a.yaml", "b.yaml").out.splitlines() if "NOT RUN:" in line]
    assert line == "b.yaml: NOT RUN: line 1: the grid needs 'prompt'; and 1 more problem"


@pytest.mark.parametrize(
    ("arguments", "event", "reason"),
    [(("missing.yaml",), "end", "missing.yaml"), (("a.yaml", "--until", "never"), "end", "--until never"),
     (("a.yaml", "b.yaml", "--out", "x"), "queue", "--out x"),
     (("a.yaml", "b.yaml", "--max-hours", "7:30"), "queue", "--max-hours 7:30"),
     (("a.yaml", "b.yaml", "--notify", "no-such-program"), "queue", "no-such-program")],
)  # fmt: skip
def test_what_cannot_begin_has_a_last_event_too(cli, named, arguments, event, reason):
    named("ab")
    ended = cli("run", *arguments, "--json")
    last = ended.events()[-1]
    assert (ended.code, last["event"], last["exit_code"]) == (2, event, 2)
    assert reason in last["reason"]
    assert reason in ended.err
    assert last.get("runs", []) == []


def test_somebody_who_cannot_be_told_ends_it_before_it_begins(cli, named):
    ended = cli("run", *named("ab"), "--notify", "no-such-program")
    assert ended.code == 2
    assert not Path("outputs").exists()


def test_set_holds_for_all(cli, named):
    assert cli("run", *named("ab"), "--set", "seed=7", "--quiet").code == 0
    assert {item.task.seed for name in "ab" for item in receipts_of(f"outputs/{name}")} == {7}


def test_events_say_of_which_manifest(cli, named):
    paths = named("ab", b=BROKEN)
    events = cli("run", *paths, "--json").events()
    last = events.pop()
    assert {event["run"] for event in events} == {str(path) for path in paths}
    assert [event["run"] for event in events if event["event"] == "image"] == [str(paths[0])] * 4
    ends = {event["run"]: event for event in events if event["event"] == "end"}
    assert ends[str(paths[0])]["exit_code"] == 0
    assert ends[str(paths[1])]["exit_code"] == 2
    assert "unknown axis" in ends[str(paths[1])]["reason"]
    assert (last["event"], last["exit_code"], last["paused_s"]) == ("queue", 2, 0.0)
    assert [(run["done"], run["begun"]) for run in last["runs"]] == [(4, True), (None, False)]


def test_events_of_one_manifest_say_none(cli, named):
    assert all("run" not in event for event in cli("run", *named("a"), "--json").events())


def test_images_are_counted_over_all(named):
    made = queue(named("abc"), limits=Limits(max_images=6))
    entries = list(made.run())
    assert done("a", "b") == [4, 2]
    assert not Path("outputs/c").exists()
    assert [entry.not_begun for entry in entries] == [False, False, True]
    assert entries[2].why == "--max-images 6 is reached"
    assert made.exit_code == 75


def test_a_budget_that_is_just_used_up_begins_no_other(named):
    made = queue(named("ab"), limits=Limits(max_images=4))
    first, second = made.run()
    assert (first.exit_code, second.not_begun) == (0, True)
    assert made.exit_code == 75


def test_what_was_done_before_counts_where_nothing_is_begun(cli, named):
    paths = named("abc")
    cli("run", paths[1])
    cli("run", paths[2], "--max-images", "3")
    made = queue(paths, limits=Limits(max_images=2))
    assert [(entry.done, entry.left) for entry in made.run()] == [(2, 2), (4, 0), (3, 1)]
    assert [entry.exit_code for entry in made.entries] == [75, 0, 75]
    assert summary.of(made.entries[2]).endswith("c.yaml: not begun, 3 of 4 done: --max-images 2 is reached")
    assert ", 3 left" in summary.together(made.entries)[0]
    last = cli("run", *paths, "--max-hours", "0.0000001", "--json").events()[-1]
    assert [(run["done"], run["begun"]) for run in last["runs"][1:]] == [(4, False), (3, False)]


def test_a_budget_used_up_with_the_last_image_leaves_nothing(named):
    paths = named("ab")
    list(queue(paths[1:]).run())
    made = queue(paths, limits=Limits(max_images=4))
    assert [entry.complete for entry in made.run()] == [False, True]
    assert made.exit_code == 0


def test_failed_images_count_as_started(named):
    made = queue(named("ab"), Fault("error", seed=0), limits=Limits(max_images=5))
    first, second = made.run()
    assert (first.result.failed, second.result.failed) == (2, 1)
    assert done("a", "b") == [2, 0]  # seed 0 comes first
    assert made.exit_code == 1


def test_hours_count_from_the_start_of_the_queue(named, monkeypatch):
    made = queue(named("ab"), limits=Limits(max_hours=1.0))
    made._began -= 3601
    assert [entry.not_begun for entry in made.run()] == [True, True]
    assert made.entries[0].why == "--max-hours 1 is reached"


def test_the_time_is_one_for_all(named):
    made = queue(named("ab"), limits=Limits(until=datetime.now(UTC) - timedelta(seconds=1)))
    assert [entry.exit_code for entry in made.run()] == [75, 75]


def test_one_that_cannot_go_on_does_not_keep_the_next(named):
    text = SMALL + "run: {max_consecutive_failures: 2}\n"
    made = queue(named("ab", a=text), Fault("error", prompt="a fox"), Fault("error", prompt="a whale"))
    first, second = made.run()
    assert first.result.stopped.exit_code == 1
    assert second.result.failed == 4


def test_a_folder_in_use_does_not_keep_the_next(named):
    paths = named("ab")
    with RunFolder(Path("outputs/a"), "other").hold():
        made = queue(paths)
        first, second = made.run()
    assert (first.exit_code, first.result) == (3, None)
    assert "is in use by another runner" in first.why and "\n" not in first.why
    assert "wait for it, or `stop outputs/a`" in summary.of(first)
    assert second.result.done == 4
    assert made.exit_code == 3


def test_an_error_of_the_programs_own_does_not_either(cli, named, monkeypatch):
    real = runner.run

    def run(manifest, *rest):
        if manifest.name == "a.yaml":
            raise ZeroDivisionError("a mistake of ours")
        return real(manifest, *rest)

    monkeypatch.setattr(queues.runner, "run", run)
    ended = cli("run", *named("ab"))
    assert (ended.code, done("b")) == (1, [4])
    assert "Traceback" in ended.err and "ZeroDivisionError: a mistake of ours" in ended.err


class StopsAt:
    """Interrupts at the first image."""

    def __init__(self, stop):
        self.stop = stop

    def on(self, event):
        if isinstance(event, Outcome):
            self.stop.set()


def test_an_interruption_ends_the_queue(named):
    stop = Steering()
    made = queue(named("abc"), stop=stop, listeners=lambda _: StopsAt(stop))
    first, *others = made.run()
    assert first.result.stopped.exit_code == 130
    assert [(entry.not_begun, entry.why) for entry in others] == [(True, "interrupted")] * 2
    assert made.exit_code == 130


def test_a_full_disk_ends_those_on_the_same_disk(named, monkeypatch):
    disks = {"a": 1, "b": 1, "c": 2}
    monkeypatch.setattr(queues, "_disk", lambda folder: disks[folder.name])
    made = queue(named("abc"), Fault("enospc", "save", times=1, memo=str(Path.cwd())))
    first, second, third = made.run()
    assert isinstance(first.result.stopped, DiskLow)
    assert second.not_begun and second.error is first.result.stopped
    assert third.result.done == 4
    assert made.exit_code == 75


def test_every_exit_code_has_its_place():
    worst = [0, 75, 1, 3, 2, 130]
    assert list(queues.WORST) == worst


def test_a_manifest_that_is_gone_by_its_turn(named):
    paths = named("ab")

    class Removes:
        def on(self, event):
            if isinstance(event, Outcome):
                paths[1].unlink(missing_ok=True)

    made = queue(paths, listeners=lambda _: Removes())
    first, second = made.run()
    assert (first.exit_code, second.exit_code) == (0, 2)
    assert "b.yaml" in second.why


def test_nothing_is_left_of_a_queue_that_is_read_no_further(named):
    made = queue(named("ab"))
    entries = made.run()
    next(entries)
    entries.close()
    assert done("a") == [4]
    assert not Path("outputs/b").exists()


def test_an_interruption_while_all_are_checked(named):
    stop = Steering()
    stop.set()
    made = queue(named("ab"), stop=stop)
    assert [(entry.exit_code, entry.not_begun) for entry in made.run()] == [(130, True)] * 2
    assert not Path("outputs").exists()


class Closes:
    """Whether what is shown is closed at the end."""

    def __init__(self):
        self.last = None

    def on(self, event):
        self.last = type(event)


def test_the_terminal_is_free_after_each(named):
    shown = []

    def listener(_):
        shown.append(Closes())
        return shown[-1]

    list(queue(named("abc", b=BROKEN), listeners=listener).run())
    assert [item.last for item in shown] == [Closed] * 5
