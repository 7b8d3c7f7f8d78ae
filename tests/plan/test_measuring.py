"""The plan of a measurement: its order, its ids, and what need not be tried."""

from dataclasses import replace

import pytest

from batch.base.errors import EXIT_USER
from batch.plan import measuring
from batch.records.kinds import ErrorKind
from batch.records.receipts import ErrorInfo, Failure, Machine, Measurement
from tests.helpers import plan
from tests.measurements import JOB, ONE, TILED


def test_the_order_of_a_measurement(manifest):
    made = plan(manifest(JOB))
    settings = [  # small before large, and backwards in the second pass
        (size, memory) for size in ("672x384", "512x512") for memory in ("full", TILED, "auto")
    ]
    told = [
        [(task.size, task.memory, "warm-up" if task.warmup else task.repeat) for task in visit]
        for visit in measuring.visits(made.tasks)
    ]
    assert told == [
        *([(*setting, item) for item in ("warm-up", 1, 2)] for setting in settings),
        *([(*setting, item) for item in ("warm-up", 3)] for setting in reversed(settings)),
    ]
    assert (made.pictures, made.settings, made.passes, len(made.tasks)) == (6, 6, 2, 6 * 5)


def test_every_setting_and_repeat_has_an_id_and_one_picture(manifest):
    made = plan(manifest(JOB))
    assert len({task.id for task in made.tasks}) == len(made.tasks)
    assert len({task.name for task in made.tasks}) == len(made.tasks)
    text = JOB.replace("kind: measure\nrepeats: 3\n", "").replace(", auto]", "]")
    pictures = plan(manifest(text, "plain.yaml"))
    assert {task.picture_id for task in made.tasks} == {task.picture_id for task in pictures.tasks}
    # To render these two would be a mistake: at this size they are one picture.
    again = plan(manifest(JOB), "memory=[full, tiled]", "size=512x512")
    assert len({task.id for task in again.tasks}) == 2 * 5
    # The order of the settings, and how many repeats there are, is no part of an id.
    more = plan(manifest(JOB), "repeats=5", "memory=[auto, full]")
    ids = {task.id for task in made.tasks if task.memory != TILED and task.repeat in (1, 2)}
    assert ids <= {task.id for task in more.tasks}


def test_a_warm_up_is_as_large_as_a_call(manifest):
    made = plan(manifest(ONE), "seed=0..3", "run.batch=3", "repeats=1")
    (visit,) = measuring.visits(made.tasks)
    assert [(task.seed, bool(task.warmup)) for task in visit] == [
        *((seed, True) for seed in range(3)),
        *((seed, False) for seed in range(4)),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("kind: measure", "kind: render"), "repeats has no effect"),
        (("repeats: 3", "repeats: 0"), "repeats"),
        (("min_free_disk: 1MB", "on_oom: fallback"), "run.on_oom: a measurement falls back to nothing"),
        (("min_free_disk: 1MB", "recycle_after: 4"), "run.recycle_after"),
        (("min_free_disk: 1MB", "batch: auto"), "run.batch: auto goes by the card"),
        (("format: webp", "keep_latents: true"), "output.keep_latents"),
    ],
)
def test_what_has_no_meaning_is_refused(cli, manifest, change, says):
    path = manifest(JOB.replace(*change))
    outcome = cli("plan", path)
    assert outcome.code == EXIT_USER
    assert outcome.err.startswith(f"{path}:")
    assert says in outcome.err


@pytest.mark.parametrize("option", [("--engine", "local"), ("--redo-degraded",), ("--keep-latents",)])
def test_options_without_effect_are_refused(cli, manifest, option):
    outcome = cli("run", manifest(JOB), *option)
    assert outcome.code == EXIT_USER
    assert f"{' '.join(option)} has no effect on a measurement" in outcome.err
    assert "no effect on a render run" in cli("run", manifest("", "render.yaml"), "--retry-oom").err


def test_what_plan_shows(cli, manifest):
    path = manifest(JOB)
    said = cli("plan", path).out
    assert "1 prompt × 2 sizes × 3 memory settings = 6 images" in said
    assert "measured 3 times each: 18 images, and 12 warm-ups that no median counts" in said
    assert "6 settings in 2 passes, the second one backwards: 12 fresh processes" in said
    assert "compiled no" in said
    data = cli("plan", path, "--json").json()
    assert data["measure"] == {"pictures": 6, "repeats": 3, "settings": 6, "passes": 2, "warmups": 12}
    assert "compiled yes" in cli("plan", path, "--set", "run.compile=on").out


# What need not be tried


def out_of_memory(task, stage="decode", batch=1):
    error = ErrorInfo(kind=ErrorKind.OUT_OF_MEMORY, message="", stage=stage)
    return Failure(
        task=task, error=error, measurement=Measurement(), machine=Machine(), attempts=1, started_at="",
        batch=batch,
    )  # fmt: skip


def test_what_dominates_what(manifest):
    made = plan(manifest(JOB), "size=[544x448, 672x384, 384x672, 512x512]")
    chosen = {(task.size, task.memory): task for task in made.tasks if task.repeat == 1 and not task.warmup}
    full = {size: task for (size, memory), task in chosen.items() if memory == "full"}
    larger = full["512x512"]
    walls = measuring.Walls([out_of_memory(full["672x384"])])
    assert walls.dominated(larger, 1) == "dominated by 672x384: out of memory in decode"
    assert walls.dominated(larger, 4)
    assert walls.dominated(full["672x384"], 1)  # the other repeats
    assert not walls.dominated(full["544x448"], 1)
    assert not walls.dominated(full["384x672"], 1)  # as many pixels, in another shape
    others = [{"dtype": "bfloat16"}, {"model": "other"}, {"guidance": 1.0}, {"memory": "auto"}]
    assert not any(walls.dominated(replace(larger, **other), 1) for other in others)
    warm = measuring.Walls([out_of_memory(replace(full["672x384"], warmup=True))])
    assert not warm.dominated(larger, 1)
    # One that failed in a call of four says nothing of one alone.
    four = measuring.Walls([out_of_memory(full["672x384"], batch=4)])
    assert not four.dominated(larger, 1)
    assert "in calls of 4" in four.dominated(larger, 4)
    # `auto` may offload at a larger size where it did not at this one.
    auto = measuring.Walls([out_of_memory(chosen["672x384", "auto"])])
    assert auto.dominated(chosen["672x384", "auto"], 1)
    assert not auto.dominated(chosen["512x512", "auto"], 1)
