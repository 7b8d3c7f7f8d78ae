"""Makes docs/screens.md: what the program shows on a terminal of 80 columns, taken from a real one (tmux).

    python tools/make_screens.py

It renders 24 pictures of the demo model, which takes two minutes on two idle cores.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "screens.md"
COLUMNS, LINES = 80, 70
PATIENCE_S = 400.0
SHOWN = 26
"""Lines of a table that is long."""

JOB = """\
name: night
grid:
  model: demo
  prompt: [a yellow star on a blue background, an orange house at night]
  seed: 0..1
  size: 672x384
  memory: [full, "vae_tiling(256, 192)"]
"""

SHARED = """\
name: shared
grid:
  model: demo
  prompt: [a yellow star on a blue background, an orange house at night]
  seed: 0..5
  size: 672x384
  memory: full
"""
"""For three shards, of which two are begun."""

HEAD = f"""\
# Screens

What the commands show on a terminal of {COLUMNS} columns, taken from a real one by `python tools/make_screens.py`.
A wider terminal also shows the columns that are left out here. Without a terminal, a row of a table is one line.

The job on these screens is `night.yaml`:

```yaml
{JOB}```
"""


class Terminal:
    """One of tmux's, with a shell in a folder."""

    def __init__(self, name: str, folder: Path, socket: Path) -> None:
        self._name, self._socket = name, socket
        size = ("-x", str(COLUMNS), "-y", str(LINES))
        self._tmux("new-session", "-d", "-s", name, *size, "-c", str(folder), "bash --norc --noprofile")
        self.type("PS1='$ '")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-f", os.devnull, "-S", str(self._socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, command: str) -> None:
        """As a person does, with Enter."""
        self._tmux("send-keys", "-t", self._name, "-l", command)
        self._tmux("send-keys", "-t", self._name, "Enter")

    def shows(self, command: str, pattern: str = "") -> str:
        """What a command shows once the pattern is there, or the next prompt."""
        if command:
            self.type("clear")
            time.sleep(0.5)
            self.type(command)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            time.sleep(0.2)
            lines = self._tmux("capture-pane", "-p", "-t", self._name, "-S", "-200").rstrip().splitlines()
            begin = max((at for at, line in enumerate(lines) if line.startswith("$ python")), default=None)
            text = "" if begin is None else "\n".join(lines[begin + 1 :])
            if begin is not None and re.search(pattern or r"^\$$", text, re.MULTILINE):
                return text.removesuffix("\n$")
        raise SystemExit(f"{command!r} never showed {pattern!r}:\n{text}")


def screens(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Command, what the screen is of, and the screen."""
    (folder / "night.yaml").write_text(JOB)
    (folder / "run_batch.py").symlink_to(ROOT / "run_batch.py")
    socket = folder / "tmux"
    first, second = Terminal("first", folder, socket), Terminal("second", folder, socket)
    program = "python run_batch.py"
    try:
        plan, run, status = (
            f"{program} plan night.yaml",
            f"{program} run night.yaml",
            f"{program} status outputs/night",
        )
        yield plan, "before anything is rendered", first.shows(plan)
        yield run, "while it renders", first.shows(run, r"^[1-9] of 8 .*\n.*denoising [3-9] of")
        yield status, "from another terminal, meanwhile", second.shows(status)
        yield run, "when it is done", first.shows("", r"^\$$")
        yield status, "when it is done", second.shows(status)
        two = f"{run} --devices cpu,cpu --out outputs/two"
        yield (
            two,
            "on two devices, while it renders",
            first.shows(two, r"^[1-9] of 8 .*\n(.*denoising [3-9] of.*\n?){2}"),
        )
        first.shows("", r"^\$$")
        yield from _divided(folder, first, second)
        compare = f"{program} compare outputs/night"
        yield compare, "", first.shows(compare)
        for command in ("models", "models sana-1.6b-4k", "models --memory", "doctor"):
            yield f"{program} {command}", "", first.shows(f"{program} {command}")
    finally:
        subprocess.run(["tmux", "-S", str(socket), "kill-server"], check=False)


def _divided(folder: Path, first: Terminal, second: Terminal) -> Iterator[tuple[str, str, str]]:
    """Two of three shards at work in one folder."""
    (folder / "shared.yaml").write_text(SHARED)
    third = Terminal("third", folder, folder / "tmux")
    program, rendering = "python run_batch.py", r"^0 of [1-9] .*\n.*denoising [3-9] of"
    first.shows(f"{program} run shared.yaml --shard 1/3", r"^0 of|starting torch")
    second.shows(f"{program} run shared.yaml --shard 2/3", rendering)
    status = f"{program} status outputs/shared"
    yield status, "two of three shards at work in one folder", third.shows(status)
    for terminal in (first, second):
        terminal.shows("", r"^\$$")


def cleaned(text: str, folder: Path) -> str:
    """Without what is of this machine alone, and not longer than one wants to read."""
    for place, name in (
        (folder.resolve(), "/home/me"),
        (Path(sys.prefix), "/home/me/.venv"),
        (Path.home(), "/home/me"),
    ):
        text = re.sub(rf"{re.escape(str(place))}(\S*)( *)", partial(_named, name), text)
    lines = text.splitlines()
    cut = lines if len(lines) <= SHOWN + 4 else [*lines[:SHOWN], "…"]
    return "\n".join(cut).strip("\n")


def _named(name: str, found: re.Match[str]) -> str:
    """The same path below another folder, and as wide where a column goes on behind it."""
    path = name + found[1]
    return path.ljust(len(found[0])) if len(found[2]) > 1 else path + found[2]


def main() -> None:
    os.environ["PATH"] = f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"
    os.environ.update(PYTHONPATH=str(ROOT), TERM="xterm-256color", COLORTERM="", PYTHONUTF8="1")
    with tempfile.TemporaryDirectory(prefix="screens-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ.update(HOME=name, RUN_BATCH_CACHE=str(folder / "cache"))
        parts = [HEAD]
        for command, when, text in screens(folder):
            parts.append(f"`{command}`{', ' + when if when else ''}:\n\n```text\n{cleaned(text, folder)}\n```\n")
            print(parts[-1])
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
