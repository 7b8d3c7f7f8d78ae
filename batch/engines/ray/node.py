"""A machine of the cluster, as a run knows it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError

from batch.base.text import plural
from batch.engines.death import Death
from batch.engines.ray.aside import aside

if TYPE_CHECKING:
    from batch.records.spec import ModelSource

ANSWER_S = 20.0
"""A head that has not answered by then is gone, or its machine is."""


@dataclass(slots=True, kw_only=True)
class Node:
    """Alive when it was found. ``units`` are the devices that it offers."""

    id: str
    name: str
    """For people: its host name, with its address where another node has the same."""
    is_here: bool
    """It is the machine that the run was started on."""
    units: int
    versions: Mapping[str, str] = field(default_factory=dict)
    shares_folder: bool = False
    shares_cache: bool = False
    cache: str = ""
    """The folder of embeddings there."""
    sources: Mapping[str, ModelSource] = field(default_factory=dict)
    """Where its models are."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Where LoRAs and autoencoders are that lie elsewhere there, by where they are for the run."""
    has: set[str] = field(default_factory=set)
    """Embeddings that are there, by name."""

    def explained(self, error: Exception) -> Death:
        """How a process there ended of which Ray says this."""
        said = reason(error)
        if isinstance(error, RayActorError) and error.preempted:
            return Death(f"{self._place} was taken away (preempted)", said, innocent=True, gone=True)
        if not is_alive(self.id):
            return Death(f"{self._place} has left the cluster", said, innocent=True, gone=True)
        if _UNEXPLAINED in str(error) and _DETAIL not in str(error):
            # Of a process that ended, its node says how. The cluster misses a node only after a while.
            return Death(f"{self._place} does not answer any more", said, innocent=True)
        memory = "running low on memory" in str(error)  # Ray's own watch; it names want of memory as a guess, too
        return Death(f"the process that holds its device ended: {said}{_hint(said)}", "", memory)

    @property
    def _place(self) -> str:
        """As those who sit there call it: the seats of the machine that the run was started on have no host."""
        return "this machine" if self.is_here else self.name


def _hint(said: str) -> str:
    """What Ray's words for an end of which nothing is known mostly mean."""
    killed = "connection error code 2" in said or "SIGKILL" in said
    return " (killed from outside, or by the system when memory ran out)" if killed else ""


_UNEXPLAINED, _DETAIL = "died unexpectedly before finishing", "Worker exit detail: "


def reason(error: Exception) -> str:
    """What Ray says of a death, without what it says of itself."""
    if isinstance(error, ActorUnschedulableError):
        return "Ray has no place for it"
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("\t")]
    said = lines[-1].strip() if lines else type(error).__name__
    return said.rpartition(_DETAIL)[2].partition(" Some common causes")[0][:200]


class HeadLostError(Exception):
    """The cluster's first machine, which knows all others, does not answer."""


def alive() -> list[dict[str, Any]]:
    """The nodes of the cluster as Ray describes them. Raises :class:`HeadLostError`.

    Of a head that does not answer, Ray says nothing for a minute, and then ends the process that has asked.
    """
    listed: Any = ray.nodes  # without types
    nodes = aside(listed)
    if not wait([nodes], ANSWER_S).done:
        raise HeadLostError(f"its first machine has not answered for {ANSWER_S:.0f} s")
    return [node for node in nodes.result() if node["Alive"]]


def is_alive(identity: str) -> bool:
    """Whether a node is there, as far as the cluster knows."""
    return any(node["NodeID"] == identity for node in alive())


def found(kind: str, here: str) -> dict[str, Node]:
    """Nodes that offer devices of a kind, by their ids. ``here`` is the id of the one that the run is on."""
    there = alive()
    names = [node["NodeManagerHostname"] for node in there]
    nodes = {}
    for node in there:
        host, units = node["NodeManagerHostname"], int(node["Resources"].get(kind, 0))
        name = host if names.count(host) == 1 else f"{host} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})"
        if units:
            nodes[node["NodeID"]] = Node(id=node["NodeID"], name=name, is_here=node["NodeID"] == here, units=units)
    return nodes


def offer() -> str:
    """What the cluster has, in words."""
    there = alive()
    cpus = int(sum(node["Resources"].get("CPU", 0) for node in there))
    gpus = int(sum(node["Resources"].get("GPU", 0) for node in there))
    return f"{plural(gpus, 'GPU') if gpus else 'no GPU'} and {plural(cpus, 'CPU')} on {plural(len(there), 'node')}"
