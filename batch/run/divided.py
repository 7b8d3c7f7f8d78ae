"""Which part of a job a process renders: ``--shard 2/8``, or what the scheduler that started it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batch.base.errors import UserError
from batch.records.shard import Shard

COUNT = "RUN_BATCH_SHARDS"
"""How many there are, where whoever starts them does not say: Kubernetes."""

MOST = 100_000
"""Shards of a job."""

_STEPS = 2**32 - 16
"""Numbers of SLURM's steps from here on are none of ``srun``: a batch script has one of them."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What a scheduler says."""

    source: str
    """The variables that say it, with their values."""
    number: int
    of: int | None
    """None where it does not say."""


def asked(text: str, environment: Mapping[str, str]) -> Shard:
    """``2/8``, ``auto``, or ``auto/8`` where nobody says how many there are. Raises :class:`UserError`."""
    wanted = text.strip().lower()
    if wanted == "auto" or wanted.startswith("auto/"):
        _, slash, count = wanted.partition("/")
        return _found(text, _count(f"--shard {text}", count) if slash else None, environment)
    match = re.fullmatch(r"([0-9]{1,9})\s*/\s*([0-9]{1,9})", wanted)
    if match is None:
        raise UserError(f"--shard {text[:60]}: write I/N, as 2/8 for the second of eight parts, or auto")
    return _checked(f"--shard {text}", int(match[1]), int(match[2]))


def _checked(said: str, number: int, of: int) -> Shard:
    if not 1 <= of <= MOST:
        raise UserError(f"{said}: a job has 1 to {MOST:,} shards, not {of}")
    if not 1 <= number <= of:
        raise UserError(f"{said}: shards are counted from 1, so this is one of 1/{of} to {of}/{of}")
    return Shard(number, of)


def _found(text: str, count: int | None, environment: Mapping[str, str]) -> Shard:
    """What the variables say: all that say something have to say the same."""
    if count is None and environment.get(COUNT, "").strip():
        count = _count(f"{COUNT}={environment[COUNT]}", environment[COUNT])
    places = list(_places(environment))
    if not places:
        raise UserError(
            f"--shard {text}: nothing says which part this is. Looked for SLURM_ARRAY_TASK_ID (a SLURM array), "
            "JOB_COMPLETION_INDEX (an Indexed Job of Kubernetes), RANK with WORLD_SIZE (torchrun), and "
            f"SLURM_PROCID with SLURM_NTASKS (srun){_outside_a_step(environment)}. Write --shard I/N, as 2/8"
        )
    # One task of one divides nothing: every job of an array has such a step.
    several = [place for place in places if place.of != 1] or places[:1]
    first = several[0]
    of = next((place.of for place in several if place.of is not None), count)
    for other in several[1:]:
        if (other.number, other.of or of) != (first.number, first.of or of):
            raise UserError(
                f"--shard {text}: {first.source} and {other.source} disagree about which part this is. Write "
                "the one that is meant as --shard I/N"
            )
    if of is None:
        raise UserError(
            f"--shard {text}: {first.source} says which part this is, and Kubernetes does not say how many there "
            f"are. Write --shard auto/N, or set {COUNT}=N, with the job's `completions` for N"
        )
    if count is not None and count != of:
        raise UserError(f"--shard {text}: {first.source} is one of {of}, and {count} shards are asked for")
    return _checked(f"--shard {text} ({first.source})", first.number, of)


def _places(environment: Mapping[str, str]) -> Iterator[_Place]:
    """Of the schedulers that started this process, the outermost first."""
    if "SLURM_ARRAY_TASK_ID" in environment:
        yield _of_an_array(environment)
    if "JOB_COMPLETION_INDEX" in environment:
        index, source = _number(environment, "JOB_COMPLETION_INDEX")
        yield _Place(source, index + 1, None)
    if "RANK" in environment and "WORLD_SIZE" in environment:
        yield _ranked(environment, "RANK", "WORLD_SIZE")
    if "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment and _in_a_step(environment):
        yield _ranked(environment, "SLURM_PROCID", "SLURM_NTASKS")


def _of_an_array(environment: Mapping[str, str]) -> _Place:
    """Arrays begin where they like and have steps; one with gaps has no fixed parts."""
    names = ("SLURM_ARRAY_TASK_ID", *(f"SLURM_ARRAY_TASK_{name}" for name in ("MIN", "MAX", "COUNT")))
    missing = [name for name in names if name not in environment]
    if missing:
        raise UserError(
            f"--shard auto: SLURM_ARRAY_TASK_ID is set and {', '.join(missing)} not; write --shard I/N"
        )
    (at, source), (first, _), (last, _), (count, _) = (_number(environment, name) for name in names)
    step = _number(environment, "SLURM_ARRAY_TASK_STEP")[0] if environment.get("SLURM_ARRAY_TASK_STEP") else 1
    places = range(first, last + 1, max(1, step))
    if len(places) != count or at not in places:
        raise UserError(
            f"--shard auto: the SLURM array has gaps ({count} tasks from {first} to {last}), so its numbers are "
            "no parts of a job. Submit a range, as --array=1-8; to repeat some tasks of one, write the part that "
            "each was: --shard $SLURM_ARRAY_TASK_ID/8 for tasks of 1-8, $((SLURM_ARRAY_TASK_ID + 1))/8 for 0-7"
        )
    return _Place(source, places.index(at) + 1, count)


def _ranked(environment: Mapping[str, str], rank: str, size: str) -> _Place:
    (number, first), (of, second) = _number(environment, rank), _number(environment, size)
    return _Place(f"{first} with {second}", number + 1, of)


def _in_a_step(environment: Mapping[str, str]) -> bool:
    """Whether ``srun`` started this process: in a batch script, which runs once, the same variables are set."""
    step = environment.get("SLURM_STEP_ID", "")
    return step.isdecimal() and int(step) < _STEPS


def _outside_a_step(environment: Mapping[str, str]) -> str:
    """Why what is set does not count."""
    said = "SLURM_PROCID" in environment and "SLURM_NTASKS" in environment
    return "; these are set here, and not by srun: SLURM_STEP_ID is that of no step" if said else ""


def _number(environment: Mapping[str, str], name: str) -> tuple[int, str]:
    """A variable's number, and how it is named in messages."""
    text = environment[name].strip()
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(f"--shard auto: {name}={text[:60]} is no number; write --shard I/N")
    return int(text), f"{name}={text}"


def _count(said: str, text: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text) or not int(text):
        raise UserError(f"{said[:80]}: the number of shards is a whole number from 1 on, as in --shard auto/8")
    return int(text)
