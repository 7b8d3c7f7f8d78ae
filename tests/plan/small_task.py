"""A task of one model, for what needs no manifest."""

from batch.records.tasks import Task

TASK = Task(
    model="m", revision="r", dtype="float32", prompt="a fox", seed=1, width=512, height=512,
    rendered_width=512, rendered_height=512, steps=8, guidance=4.5,
)  # fmt: skip
