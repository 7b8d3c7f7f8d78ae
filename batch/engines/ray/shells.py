"""Makes the processes of a run on the nodes of the cluster, with what each of them needs to find the program."""

from __future__ import annotations

import os
import pickle
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from batch.engines.ray import remote
from batch.engines.ray.choice import CPU
from batch.engines.ray.wire import Start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch.engines.ray.node import Node
    from batch.render.backend import Backend

VARIABLES = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "RUN_BATCH_PREDICT")
"""What holds on every node."""

FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "RUN_BATCH_CACHE", "RUN_BATCH_SHIPPED")
"""What holds where that folder is there."""


class Shells:
    """Of one run."""

    def __init__(self, backend: Backend, kind: str, run: str) -> None:
        """``run`` is what the run is called."""
        self._backend, self._kind, self._run = backend, kind, run
        self._namespace = f"run_batch {secrets.token_hex(4)}"
        self._made = 0
        register: Any = cloudpickle.register_pickle_by_value
        register(remote)  # the node may not have it
        there = {name: os.environ[name] for name in (*VARIABLES, *FOLDERS) if os.environ.get(name)}
        self._home = (
            _code(),
            {name: value for name, value in there.items() if name in VARIABLES},
            {name: str(Path(value).absolute()) for name, value in there.items() if name in FOLDERS},
        )

    def scout(self, node: Node) -> Any:
        """A process that looks at a node. It takes nothing that Ray counts."""
        made = _actor(remote.RunBatchScout, {"hear": ("hear",)}, num_cpus=0)
        return made.options(**self._known_as("looks at", node)).remote(*self._home)

    def post(self, node: Node) -> Any:
        """A host for a worker, on a device of a node as soon as one is free."""
        takes = {"num_cpus": 1} if self._kind == CPU else {"num_cpus": 0, "num_gpus": 1}
        groups = {"hear": ("hear",), "tell": ("tell",), "more": ("stacks", "kill", "close")}
        start = Start(self._backend, "cpu" if self._kind == CPU else None, os.environ.get("OMP_NUM_THREADS"))
        made = _actor(remote.RunBatchHost, groups, **takes)
        return made.options(**self._known_as("renders on", node)).remote(*self._home, pickle.dumps(start))

    def _known_as(self, does: str, node: Node) -> Mapping[str, Any]:
        """Where a process is, and its name in ``ray list actors``."""
        self._made += 1
        name = f"run_batch {self._run} {does} {node.name} #{self._made}"
        return {"name": name, "namespace": self._namespace, "scheduling_strategy": _at(node)}


def _actor(shell: type, groups: Mapping[str, Sequence[str]], **options: Any) -> Any:
    """Ray repeats nothing: what was done, the run folder knows. The methods of a group are called at once."""
    for group, methods in groups.items():  # at a call it cannot be named through Ray's client
        for name in methods:
            ray.method(concurrency_group=group)(getattr(shell, name))
    make: Any = ray.remote
    sizes = {group: len(methods) for group, methods in groups.items()}
    return make(max_restarts=0, max_task_retries=0, concurrency_groups=sizes, **options)(shell)


def _at(node: Node) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def _code() -> str:
    """The folder with the program's code, where that is a checkout; "" where it is installed."""
    folder = Path(__file__).resolve().parents[3]
    return "" if folder.name in ("site-packages", "dist-packages") else str(folder)
