"""The process of a run alone: how many workers it could keep at work, and what it spends on an image.

    python benchmarks/driver.py [WORKERS…] [--tasks N] [--profile]
    python benchmarks/driver.py --seconds 3 512

A real run with everything around it (tally, forecast, status, growing reports, log), and in place of its workers
one process that plays them all: each says what a worker says while it renders twenty steps, through a pipe of its
own, and renders nothing. They answer at once, or after ``--seconds``; of such a run the images are as many as they
make in half a minute.

Times are from the first image that was begun to the last that was told. ``driver_ms`` is the processor time of
the thread that drives, an image; ``beside_ms`` that of the threads beside it: the status, the reports that grow.
``limit`` is the number of workers that keep one driver busy where each takes three seconds an image: by processor
time of all its threads, which share one interpreter, so that it holds on a machine where others work, too.
``--profile`` runs the largest number again, and tells where the time of the driving thread goes.
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import multiprocessing
import os
import platform
import pstats
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from multiprocessing.connection import Connection, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
# `demo` is that of the tests, next to nothing: what is measured is the program around it.
os.environ.setdefault("RUN_BATCH_SHIPPED", str(Path(__file__).parent.parent / "tests" / "models"))

from batch import engines
from batch.engines.base import Seated, WorkPlace
from batch.engines.death import Death
from batch.engines.messages import Assignment, Begin, Bye, Drain, FromWorker, Idle, ToWorker
from batch.engines.process import ProcessEngine
from batch.records.events import Beat, Seat
from batch.records.kinds import Stage, Status
from batch.records.receipts import FileRef, Machine, Measurement, Outcome, Receipt, StagePeak
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering
from tests.fake_session import FakeBackend

STEPS, SEEDS = 20, 8
IMAGE_S = 3.0
"""What an image takes where the limit is told."""

JOB = f"""\
name: driver
grid: {{model: demo, prompt: {{file: prompts.txt}}, seed: 0..{SEEDS - 1}, steps: {STEPS}, size: 64x64}}
resize: true
run: {{min_free_disk: 1MB}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Figures of one number of workers: seconds, milliseconds an image."""

    workers: int
    tasks: int
    tasks_per_s: float
    driver_ms: float
    beside_ms: float
    busy: float
    """The share of the time in which the driving thread computed."""
    limit: int
    """Workers at three seconds an image."""


# The workers


def play(lines: Sequence[Connection], seconds: float) -> None:
    """All workers, until the other side has left."""
    due: list[tuple[float, int, int, FromWorker]] = []
    by_line = {line: number for number, line in enumerate(lines)}
    said = 0
    while by_line:
        rest = max(0.0, due[0][0] - time.monotonic()) if due else None
        for line in wait(list(by_line), rest):
            assert isinstance(line, Connection)
            try:
                message: ToWorker = line.recv()
            except (EOFError, OSError):
                message = Bye()
            if isinstance(message, Bye):
                del by_line[line]
                continue
            now = time.monotonic()
            for share, answer in answers(message):
                said += 1
                heapq.heappush(due, (now + share * seconds, said, by_line[line], answer))
        while due and due[0][0] <= time.monotonic():
            _, _, number, answer = heapq.heappop(due)
            with suppress(OSError):
                lines[number].send(answer)


def answers(message: ToWorker) -> Iterator[tuple[float, FromWorker]]:
    """What a worker says, and when: the share of what an image takes."""
    if isinstance(message, Begin | Drain):
        yield 0.0, Idle()
    if not isinstance(message, Assignment):
        return
    if isinstance(message.task, EncodeTask):
        yield 0.01, Beat(message.task.text, Stage.ENCODE)
        yield 0.02, Outcome(key=message.task.key, status=Status.DONE, seconds=0.1)
        yield 0.02, Idle()
        return
    for task in (message.task, *message.more):
        yield 0.0, Beat(task.name, Stage.LOAD, 0, 0, (task.id,))
        for step in range(STEPS + 1):
            yield 0.9 * step / STEPS, Beat(task.name, Stage.DENOISE, step, STEPS, (task.id,))
        yield 0.9, Beat(task.name, Stage.DECODE, 0, 0, (task.id,))
        yield 1.0, Outcome(key=task.id, status=Status.DONE, receipt=receipt(task), seconds=0.2)
    yield 1.0, Idle()


def receipt(task: Task) -> Receipt:
    """What an image would have left."""
    return Receipt(
        task=task,
        file=FileRef(path=f"images/{task.id}.png", bytes=10**6, sha256="0" * 64, width=64, height=64),
        measurement=Measurement(
            denoise=StagePeak(seconds=2.5), decode=StagePeak(seconds=0.3), save_s=0.2, between_s=0.1
        ),
        machine=Machine(device="null"),
        attempts=1,
        started_at="",
    )


# The driver's side


class NullLine:
    """To one of them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def send(self, message: ToWorker) -> None:
        """See :class:`~batch.engines.base.WorkerLine`."""
        with suppress(OSError):
            self.connection.send(message)

    def receive(self) -> FromWorker | None:
        """See :class:`~batch.engines.base.WorkerLine`."""
        if not self.connection.poll():
            return None
        message: FromWorker = self.connection.recv()
        return message

    def stacks(self) -> str:
        """See :class:`~batch.engines.base.WorkerLine`."""
        return ""

    def kill(self) -> None:
        """See :class:`~batch.engines.base.WorkerLine`."""
        raise NotImplementedError

    def death(self) -> Death:
        """See :class:`~batch.engines.base.WorkerLine`."""
        raise NotImplementedError

    def close(self) -> None:
        """See :class:`~batch.engines.base.WorkerLine`."""
        self.send(Bye())


class NullPlace:
    """One of the seats."""

    def __init__(self, number: int, line: NullLine) -> None:
        self.seat = Seat(number=number, device="cpu", kind="null", label=f"cpu {number + 1}")
        self.line = line

    def begin(self, spec: RunSpec) -> None:
        """See :class:`~batch.engines.base.WorkPlace`."""
        self.line.send(Begin(spec))

    def renew(self) -> None:
        """See :class:`~batch.engines.base.WorkPlace`."""
        raise NotImplementedError

    def close(self) -> None:
        """See :class:`~batch.engines.base.WorkPlace`."""
        self.line.close()


class NullPlaces:
    """All of them, listened to as those of processes are."""

    def __init__(self, workers: int, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(workers)]
        self._process = context.Process(target=play, args=([theirs for _, theirs in pairs], seconds), daemon=True)
        self._process.start()
        for _, theirs in pairs:
            theirs.close()
        self._places = [NullPlace(number, NullLine(ours)) for number, (ours, _) in enumerate(pairs)]
        self._numbers = {place.line.connection: place.seat.number for place in self._places}

    def __iter__(self) -> Iterator[WorkPlace]:
        yield from self._places

    def listen(self, seconds: float) -> Collection[int]:
        """See :class:`~batch.engines.base.WorkPlaces`."""
        return [self._numbers[ready] for ready in wait(list(self._numbers), seconds)]  # type: ignore[index]

    def joined(self) -> Sequence[WorkPlace]:
        """See :class:`~batch.engines.base.WorkPlaces`."""
        return ()

    def leave(self, place: WorkPlace) -> None:
        """See :class:`~batch.engines.base.WorkPlaces`."""
        raise NotImplementedError

    def close(self) -> None:
        """See :class:`~batch.engines.base.WorkPlaces`."""
        for place in self._places:
            place.close()
        self._process.join()


class NullEngine(ProcessEngine):
    """The engine of processes, without them."""

    def __init__(self, state: Path, places: NullPlaces) -> None:
        super().__init__(state, FakeBackend())
        self._places = places  # type: ignore[assignment]

    def start(self, devices: str | None, stop: object, *, most: int) -> Seated:  # noqa: ARG002
        """See :class:`~batch.engines.base.Engine`."""
        return Seated(tuple(place.seat for place in self._places))

    def close(self) -> None:
        """See :class:`~batch.engines.base.Engine`."""
        self._places.close()


class Watch:
    """Notes when the work begins and ends, in time and processor time."""

    def __init__(self) -> None:
        self.begun: tuple[float, float, float] | None = None
        self.ended = (0.0, 0.0, 0.0)
        self.images = 0

    def on(self, event: object) -> None:
        """See :class:`~batch.records.events.Listener`."""
        if self.begun is None and isinstance(event, Beat) and event.stage == Stage.DENOISE:
            self.begun = self._now()
        if isinstance(event, Outcome):
            self.images += 1
            self.ended = self._now()

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.thread_time(), time.process_time()


def measure(workers: int, tasks: int, seconds: float, profile: cProfile.Profile | None = None) -> Row:
    """One run."""
    watch = Watch()
    with tempfile.TemporaryDirectory(prefix="driver-") as place:
        path = write_job(Path(place), tasks)
        make = engines.make
        engines.make = lambda _name, state, *_rest, **_more: NullEngine(state, NullPlaces(workers, seconds))
        options = Options(out=Path(place, "out"), engine="process", backend=FakeBackend())
        try:
            if profile is not None:
                profile.enable()
            runner.run(path, options, watch, Steering())
        finally:
            if profile is not None:
                profile.disable()
            engines.make = make
    assert watch.begun is not None
    wall, driving, all_threads = (end - start for end, start in zip(watch.ended, watch.begun, strict=True))
    return Row(
        workers=workers,
        tasks=watch.images,
        tasks_per_s=watch.images / wall,
        driver_ms=driving / watch.images * 1e3,
        beside_ms=(all_threads - driving) / watch.images * 1e3,
        busy=driving / wall,
        limit=int(IMAGE_S * watch.images / all_threads),
    )


def write_job(place: Path, tasks: int) -> Path:
    os.environ["RUN_BATCH_CACHE"] = str(place / "cache")
    path = place / "driver.yaml"
    path.write_text(JOB, encoding="utf-8")
    prompts = "".join(f"a picture of thing number {number}\n" for number in range(tasks // SEEDS))
    (place / "prompts.txt").write_text(prompts, encoding="utf-8")
    return path


def spent(profile: cProfile.Profile) -> Iterator[tuple[str, float]]:
    """Where the time went: the share of each file of the program, and of each of Python's own functions."""
    by_place: dict[str, float] = {}
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, _line, function), (_calls, _, own, _cumulative, _callers) in stats.items():
        name = f"batch/{file.rpartition('/batch/')[2]}" if "/batch/" in file else f"{Path(file).name} {function}"
        by_place[name] = by_place.get(name, 0.0) + own
    whole = sum(by_place.values())
    yield from sorted(((name, own / whole) for name, own in by_place.items()), key=lambda item: -item[1])


def raise_limit_of_files() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workers", type=int, nargs="*", default=[1, 8, 64, 512])
    parser.add_argument("--tasks", type=int, default=4096, help=f"a multiple of {SEEDS}")
    parser.add_argument("--seconds", type=float, default=0.0, help="that an image takes")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    raise_limit_of_files()
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}{load}\n")
    names = [field.name for field in fields(Row)]
    print("|", " | ".join(names), "|\n|" + "---|" * len(names), flush=True)
    for workers in arguments.workers:
        tasks = arguments.tasks
        if arguments.seconds:
            tasks = max(SEEDS, int(workers * 30 / arguments.seconds) // SEEDS * SEEDS)
        row = measure(workers, tasks, arguments.seconds)
        shown = [str(value) if isinstance(value, int) else f"{value:.2f}" for value in astuple(row)]
        print("|", " | ".join(shown), "|", flush=True)
    if arguments.profile:
        profile = cProfile.Profile()
        measure(max(arguments.workers), arguments.tasks, arguments.seconds, profile)
        print("\n| where | share |\n|---|---|")
        for name, share in list(spent(profile))[:25]:
            print(f"| {name} | {share:.1%} |")


if __name__ == "__main__":
    main()
