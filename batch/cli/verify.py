"""``verify``: every image against its receipt, and some of them rendered again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.shell import program
from batch.base.text import gib, one_line, plural
from batch.cli.options import (
    allow_code_option,
    cache_dir_option,
    json_option,
    one_device_option,
    run_argument,
)
from batch.cli.terminal import print_json, show

if TYPE_CHECKING:
    from batch.upkeep.reproduce import Reproduction
    from batch.upkeep.verify import Verification

ORPHANED = "`prune` moves them to trash/, or move them out of images/ to keep them"
"""What to do about files of no picture."""

REMEDIES = {
    "missing": "run the manifest again; in a folder of shards `status` says which of them render these",
    "failed": "run the manifest again, with --retry-failed if it was given up",
    "damaged": "run the manifest again: it renders these once more, and keeps torn pictures in trash/",
    "replaced": "they are left as they are; one that is not yours to keep is rendered again once it is moved away",
    "changed": "nothing is wrong: they are left as they are",
    "moved": "nothing is wrong: they are left where they are",
    "copy": "nothing is wrong: they are left alone",
    "orphaned": ORPHANED,
    "extra": "nothing is wrong; prune moves them to the run's trash",
    "unfit": "nothing is wrong: that it runs out of memory is what was measured",
    "skipped": "nothing is wrong: one no larger ran out of memory",
}
"""By state, what to do about it."""

TOUCHED = {"changed", "moved", "replaced", "copy"}
"""States that are listed although nothing is wrong."""


@click.command(short_help="Check every image against its receipt.")
@run_argument
@click.option("--reproduce", metavar="N", type=click.IntRange(min=1),
              help="Render N of the done images again, drawn at random, and compare the pixels.")  # fmt: skip
@click.option("--sample", metavar="NUMBER", type=int,
              help="With --reproduce: another number draws other images. Default: 0.")  # fmt: skip
@allow_code_option
@one_device_option
@cache_dir_option
@json_option
def verify(
    *,
    run_folder: Path,
    reproduce: int | None,
    sample: int | None,
    allow_code: bool,
    devices: str | None,
    as_json: bool,
) -> int:
    """Check every image against its receipt; with --reproduce also render some again.

    Reads only and works while a run is going on. Ends with 0 when everything that the manifest names is
    there and whole, else with 1.
    """
    from batch.cli import progress, shown
    from batch.upkeep import reproduce as again_rendered
    from batch.upkeep import verify as verifying

    for name, value in (("--sample", sample), ("--devices", devices), ("--allow-code", allow_code or None)):
        if reproduce is None and value is not None:
            raise errors.UserError(f"{name} has no effect without --reproduce")
    with progress.counting("image") as advance:
        found = verifying.verify(run_folder, advance)
    again = None
    if reproduce is not None:
        listener = shown.listener(quiet=as_json, as_json=False)
        again = again_rendered.reproduce(
            run_folder, found.own_pixels, reproduce, sample or 0, devices, listener, allow_code=allow_code
        )
    ok = found.ok and all(item.as_expected for item in again or ())
    if as_json:
        print_json(verification_json(found, again, ok=ok))
    else:
        show(verification_text(found, again, ok=ok))
    return errors.EXIT_OK if ok else errors.EXIT_FAILED


def verification_text(found: Verification, again: Sequence[Reproduction] | None, *, ok: bool) -> str:
    """What ``verify`` prints; ``again`` is what was rendered again, None where nothing was asked for."""
    from batch.upkeep.verify import State

    counts = found.counts
    lines = [f"{found.name}: {found.done} of {found.total} done and whole, {gib(found.bytes_read)} read"]
    others = [state for state in State if state is not State.DONE and state in counts]
    lines += [f"  {state} {counts[state]}" for state in others]
    if found.running:
        lines.append("  a run is going on: what it has not come to yet counts as missing")
    never = sum(item.never_rendered for item in found.findings)
    if never:
        lines.append(f"MISSING    {plural(never, 'image')} never rendered")
    order, told = list(State), set[str]()
    for item in sorted(found.findings, key=lambda item: order.index(item.state)):
        # A picture that was moved into the place of one that is missing is told with that one.
        if (item.state.wrong or item.state in TOUCHED) and not item.never_rendered and item.path not in told:
            lines.append(f"{item.state.upper():10} {item.path}: {item.detail}")
            told.add(item.path)
    if others_there := found.not_looked_at:
        files = plural(len(others_there), "file")
        lines.append(
            f"  {files} with the name of an image not looked at, being hidden or of another suffix: "
            f"{others_there[0]}{', …' if others_there[1:] else ''}"
        )
    lines += [f"  {state}: {REMEDIES[state]}" for state in others]
    if again is not None:
        lines += _reproduced(again) if again else [_nothing_to_reproduce(found)]
    return "\n".join(map(one_line, [*lines, "all is well" if ok else "NOT all is well"]))


def _reproduced(items: Sequence[Reproduction]) -> list[str]:
    from batch.upkeep.reproduce import Verdict

    same = sum(item.verdict is Verdict.IDENTICAL for item in items)
    lines = [f"rendered again: {same} of {plural(len(items), 'image')} bit-identical"]
    for item in items:
        if item.verdict is Verdict.IDENTICAL:
            continue
        figures = ""
        if (gap := item.difference) is not None:
            figures = (
                f": largest difference {gap.max_difference:g}, {gap.changed_share:.2%} of the pixels, "
                f"PSNR {gap.psnr_db:.1f} dB"
            )
        detail = f" ({item.detail})" if item.detail else ""
        lines.append(f"{item.verdict.upper():10} {item.path}{figures}{detail}")
    if any(item.verdict is Verdict.DIFFERENT and item.from_hub for item in items):
        lines.append(
            "  different: files of the model may have been changed or damaged since; "
            f"{program()} fetch MANIFEST --out RUN --check compares their content with the Hub's"
        )
    return lines


def _nothing_to_reproduce(found: Verification) -> str:
    """Why no image can be rendered again and compared."""
    if not found.done:
        return "nothing to render again: no image is done"
    others = Counter(item.state for item in found.findings if item.state.is_there and not item.own_pixels)
    parts = [f"{count} {'is' if count == 1 else 'are'} {state}" for state, count in others.items()]
    if count := len(found.own_pixels):
        parts.append(f"{count} {'was' if count == 1 else 'were'} rendered with a fallback setting")
    return f"no image with its own pixels to compare: {', '.join(parts)}"


def verification_json(found: Verification, again: Sequence[Reproduction] | None, *, ok: bool) -> dict[str, object]:
    """What ``verify --json`` prints."""
    from batch.upkeep.verify import State

    return {
        "name": found.name,
        "ok": ok,
        "total": found.total,
        **{state: found.counts.get(state, 0) for state in State},
        "done": found.done,
        "untouched": found.counts.get(State.DONE, 0),
        "bytes_read": found.bytes_read,
        "running": found.running,
        "not_looked_at": list(found.not_looked_at),
        "findings": [
            {
                "state": item.state,
                "task_id": item.task_id,
                "path": item.path,
                "bytes": item.bytes,
                "detail": item.detail,
            }
            for item in found.findings
            if item.state is not State.DONE
        ],
        "reproduced": None if again is None else [_reproduction_json(item) for item in again],
    }


def _reproduction_json(item: Reproduction) -> dict[str, object]:
    gap = item.difference
    return {
        "task_id": item.task_id,
        "path": item.path,
        "verdict": item.verdict,
        "max_difference": gap.max_difference if gap else None,
        "changed_share": gap.changed_share if gap else None,
        "psnr_db": gap.psnr_db if gap else None,
        "detail": item.detail,
        "plain": item.plain,
        "from_hub": item.from_hub,
    }
