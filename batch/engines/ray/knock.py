"""Asks a cluster whether it lets this machine in: a process of its own, for Ray prints what it finds there."""

from __future__ import annotations

from typing import Any

from batch.base.processes import Parent


def main() -> None:
    """Tell whether a cluster refuses the token, or the want of one, with which this process is started."""
    parent = Parent()
    try:
        from ray import _raylet

        core: Any = _raylet  # without types
        core.GcsClient(address=parent.request["address"])
    except Exception as error:  # noqa: BLE001 - releases without tokens, a cluster in trouble: joining says it better
        parent.tell({"refused": type(error).__name__ == "AuthenticationError"})
    else:
        parent.tell({"refused": False})


if __name__ == "__main__":
    main()
