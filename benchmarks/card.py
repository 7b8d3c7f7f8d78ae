"""All that a visit to a card is for, in one command of four or nine minutes.

    python benchmarks/card.py [--only 1,4,8] [--minutes 9] [--out DIR]
    python benchmarks/card.py --cpu              (the same with tiny models, to see that it works)

Eleven sections, each in a process of its own with a deadline: what is there, what the card can do, what the meter
sees, SANA 1.6B at 5376x3072 stage by stage, its kernels done otherwise, decoding beside diffusers', every memory
step at 1024x1024, compiled blocks, the plain loop, a memory limit, and decoding in one piece. A twelfth, the model
with kernels of its own, is for a second visit: --only 12. Needs no network and no weights;
benchmarks/card-requirements.txt has what is to be installed.

Every figure is a row of card.csv and card.jsonl in DIR as soon as it is there, beside what was predicted for it:
memory by what `plan` predicts, time by what the work takes at best at the rates measured. A table of the headlines
ends it. Exit code 0: every section ended well; 1: one did not, its row `ended` says why; 2: a mistake in the
command.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from batch.base import nvml  # noqa: E402 - the folder above is on the path now
from benchmarks import card_process  # noqa: E402
from benchmarks.card_bench import CARD, COPY, CPU, FLOAT32, MATRIX, Bench, Rates, sheet  # noqa: E402
from benchmarks.card_predictions import Predictor  # noqa: E402
from benchmarks.card_rows import STATUS, WELL, Row, Rows, table  # noqa: E402

MORE = 3.0
"""By which a section may go beyond its own time while there is some that no later section needs."""

STARTING_S = 2.0
"""What starting and ending a section takes beside its own time."""

LEAST_S = 3.0
"""With less time than that no section is started."""

LAST_S = 20.0
"""For predictions that are not there when the last section has ended: they were begun with the first."""

RATES = "rates"
"""The section that finds what the device can do."""

COMPILED = "TORCHINDUCTOR_CACHE_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of a visit."""

    number: int
    name: str
    seconds: float
    """Its deadline on a card."""
    work: str
    """Its function, as :func:`card_process.run` takes it."""


SECTIONS = tuple(
    Section(number=number, name=name, seconds=seconds, work=work)
    for number, name, seconds, work in (
        (1, "versions", 10, "benchmarks.card_device:versions"),
        (2, RATES, 14, "benchmarks.card_device:speeds"),
        (3, "meter", 16, "benchmarks.card_device:meter"),
        (4, "session", 32, "benchmarks.card_stages:session"),
        (5, "kernels", 50, "benchmarks.card_kernels:kernels"),
        (6, "decode", 16, "benchmarks.card_decode:decode"),
        (7, "steps", 68, "benchmarks.card_settings:steps"),
        (8, "compile", 70, "benchmarks.card_settings:compiled"),
        (9, "loop", 160, "benchmarks.card_programs:loop"),
        (10, "limit", 48, "benchmarks.card_programs:limit"),
        (11, "full decode", 14, "benchmarks.card_decode:whole"),
        (12, "fused", 120, "benchmarks.card_fused:fused"),
    )
)

SHORT = (1, 2, 4, 5, 8)
"""Sections of a visit of four minutes."""

FIRST = tuple(range(1, 12))
"""Of one of nine. The rest is for a second visit: the kernels tried there are not in the program yet."""


