"""A task whose picture is saved in a format."""

from dataclasses import replace

from batch.manifest import formats
from batch.records.tasks import Task
from batch.records.values import Call


def task(kind="png", options=None, **changes):
    given = formats.check_options(kind, options or {})
    first = Task(
        model="demo", dtype="float32", prompt="a fox", negative_prompt="fog, smoke", seed=2**63, width=353,
        height=301, rendered_width=352, rendered_height=320, steps=3, guidance=4.5,
        scheduler=Call(name="flow-euler"), pixel_steps=(Call(name="vae_tiling", arguments=(("tile", 512),)),),
        format=kind, format_options=given,
    )  # fmt: skip
    return replace(first, **changes)
