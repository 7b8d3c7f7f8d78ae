"""Which part a process is told to render, by hand and by what schedulers set."""

import pytest

from batch.base.errors import UserError
from batch.records.shard import Shard
from batch.run.divided import asked


def array(at, first=1, last=8, count=None, step=None):
    found = {"ID": at, "MIN": first, "MAX": last, "COUNT": last - first + 1 if count is None else count}
    found |= {} if step is None else {"STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in found.items()}


STEP = {"SLURM_STEP_ID": "0"}
ONE_TASK = {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", **STEP}


@pytest.mark.parametrize(
    "text, variables, shard",
    [
        ("2/8", {}, (2, 8)),
        (" 8 / 8 ", array(3), (8, 8)),  # what is written counts
        ("auto", array(3), (3, 8)),
        ("auto", array(0, 0, 7), (1, 8)),
        ("auto", array(17, 10, 17), (8, 8)),
        ("auto", array(7, 1, 7, count=4, step=2), (4, 4)),
        ("AUTO", array(3) | ONE_TASK, (3, 8)),
        ("auto/8", array(3), (3, 8)),
        ("auto/8", {"JOB_COMPLETION_INDEX": "7"}, (8, 8)),
        ("auto", {"JOB_COMPLETION_INDEX": "0", "RUN_BATCH_SHARDS": "3"}, (1, 3)),
        ("auto", {"RANK": "1", "WORLD_SIZE": "2"}, (2, 2)),
        ("auto", {"JOB_COMPLETION_INDEX": "3", "RANK": "3", "WORLD_SIZE": "4"}, (4, 4)),
        ("auto", {"RANK": "0", "WORLD_SIZE": "1"}, (1, 1)),
        ("auto", {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", **STEP}, (4, 4)),
        ("auto", {"RANK": "3", "WORLD_SIZE": "4", "SLURM_PROCID": "3", "SLURM_NTASKS": "4", **STEP}, (4, 4)),
    ],
)
def test_which_part(text, variables, shard):
    assert asked(text, variables) == Shard(*shard)


@pytest.mark.parametrize(
    "text, variables, said",
    [
        ("0/8", {}, "counted from 1"),
        ("9/8", {}, "one of 1/8 to 8/8"),
        ("2/0", {}, "1 to 100,000"),
        ("a/b", {}, "write I/N"),
        ("2", {}, "write I/N"),
        ("-1/8", {}, "write I/N"),
        ("١/٣", {}, "write I/N"),
        ("1/" + "9" * 5000, {}, "write I/N"),
        ("auto/", {}, "whole number from 1"),
        ("auto/x", {}, "whole number from 1"),
        ("auto", {}, "SLURM_ARRAY_TASK_ID .*JOB_COMPLETION_INDEX.*RANK.*SLURM_PROCID"),
        ("auto", array(3, 1, 7, count=3), "has gaps"),
        ("auto", array(5, 3, 5, count=2), "has gaps"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN, .*MAX, .*COUNT not"),
        ("auto", array("x"), "SLURM_ARRAY_TASK_ID=x is no number"),
        ("auto/4", array(3), "is one of 8, and 4"),
        ("auto", {"JOB_COMPLETION_INDEX": "2"}, "RUN_BATCH_SHARDS=N"),
        ("auto", {"JOB_COMPLETION_INDEX": "8", "RUN_BATCH_SHARDS": "8"}, "one of 1/8 to 8/8"),
        ("auto", {"JOB_COMPLETION_INDEX": "2", "RUN_BATCH_SHARDS": "many"}, "RUN_BATCH_SHARDS=many"),
        ("auto", {"RANK": "0", "WORLD_SIZE": "2"} | array(3), "SLURM_ARRAY_TASK_ID=3 and RANK=0 .*disagree"),
        ("auto", array(3) | {"SLURM_PROCID": "1", "SLURM_NTASKS": "4", **STEP}, "disagree"),
        # A batch script runs once, whatever it says of its tasks.
        ("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, "nothing says.*not by srun"),
        ("auto", {"JOB_COMPLETION_INDEX": "2", "RANK": "3", "WORLD_SIZE": "4"}, "disagree"),
        ("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "4294967291"}, "nothing says"),
    ],
)
def test_what_is_no_part_is_said(text, variables, said):
    with pytest.raises(UserError, match=said):
        asked(text, variables)


def test_parts_make_the_whole_and_are_alike():
    tasks = list(range(19))
    parts = [Shard(number, 4).part(tasks) for number in (1, 2, 3, 4)]
    assert sorted(task for part in parts for task in part) == tasks
    assert {len(part) for part in parts} == {4, 5}
    assert [Shard(number, 30).part(tasks) for number in (20, 30)] == [(), ()]
