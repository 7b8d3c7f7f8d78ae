"""What Ray runs on a node: shells that find this program there and hand over to it.

They are sent as they are, for the node may not have the program: at its top this module imports nothing but
Python's own modules. What goes in and out is bytes and plain data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.engines.ray.relay import Relay
    from batch.engines.ray.survey import Survey


def find(code: str, variables: Mapping[str, str], folders: Mapping[str, str]) -> str:
    """Make the program ready to be imported; why it cannot be, "" where it can.

    ``code`` is the folder in which the run's own lies, "" where that is installed. Of ``folders``, which are
    variables too, those are set that are there.
    """
    there = {name: value for name, value in folders.items() if os.path.isdir(value)}  # noqa: PTH112
    os.environ.update({**variables, **there})
    if code and os.path.isdir(os.path.join(code, "batch")) and code not in sys.path:  # noqa: PTH112, PTH118
        sys.path.insert(0, code)
        paths = [code, os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # of processes that it starts
    try:
        import batch.engines.ray.survey  # noqa: F401
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return ""


class RunBatchScout:
    """Looks at a node and fetches its models."""

    def __init__(self, code: str, variables: Mapping[str, str], folders: Mapping[str, str]) -> None:
        self._why = find(code, variables, folders)
        self._survey: Survey | None = None

    def hello(self) -> Mapping[str, str]:
        """Versions by name, and under ``cache`` the folder of embeddings; what is missing under ``error``."""
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        if self._why:
            return {"error": self._why, "python": sys.executable, "python version": python}
        from batch.engines.ray.survey import Survey, versions

        self._survey = Survey()
        return {**versions(), "cache": self._survey.cache()}

    def probe(self, data: bytes) -> bool:
        """Whether a folder is the one that it is elsewhere."""
        assert self._survey is not None
        return self._survey.probe(data)

    def fetch(self, data: bytes) -> bytes:
        """Have models there."""
        assert self._survey is not None
        return self._survey.fetch(data)

    def hear(self) -> list[bytes]:
        """What is to be told of that since the last call, which waits for it."""
        assert self._survey is not None
        return self._survey.hear()


class RunBatchHost:
    """The host of one worker."""

    def __init__(self, code: str, variables: Mapping[str, str], folders: Mapping[str, str], start: bytes) -> None:
        if why := find(code, variables, folders):
            raise RuntimeError(why)
        from batch.engines.ray.relay import Relay

        self._relay: Relay = Relay(start)

    def tell(self, number: int, data: bytes, *parts: bytes) -> None:
        """The message of that number."""
        self._relay.tell(number, data, parts)

    def hear(self, heard: int) -> tuple[int, list[bytes]]:
        """What was said from message ``heard`` on, which all before have reached; waits for a while."""
        return self._relay.hear(heard)

    def stacks(self) -> str:
        """Where every thread of the worker is."""
        return self._relay.stacks()

    def kill(self) -> None:
        """End the worker at once."""
        self._relay.kill()

    def close(self, *, at_once: bool) -> None:
        """End the worker, when what it saves is saved or at once, and remove what it leaves."""
        if at_once:
            self._relay.kill()
        self._relay.close()
