"""Options that do nothing on this kind of run, or with this engine: refused, or said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch import engines
from batch.base.devices import refuse_several
from batch.base.errors import UserError
from batch.manifest.schema import RunOptions
from batch.records.kinds import RunKind

if TYPE_CHECKING:
    from batch.plan.plan import Plan
    from batch.run.options import Options


def refuse_what_has_no_effect(plan: Plan, options: Options, run: RunOptions) -> None:
    """Raise :class:`UserError` for an option that does nothing on this kind of run, or with this engine."""
    refuse_shard(plan, options)
    if options.ray_address and options.engine_name != "ray":
        raise UserError(f"--ray-address {options.ray_address} has no effect without --engine ray")
    if plan.kind == RunKind.MEASURE:
        refused = {
            "--engine local": (options.engine == "local", "every setting is measured in a fresh process"),
            "--engine ray": (options.engine == "ray", "every setting is measured alone on a card of this machine"),
            "--redo-degraded": (options.redo_degraded, "nothing falls back, so nothing is degraded"),
            "--restore": (options.restore, "delete the pictures that are to be measured again"),
            "--keep-latents": (options.keep_latents, "nothing decodes them again"),
        }
        for name, (given, why) in refused.items():
            if given:
                raise UserError(f"{name} has no effect on a measurement: {why}")
        refuse_several(
            options.devices, "a measurement is alone, so that nothing else takes memory or time from it"
        )
        return
    if options.retry_oom:
        raise UserError("--retry-oom has no effect on a render run: out of memory is tried again anyway")
    if options.engine_name == "local":
        for name, value in (("--task-timeout", options.task_timeout), ("run.recycle_after", run.recycle_after)):
            if value:
                raise UserError(f"{name} has no effect with --engine local: there is no worker process to watch")
        refuse_several(options.devices, "--engine local renders in the process of the command, on one device")


def refuse_shard(plan: Plan, options: Options) -> None:
    """Raise :class:`UserError` for a shard of what is not divided, or divides itself."""
    if options.shard is not None and plan.kind == RunKind.MEASURE:
        raise UserError(
            f"--shard {options.shard}: a measurement is alone on one card, and is not divided. Leave --shard out; "
            "to measure several cards, give each a run folder of its own with --out"
        )
    if options.shard is not None and options.engine_name == "ray":
        asked = "--engine ray" if options.engine else f"{engines.VARIABLE}=ray"
        raise UserError(
            f"--shard {options.shard} with {asked}: Ray divides the job by itself. Leave one of the two out"
        )


def refuse_cluster(why: str) -> None:
    """Raise :class:`UserError` where the default is a cluster, for what is done on one device of this machine."""
    if engines.default() == "ray":
        raise UserError(
            f"{engines.VARIABLE}=ray: {why}, on one device of it. Leave the variable out for that command"
        )


def ignored(plan: Plan, options: Options) -> tuple[str, ...]:
    """What is set outside of the command line, and does not hold here."""
    if plan.kind == RunKind.MEASURE and not options.engine and (name := engines.default()) != "process":
        return (f"{engines.VARIABLE}={name} does not hold for a measurement: every setting has a fresh process",)
    return ()