def visit(sections: Sequence[Section], bench: Bench, out: Path, minutes: float, context: Any = None) -> int:
    """Run the sections, keep what they find in a folder, print the table; the exit code."""
    start = time.monotonic()
    ends = start + 60 * minutes * bench.patience
    rows, log = Rows(out), out / "card.log"
    with _own_folder():
        predictor = Predictor(bench, multiprocessing.get_context("spawn"))  # now, whatever the others need
        try:
            context = context or card_process.choose(bench, log)
            _all(sections, bench, ends, log, context, rows, predictor)
        except KeyboardInterrupt:
            ended = {row.section for row in rows.all if row.name == STATUS}
            for section in sections:
                if section.name not in ended:
                    rows.add(Row(section=section.name, name=STATUS, value="interrupted"))
        finally:
            predictor.close()
            found = rows.finish()
    lines = table(found, [(item.number, item.name) for item in sections], out, time.monotonic() - start)
    if rows.unwritten:
        lines.append(f"not all of it is in the files: {rows.unwritten}")
    _tell("\n".join(lines))
    with contextlib.suppress(OSError):  # said already
        (out / "card.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    well = {row.section for row in found if row.name == STATUS and row.value == WELL}
    return 0 if well == {section.name for section in sections} and not rows.unwritten else 1


def claim(out: Path) -> None:
    """Have a folder for a visit alone. Raises OSError where that cannot be, FileExistsError for an older one's."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "card.jsonl").open("x").close()


def _tell(text: str) -> None:
    """Print it; that nobody reads it any more ends no visit."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the end


def _all(
    sections: Sequence[Section],
    bench: Bench,
    ends: float,
    log: Path,
    context: Any,
    rows: Rows,
    predictor: Predictor,
) -> None:
    for index, section in enumerate(sections):
        if not any(later.name == RATES for later in sections[index:]):
            _know_rates(rows, predictor)
        own = section.seconds * bench.patience
        left = ends - time.monotonic() - STARTING_S
        spare = left - sum(later.seconds + STARTING_S for later in sections[index + 1 :]) * bench.patience
        _one(section, bench, min(left, max(own, min(MORE * own, spare))), log, context, rows)
        rows.predictions.update(predictor.ready())
    _know_rates(rows, predictor)
    wanted = {row.of for row in rows.all if row.of}
    for key, prediction in predictor.ready(min(LAST_S * bench.patience, ends - time.monotonic())):
        rows.predictions[key] = prediction
        if wanted <= rows.predictions.keys():
            break


def _one(section: Section, bench: Bench, seconds: float, log: Path, context: Any, rows: Rows) -> None:
    """One section, and the row that says how it ended."""
    if seconds < LEAST_S:
        ended = card_process.Ended(status="not started", note="no time was left")
    else:
        ended = card_process.run(section.work, section.name, bench, seconds, log, context, rows.add)
    rows.add(Row(section=section.name, name="seconds", value=ended.seconds, unit="s"))
    rows.add(Row(section=section.name, name=STATUS, value=ended.status, note=ended.note))
    why = f": {ended.note.splitlines()[0]}" if ended.note else ""
    _tell(f"{section.number:2} {section.name}: {ended.status}, {ended.seconds:.1f} s{why}")


def _know_rates(rows: Rows, predictor: Predictor) -> None:
    """Tell what the device can do, once: as it was measured, else as the data sheet says."""
    if rows.rates is None:
        rows.rates = measured(rows.all) or sheet(_card())
        predictor.tell(rows.rates)


def measured(rows: Sequence[Row]) -> Rates | None:
    """The rates that were found; None while they are not."""
    found = {
        row.name: float(row.value) for row in rows if row.section == RATES and row.unit in ("GB/s", "TFLOP/s")
    }
    if not {COPY, MATRIX, FLOAT32} <= set(found):
        return None
    return Rates(bandwidth=found[COPY] * 1e9, matrix=found[MATRIX] * 1e12, float32=found[FLOAT32] * 1e12)


def _card() -> str:
    """The first card's name; empty where there is none."""
    return next((card.name for card in nvml.cards()), "")


@contextlib.contextmanager
def _own_folder() -> Iterator[None]:
    """What is compiled goes to a folder of this visit: nothing is there already, and a later section has it.

    So does whatever its processes leave behind: some are killed.
    """
    with tempfile.TemporaryDirectory(prefix="card-", ignore_cleanup_errors=True) as folder:
        own = {COMPILED: str(Path(folder, "compiled")), **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)}
        before = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _chosen(text: str) -> tuple[Section, ...]:
    """The sections named by their numbers, in their own order."""
    wanted = [part.strip() for part in text.split(",")]
    known = {str(section.number): section for section in SECTIONS}
    if unknown := [part for part in wanted if part not in known]:
        there = ", ".join(f"{section.number} {section.name}" for section in SECTIONS)
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no section; there are {there}: write 1,4,8")
    return tuple(section for number, section in known.items() if number in wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_chosen, metavar="1,4,8", help="these sections")
    parser.add_argument("--minutes", type=int, choices=(4, 9), default=9, help="4: sections 1, 2, 4, 5 and 8")
    parser.add_argument("--out", help="a folder without an older visit; default: outputs/card-DATE-TIME")
    parser.add_argument("--cpu", action="store_true", help="tiny models on the CPU, to see that all this works")
    given = parser.parse_args(arguments)
    if not given.cpu and not nvml.cards():
        parser.error("there is no NVIDIA card here; --cpu goes through the same with tiny models")
    whole = [section for section in SECTIONS if section.number in (SHORT if given.minutes == 4 else FIRST)]
    now = datetime.now()  # noqa: DTZ005 - the user's own
    out = Path("outputs", f"card-{now:%Y%m%d-%H%M%S}") if given.out is None else Path(given.out)
    try:
        claim(out)
    except FileExistsError:
        parser.error(f"--out {given.out}: it is a file or holds a visit already; name another folder")
    except OSError as error:
        parser.error(f"--out {given.out}: nothing can be written there ({error.strerror})")
    if given.cpu:  # tiny models lose more to a second thread than it does
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in ("SIGTERM", "SIGHUP"):  # there is a last table to print, and processes to end
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    return visit(given.only or whole, CPU if given.cpu else CARD, out, given.minutes)


if __name__ == "__main__":
    sys.exit(main())
