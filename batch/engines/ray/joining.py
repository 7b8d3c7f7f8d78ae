"""Joining a Ray cluster that is there."""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING

from batch.base import install
from batch.base.errors import Interrupted, UserError, in_words
from batch.engines.base import TICK_S
from batch.engines.ray.aside import aside
from batch.engines.ray.tokens import COPY

if TYPE_CHECKING:
    from batch.engines.base import Helm
    from batch.engines.ray.tokens import Tokens

JOIN_S = 60.0
"""A cluster that has not answered by then is not there."""

REACH_S = 5.0

CLIENT = "ray://"
"""How the address of a cluster begins that this machine does not belong to."""

FORMS = "HOST:PORT as `ray start` has told it (port 6379), or ray://HOST:10001 from outside of the cluster"


def joins(address: str) -> bool:
    """Whether a run with that ``--ray-address`` joins a cluster that is there."""
    return (address or os.environ.get("RAY_ADDRESS", "")) not in ("", "local")


def join(address: str, stop: Helm, tokens: Tokens) -> bool:
    """Join the cluster of a ``--ray-address``; whether this machine is outside of it.

    Takes a minute at most, and can be stopped at any time. Raises :class:`UserError` where that cannot be.
    """
    address = reached(address)
    joined, deadline = aside(partial(_connect, address, tokens)), time.monotonic() + JOIN_S
    while not wait([joined], TICK_S).done:
        if stop.is_set():
            raise Interrupted(stop.reason)
        if time.monotonic() > deadline:
            raise UserError(f"the Ray cluster at {address} has not answered within {JOIN_S:.0f} s")
    error = joined.exception()
    if isinstance(error, UserError):
        raise error
    if error is not None:
        raise _not_joined(address, first_line(error))
    return address.startswith(CLIENT)


def _connect(address: str, tokens: Tokens) -> None:
    import ray

    if address.startswith(CLIENT):
        tokens.outside()
    else:
        tokens.join(address)
    ray.init(address=address, log_to_driver=False, configure_logging=False)


def _require_client() -> None:
    """Raise :class:`UserError` where Ray was installed without its client."""
    if importlib.util.find_spec("grpc") is None:
        raise UserError(
            f"--ray-address {CLIENT}… reaches a cluster from outside, which needs Ray's client; install it with\n"
            f"    {install.packages(['ray[client]'])}"
        )


def reached(address: str) -> str:
    """The address that a ``--ray-address`` stands for. Raises :class:`UserError` where nobody listens there."""
    variable = os.environ.get("RAY_ADDRESS", "")
    by_variable = bool(variable) and address in ("", "auto")  # so does Ray decide
    address, named_in = (variable, "RAY_ADDRESS") if by_variable else (address, "--ray-address")
    if address == "auto":
        return address
    said = f"{named_in}{' ' if named_in.startswith('-') else '='}{address}"
    if address.startswith(("http://", "https://")):
        raise UserError(
            f"{said} is where `ray job submit` sends jobs, and no run can join a cluster there. Write "
            f"--ray-address {FORMS}"
        )
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not (host and port.isdigit()):
        raise UserError(f"{said}: write auto for the cluster that this machine belongs to, {FORMS}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"nothing answers at {said}: {in_words(error)}") from None
    if address.startswith(CLIENT):
        _require_client()
    return address


def _not_joined(address: str, said: str) -> UserError:
    """With what helps, where that is known."""
    more = ""
    if "Unauthenticated" in said or "InvalidAuthToken" in said:
        more = f". It asks for a token that this machine does not have: {COPY}"
    elif "Starting Ray client server failed" in said:
        more = ". That file is on the cluster's first machine, in the logs of Ray's session; a second try may do"
    return UserError(f"the Ray cluster at {address} cannot be joined: {said}{more}")


def first_line(error: BaseException) -> str:
    """What it says, with the end of a traceback that may follow."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") and lines[1:] else lines[0]
