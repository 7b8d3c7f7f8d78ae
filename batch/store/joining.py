"""How a shard joins others in a run folder: all divide one plan, whoever was first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.base import disk
from batch.store import job, shards

if TYPE_CHECKING:
    from batch.plan.pins import Pins
    from batch.plan.plan import Plan
    from batch.store.folder import RunFolder
    from batch.store.job import Origin


def join(folder: RunFolder, before: Pins, plan: Plan, origin: Origin) -> bool:
    """Record what a shard is about to run a part of. Call it under the shard's lock.

    False where another one has pinned something since ``before`` was read: then plan anew. Raises
    :class:`~batch.base.errors.FolderLocked` where the folder is divided otherwise, and what
    :meth:`~batch.store.folder.RunFolder.check` raises.
    """
    assert folder.shard is not None
    with shards.gate(folder.state), disk.must_be_writable(folder.root):
        folder.check(plan.name, plan.kind)
        if (folder.pins() if folder.exists() else job.NOTHING_PINNED) != before:
            return False
        division = shards.Division(of=folder.shard.of, plan=shards.fingerprint(plan.tasks))
        shards.refuse_other_divisions(folder.state, folder.shard, division.plan, finished=_is_finished(folder))
        if not _pinned(folder, before, plan):
            return False
        if [item.shard for item in shards.at_work(folder.state)] == [folder.shard]:
            folder.sweep()  # no temp file is another's that is at work
        if shards.division(folder.state) != division or folder.origin() != origin:
            job.write_origin(folder.root, folder.state, origin, folder.runner)
            job.write_tasks(folder.state, plan.tasks, folder.runner)
            shards.divide(folder.state, division, folder.runner)
    return True


def _pinned(folder: RunFolder, before: Pins, plan: Plan) -> bool:
    """Make the folder the job's, and keep what was drawn; False where another was first.

    Files that are made are made by one alone, also where locks do not reach other hosts.
    """
    if not folder.exists() and not job.create_owner(folder.state, plan.name, plan.kind, folder.runner):
        return False
    if before == job.NOTHING_PINNED:
        return job.create_pins(folder.state, plan.pins, folder.runner)
    if plan.pins != before:
        job.write_pins(folder.state, plan.pins, folder.runner)
    return True


def _is_finished(folder: RunFolder) -> bool:
    """Whether nothing is left of the plan that was run here last; looked at only where that matters."""
    division = shards.division(folder.state)
    if division is None or folder.shard is None or division.of == folder.shard.of:
        return True
    scan = folder.scan()
    return all(task.id in scan.receipts or task.id in scan.failures for task in folder.tasks())
