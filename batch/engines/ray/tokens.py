"""The token that a Ray cluster may ask for.

Ray goes by the environment, and not by what the cluster wants. Whoever shows a token asks for one, too: a run that
does so in a cluster without tokens is never answered by its own workers. So a cluster is asked first.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import Any

from batch.base.errors import UserError
from batch.base.processes import ChildProcess

MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"

KNOCK_S = 15.0
"""A cluster that is there answers at once."""

COPY = (
    "copy the file ~/.ray/auth_token of the machine where the cluster was begun to the same place here, or "
    "name it in RAY_AUTH_TOKEN_PATH"
)


class Tokens:
    """What a run sets in its environment for a cluster, until it is forgotten."""

    def __init__(self) -> None:
        self._before: dict[str, str | None] = {}

    def own(self) -> None:
        """For a cluster of the run's own: a token of its own, where Ray would leave one in the home folder."""
        self._note(MODE)  # Ray sets it by itself
        if MODE not in os.environ and not _is_there():
            self._set(TOKEN, secrets.token_hex(32))

    def outside(self) -> None:
        """For a cluster that this machine does not belong to: show the token if there is one."""
        if MODE not in os.environ and _is_there():
            self._set(MODE, "token")

    def join(self, address: str) -> None:
        """Show a cluster a token if it asks for one, and else none. Raises :class:`UserError` where it refuses."""
        mode = os.environ.get(MODE, "").lower()
        if not (place := _found(address)) or not _refuses(place, mode or "disabled"):
            if not mode and place:
                self._set(MODE, "disabled")  # of itself, Ray would show one that is there at ``auto``
            return
        cluster = f"the Ray cluster at {place if address == 'auto' else address}"
        if mode == "token":
            raise UserError(f"{cluster} does not accept the token of this machine: {COPY}")
        if mode:
            raise UserError(f"{cluster} asks for a token, and {MODE} is {mode} here: write token")
        if not _is_there():
            raise UserError(f"{cluster} asks for a token, and this machine has none: {COPY}")
        self._set(MODE, "token")
        if _refuses(place, "token"):
            raise UserError(f"{cluster} does not accept the token of this machine: {COPY}")

    def forget(self) -> None:
        """Set the environment back."""
        if not self._before:
            return
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        self._before.clear()
        _read_anew()

    def _set(self, name: str, value: str) -> None:
        self._note(name)
        os.environ[name] = value
        _read_anew()

    def _note(self, name: str) -> None:
        self._before.setdefault(name, os.environ.get(name))


def _refuses(place: str, mode: str) -> bool:
    with ChildProcess("batch.engines.ray.knock", {"address": place}, {MODE: mode}) as child:
        try:
            answer = child.answer(KNOCK_S)
        except TimeoutError:
            return False
    return answer is not None and answer["refused"] is True


def _found(address: str) -> str:
    """``HOST:PORT`` of a cluster; "" where that cannot be told: Ray says why when it is joined."""
    with suppress(Exception):  # of this release
        from ray._private.services import canonicalize_bootstrap_address

        return canonicalize_bootstrap_address(address) or ""
    return ""


def _is_there() -> bool:
    """Whether this machine has a token; True with a release of Ray that knows of none."""
    with suppress(ImportError, AttributeError):
        loader = _loader()
        loader.reset_cache()
        return bool(loader.has_token(ignore_auth_mode=True))
    return True


def _read_anew() -> None:
    """Ray keeps in mind what it has read of the environment."""
    with suppress(ImportError, AttributeError):
        _loader().reset_cache()
        _raylet().Config.initialize("")


def _loader() -> Any:
    return _raylet().AuthenticationTokenLoader.instance()


def _raylet() -> Any:
    """Ray's own core, without types."""
    from ray import _raylet

    return _raylet
