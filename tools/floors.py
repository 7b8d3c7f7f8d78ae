"""Print the lower bounds of pyproject.toml as constraints for pip: the oldest of everything, for `make floors`."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOOR = re.compile(r"([\w-]+)>=([\w.]+)(;.*)?")
# Older releases come with CUDA alone, gigabytes of it; the pinned one is there for CPUs, too.
AS_PINNED = ("torch",)


def floors() -> list[str]:
    """Of what the program and its tests need, each at the oldest release that pyproject.toml lets in."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = []
    for wanted in (*project["dependencies"], *project["optional-dependencies"]["test"]):
        floor = FLOOR.fullmatch(wanted)
        if floor is None:
            sys.exit(f"pyproject.toml: {wanted!r} has no floor; write NAME>=VERSION")
        if floor[1] not in AS_PINNED:
            found.append(f"{floor[1]}=={floor[2]}")
    return found


def pinned() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.partition("==")[0] in AS_PINNED]


if __name__ == "__main__":
    print("\n".join([*floors(), *pinned()]))
