"""Every error the program raises on purpose, and the exit code each one ends with.

::

    BatchError
    ├── UserError                exit 2    the user's mistake: say where it is and what would be right
    │   ├── ManifestError                  one or many problems in a manifest, each with file and line
    │   └── ModelError                     a model that cannot be found or is of no use here
    ├── FolderError              exit 3    the run folder is not ours to write
    │   ├── FolderLocked                   another runner holds it
    │   └── ForeignFolder                  it belongs to another job or to a newer version
    ├── DownloadError            exit 1    the network failed while models were fetched; run it again
    ├── TaskError                recorded  one image failed; the run goes on, and ends with exit 1
    └── StopRun                            a reason to end the run; everything done so far stays done
        ├── CannotGoOn           exit 1    it makes no sense to go on
        │   ├── FailedInARow               failure after failure
        │   └── LoadFailed                 the model cannot be loaded
        │       └── NeverLoads             nor by another process
        ├── StoppedEarly         exit 75   resumable as it is (deadline, disk floor)
        │   ├── LimitReached               the time, the hours or the images that the user has set
        │   └── DeviceLost                 the card does not answer this process any more
        ├── FolderLost           exit 3    the folder's lock was removed, or another runner has it by now
        └── Interrupted          exit 130  Ctrl-C or SIGTERM
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USER = 2
EXIT_FOLDER = 3
EXIT_RESUMABLE = 75
EXIT_INTERRUPTED = 130

LONGEST = 2_000
"""Letters of a problem's message that are shown."""
SHOWN = 1_000
"""Problems of one file that are shown: the rest is more of the same."""
ALONE = 3
"""Lines with the same mistake that have a message each; of more there is one, so that it buries no other."""
WARNINGS = 12
"""Warnings that are shown before problems."""


class BatchError(Exception):
    """Root of the tree; ``exit_code`` is what the command line ends with."""

    exit_code = EXIT_FAILED


class UserError(BatchError):
    """Something the user can put right."""

    exit_code = EXIT_USER


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a file: where it stands and what would be right."""

    source: str
    line: int
    message: str
    also: str = ""
    """Where else, in words: never cut off."""

    def __str__(self) -> str:
        """``file:line: message``, the form editors jump to; line 0 means the file as a whole."""
        where = f"{self.source}:{self.line}" if self.line else self.source
        said = self.message
        if len(said) > LONGEST:  # a value of the user's; the remedy stands at the end
            said = f"{said[: LONGEST // 2]} … {said[-LONGEST // 2 :]}"
        return f"{where}: {said}{self.also}"


class ManifestError(UserError):
    """All problems of a manifest at once."""

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[str] = ()) -> None:
        self.warnings = tuple(warnings)
        """What was to be told beside the plan: it may explain a problem."""
        self.problems = tuple(dict.fromkeys(problems))
        told = _gathered(self.problems)
        lines = list(map(str, told[:SHOWN]))
        if len(told) > SHOWN:
            lines.append(f"and {len(told) - SHOWN:,} more")
        super().__init__("\n".join(lines))


def _gathered(problems: Sequence[Problem]) -> list[Problem]:
    """The same mistake in many lines of a file as one problem, at the first of them."""
    lines: dict[tuple[str, str], list[int]] = {}
    for problem in problems:
        lines.setdefault((problem.source, problem.message), []).append(problem.line)
    found: list[Problem] = []
    for problem in problems:
        where = lines[problem.source, problem.message]
        if len(where) <= ALONE:
            found.append(problem)
        elif problem.line == where[0]:
            found.append(replace(problem, also=also_in(where[1:])))
    return found


def also_in(lines: Sequence[int]) -> str:
    """Where else a mistake stands, to be put behind it: `` (also in lines 3, 4, 5 and 9 more)``."""
    named = [str(line) for line in lines[:ALONE]]
    if len(lines) > ALONE:
        named.append(f"{len(lines) - ALONE:,} more")
    if not named:
        return ""
    *before, last = named
    joined = f"{', '.join(before)} and {last}" if before else last
    return f" (also in {'lines' if before else 'line'} {joined})"


class ModelError(UserError):
    """A model that is not there, or that no family here can render."""


class FolderError(BatchError):
    """The run folder cannot be used."""

    exit_code = EXIT_FOLDER


class FolderLocked(FolderError):  # noqa: N818 - reads as what happened
    """Another runner is at work in the folder."""


class ForeignFolder(FolderError):  # noqa: N818
    """The folder belongs to another job, or to a newer version of this program."""


class DownloadError(BatchError):
    """The network failed while a model was fetched; what is whole is kept."""


class TaskError(BatchError):
    """One image failed. ``stage`` is encode, denoise, decode or save."""

    def __init__(self, message: str, *, stage: str = "") -> None:
        super().__init__(message)
        self.stage = stage


class StopRun(BatchError):  # noqa: N818
    """Ends the run; what is committed stays committed."""


class CannotGoOn(StopRun):
    """Every further image would fail the same way."""


class FailedInARow(CannotGoOn):
    """So many images failed one after the other that the rest would, too."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


class LoadFailed(CannotGoOn):
    """The model cannot be loaded; a fresh process may try once more."""


class NeverLoads(LoadFailed):
    """Its files are why, or what is asked of it: no fresh process will do better."""


class StoppedEarly(StopRun):
    """Stopped on purpose; the same command goes on later."""

    exit_code = EXIT_RESUMABLE


class LimitReached(StoppedEarly):
    """No image more within ``--until``, ``--max-hours`` or ``--max-images``."""

    def __init__(self, limit: str, left: str = "") -> None:
        super().__init__(f"{limit}; {left}" if left else limit)
        self.limit, self.left = limit, left
        """Which, and how; and what is left, where that is said."""


class DiskLow(StoppedEarly):
    """The disk is below its floor, or full."""


class DiskFull(DiskLow):
    """A write failed for want of space."""


class DeviceLost(StoppedEarly):
    """Nothing works on the card in this process any more (illegal access, ECC); a fresh one may."""


class FolderLost(StopRun):
    """The lock was removed or taken, or a folder made a link, during the run: it writes no more there."""

    exit_code = EXIT_FOLDER


class Interrupted(StopRun):
    """Ctrl-C or SIGTERM."""

    exit_code = EXIT_INTERRUPTED


def in_words(error: BaseException) -> str:
    """An error for people: of the system's, what is wrong with which file."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
