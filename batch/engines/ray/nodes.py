"""Gets nodes ready: their versions are those of all, they have the models, and it is known what they see."""

from __future__ import annotations

import pickle
import secrets
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from batch.base.errors import BatchError, UserError
from batch.engines.ray import node as nodes
from batch.engines.ray.agreement import Agreement
from batch.engines.ray.errands import Errands
from batch.engines.ray.survey import versions
from batch.engines.ray.wire import Fetch, Probe
from batch.records.events import Downloading, Received

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.engines.ray.choice import RayChoice
    from batch.engines.ray.errands import Errand
    from batch.engines.ray.node import Node
    from batch.engines.ray.shells import Shells
    from batch.engines.ray.wire import Fetched
    from batch.records.events import Event
    from batch.records.tasks import Task, Weights

LOOK_S = 3.0
"""So often it is looked for nodes that have come or gone."""


class Nodes:
    """Those of the cluster that offer what a run needs. ``folders`` are the run's records and its cache."""

    def __init__(
        self, kind: str, here: str, shells: Shells, choice: RayChoice, folders: tuple[Path, Path]
    ) -> None:
        self.kind, self._here = kind, here
        self._shells, self._folders = shells, folders
        self._wanted = Fetch(choice.models, _beside(choice.tasks))
        self._agreement = Agreement(versions())
        self._errands = Errands()
        self._seen: set[str] = set()
        self._looked = float("-inf")
        self._begun = False
        """The first nodes have agreed: from now on they come one by one."""
        self._waiting: list[tuple[Node, Any]] = []
        """Looked at, each with its scout."""
        self.ready: deque[Node] = deque()
        self.told: deque[Event] = deque()
        self.left_out: list[str] = []
        """Nodes that cannot be used, and why."""
        self.error: BatchError | None = None
        """Why something that images need is not to be had on a node."""

    @property
    def refs(self) -> list[Any]:
        """What is waited for."""
        return self._errands.refs

    @property
    def busy(self) -> bool:
        """Whether a node is on its way."""
        return bool(self._errands)

    def step(self, answered: list[Any]) -> None:
        """Go on with what is answered, and look around now and then.

        Raises :class:`UserError` for nodes that are there from the beginning and differ.
        """
        self._errands.go_on(answered)
        if time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            for identity, node in nodes.found(self.kind, self._here).items():
                if identity not in self._seen:
                    self._seen.add(identity)
                    self._errands.begin(self._look(node))
        if self._begun or (self._seen and not self._errands):
            self._agree()

    def _agree(self) -> None:
        """Let those go on whose versions are those of all."""
        if not self._begun and (said := self._agreement.broken([node for node, _ in self._waiting])):
            raise UserError(said)
        self._begun = True
        for node, scout in self._waiting:
            if said := self._agreement.objection(node):
                self._leave_out(node, scout, said)
                continue
            self._errands.begin(self._fetch(node, scout))
            self._errands.begin(self._listen(node, scout))
        self._waiting.clear()

    def _leave_out(self, node: Node, scout: Any, why: str) -> None:
        self.left_out.append(f"{node.name} is not used: {why}")
        _end(scout)

    def _look(self, node: Node) -> Errand:
        """Ask for its versions, and what it sees."""
        scout = self._shells.scout(node)
        try:
            said = yield scout.hello.remote()
            if "error" in said:
                raise UserError(_not_there(node, said))
            node.cache = said["cache"]
            node.versions = {name: text for name, text in said.items() if name != "cache"}
            records, cache = self._folders
            node.shares_folder = yield from _shared(scout, records)
            node.shares_cache = yield from _shared(scout, cache)
        except RayError as error:
            self._leave_out(node, scout, nodes.reason(error))
        except UserError as error:
            self._leave_out(node, scout, str(error))
            self.error = self.error or error
        else:
            self._waiting.append((node, scout))

    def _fetch(self, node: Node, scout: Any) -> Errand:
        """Have its models there."""
        try:
            found: Fetched = pickle.loads((yield scout.fetch.remote(pickle.dumps(self._wanted))))
        except RayError as error:
            self._leave_out(node, scout, nodes.reason(error))
            return
        if found.error is not None:
            self.error = self.error or type(found.error)(f"{node.name}: {found.error}")
            self._leave_out(node, scout, str(found.error))
            return
        node.sources, node.beside = found.sources, found.beside
        self.ready.append(node)
        _end(scout)

    def _listen(self, node: Node, scout: Any) -> Errand:
        """Pass on what a download tells."""
        with suppress(RayError):  # it is ended when all is there
            while True:
                for data in (yield scout.hear.remote()):
                    self.told.append(_prefixed(node, pickle.loads(data)))


def _beside(tasks: Sequence[Task]) -> tuple[Weights, ...]:
    """LoRAs and autoencoders, each file once."""
    found = (item for task in tasks for item in (*task.loras, task.vae) if item is not None)
    return tuple({item.path: item for item in found}.values())


def _shared(scout: Any, folder: Path) -> Any:
    """Whether a folder of this machine is the same one there, both ways."""
    path, token = folder / f".probe-{secrets.token_hex(6)}", secrets.token_hex(16)
    probe = Probe(path=str(path.absolute()), token=token, answer=".answer")
    answer = Path(probe.path + probe.answer)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(token, encoding="ascii")
        seen = yield scout.probe.remote(pickle.dumps(probe))
        return seen and answer.is_file() and answer.read_text(encoding="ascii") == token[::-1]
    except OSError:
        return False
    finally:
        for file in (path, answer):
            with suppress(OSError):
                file.unlink(missing_ok=True)


def _end(actor: Any) -> None:
    with suppress(RayError):
        ray.kill(actor)


def _prefixed(node: Node, event: Event) -> Event:
    if isinstance(event, Downloading):
        return Downloading(f"{node.name}: {event.text}")
    if isinstance(event, Received):
        return Received(f"{node.name}: {event.name}", event.done, event.total)
    return event


def _not_there(node: Node, said: dict[str, str]) -> str:
    return (
        f"this program cannot be imported on {node.name} by Python {said['python version']} ({said['python']}): "
        f"{said['error']}. Install it there, with the same versions as here, or start the run from a folder that "
        "every node sees"
    )
