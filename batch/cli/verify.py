"""What `verify` and `prune` found, as text for people and as data for programs. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.base.text import gib, plural
from batch.cli.progress import program

if TYPE_CHECKING:
    from batch.upkeep import Pruned, Reproduction, Verification

STATES = (
    "done", "missing", "failed", "truncated", "modified", "damaged", "orphaned", "extra", "unfit", "skipped"
)  # fmt: skip

REMEDIES = {
    "missing": "run the manifest again: it renders what is missing",
    "failed": "run the manifest again, with --retry-failed if it was given up",
    "truncated": "delete the file and run the manifest again",
    "modified": "delete the file and run the manifest again",
    "damaged": "run the manifest again: it renders that image once more and writes a new receipt",
    "orphaned": "prune moves it to the run's trash",
    "extra": "nothing is wrong; prune moves them to the run's trash",
    "unfit": "nothing is wrong: that it runs out of memory is what was measured",
    "skipped": "nothing is wrong: one no larger ran out of memory",
}

NEVER_RENDERED = "never rendered"


def verification_text(found: Verification, reproduced: tuple[Reproduction, ...] | None) -> str:
    """What ``verify`` prints."""
    counts = found.counts
    lines = [
        f"{found.name}: {counts.get('done', 0)} of {found.total} done and whole, {gib(found.bytes_read)} read"
    ]
    lines += [f"  {state} {counts[state]}" for state in STATES if state != "done" and state in counts]
    if found.running:
        lines.append("  a run is going on: what it has not come to yet counts as missing")
    never = [item for item in found.findings if item.detail == NEVER_RENDERED]
    if never:
        lines.append(f"MISSING    {plural(len(never), 'image')} never rendered")
    for item in found.findings:
        if item.state not in {"done", "extra", "unfit", "skipped"} and item.detail != NEVER_RENDERED:
            lines.append(f"{item.state.upper():10} {item.path}: {item.detail}")
    lines += [f"  {state}: {REMEDIES[state]}" for state in STATES if state in REMEDIES and state in counts]
    if reproduced is not None:
        lines += _reproduced(reproduced)
    ok = found.ok and all(item.as_expected for item in reproduced or ())
    return "\n".join([*lines, "all is well" if ok else "NOT all is well"])


def _reproduced(items: tuple[Reproduction, ...]) -> list[str]:
    if not items:
        return ["nothing to render again: no image is done"]
    same = sum(item.verdict == "identical" for item in items)
    lines = [f"rendered again: {same} of {plural(len(items), 'image')} bit-identical"]
    for item in items:
        if item.verdict == "identical":
            continue
        figures = ""
        if item.max_difference is not None and item.changed_share is not None and item.psnr_db is not None:
            figures = (
                f": largest difference {item.max_difference:g}, {item.changed_share:.2%} of the pixels, "
                f"PSNR {item.psnr_db:.1f} dB"
            )
        detail = f" ({item.detail})" if item.detail else ""
        lines.append(f"{item.verdict.upper():10} {item.path}{figures}{detail}")
    if any(item.verdict == "different" and item.from_hub for item in items):
        lines.append(
            "  different: files of the model may have been changed or damaged since; "
            f"{program()} fetch MANIFEST --out RUN --check compares their content with the Hub's"
        )
    return lines


def verification_json(found: Verification, reproduced: tuple[Reproduction, ...] | None) -> dict[str, Any]:
    """What ``verify --json`` prints."""
    ok = found.ok and all(item.as_expected for item in reproduced or ())
    counts = {state: found.counts.get(state, 0) for state in STATES}  # type: ignore[call-overload]
    return {
        "name": found.name,
        "ok": ok,
        "total": found.total,
        **counts,
        "bytes_read": found.bytes_read,
        "running": found.running,
        "findings": [asdict(item) for item in found.findings if item.state != "done"],
        "reproduced": None if reproduced is None else [_finite(asdict(item)) for item in reproduced],
    }


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in data.items()
    }


def pruned_text(pruned: Pruned, root: Path) -> str:
    """What ``prune`` prints."""
    if not pruned.items:
        return "nothing to prune: the manifest names every image, and every image has its receipt"
    size = f"{pruned.bytes / 2**20:.1f} MiB"
    what = f"{plural(pruned.images, 'image')}, {plural(len(pruned.items), 'file')} in all, {size}"
    if pruned.trash is None:
        lines = [f"  {item.why:9} {item.bytes / 2**20:9.2f} MiB  {item.path}" for item in pruned.items]
        return "\n".join([*lines, f"would move {what} to {root / 'trash'}; nothing was touched"])
    restore = f"{program()} prune {_quoted(root)} --restore {pruned.trash.name}"
    return f"moved {what} to {pruned.trash}\nput back with: {restore}"


def _quoted(path: Path) -> str:
    return f'"{path}"' if " " in str(path) else str(path)


def pruned_json(pruned: Pruned, root: Path) -> dict[str, Any]:
    """What ``prune --json`` prints."""
    return {
        "folder": str(root),
        "trash": str(pruned.trash) if pruned.trash else None,
        "images": pruned.images,
        "bytes": pruned.bytes,
        "files": [asdict(item) for item in pruned.items],
    }
