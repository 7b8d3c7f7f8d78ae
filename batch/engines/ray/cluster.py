"""A run's connection to Ray: a cluster that is there, or one of this machine that the run starts and ends."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.base import install
from batch.base.errors import Interrupted, StoppedEarly, UserError, in_words
from batch.base.processes import ChildProcess
from batch.engines.ray.choice import GPU

if TYPE_CHECKING:
    from batch.engines.base import Helm

JOIN_S = 60.0
"""A cluster that has not answered by then is not there."""

REACH_S = 5.0

CLIENT = "ray://"
"""How the address of a cluster begins that this machine does not belong to."""

STORE_BYTES = 128 * 2**20
"""Of Ray's own memory: what travels on one machine is small."""

TICK_S = 0.2

EXTRA = "run-batch[ray]"

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # As without Ray: the system decides which process has to go, and the run says so.
    "RAY_memory_monitor_refresh_ms": "0",
}
"""Environment of a Ray that belongs to one run."""


def require() -> None:
    """Raise :class:`UserError` where Ray is not installed."""
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--engine ray needs Ray, which cannot be imported ({error}); install it with\n"
            f"    {install.packages([EXTRA])}"
        ) from None


class Cluster:
    """Connected until it is closed."""

    def __init__(self) -> None:
        self._own: Path | None = None
        """The folder of a Ray that this run has started."""
        self._joined = self._outside = False
        self._guard: ChildProcess | None = None

    def open(self, address: str, stop: Helm) -> None:
        """Join the cluster at an address, or start one. Raises :class:`UserError` where that cannot be."""
        require()
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        if ray.is_initialized():  # by whoever called this program as a library
            return
        address = address or os.environ.get("RAY_ADDRESS", "")
        if address in ("", "local"):
            self._start()
        else:
            self._join(address, stop)
        _hush()

    @property
    def here(self) -> str:
        """The id of the node that this process is on; "" where it is outside of the cluster."""
        import ray

        if self._outside:  # there, Ray says where its client's other end is
            return ""
        with suppress(Exception):
            return str(ray.get_runtime_context().get_node_id())
        return ""

    @property
    def is_own(self) -> bool:
        """Whether it belongs to this run alone."""
        return self._own is not None

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Raise :class:`StoppedEarly` where a cluster that this machine does not belong to is reached no more."""
        try:
            yield
        except Exception as error:
            if self.is_lost:
                raise StoppedEarly(
                    "the connection to the Ray cluster is lost; the same command goes on"
                ) from error
            raise

    @property
    def is_lost(self) -> bool:
        """Whether it was joined, and is reached no more."""
        import ray

        return self._outside and not ray.is_initialized()

    def close(self) -> None:
        """Leave it, and end it where it is this run's own."""
        if not (self._joined or self._own):
            return
        import ray

        with suppress(Exception):
            ray.shutdown()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
        if self._guard is not None:
            self._guard.__exit__()
        self._own, self._joined, self._guard = None, False, None

    # One of its own

    def _start(self) -> None:
        import psutil
        import ray

        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        # Short: sockets lie in it, whose paths have 107 letters at most.
        place = "/tmp" if os.name == "posix" else None
        self._own = Path(tempfile.mkdtemp(prefix="rb-ray-", dir=place))
        before = set(psutil.Process().children(recursive=True))
        try:
            with _handlers_kept():
                ray.init(
                    address="local", include_dashboard=False, log_to_driver=False, configure_logging=False,
                    object_store_memory=STORE_BYTES, _temp_dir=str(self._own),
                )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - Ray names none
            shutil.rmtree(self._own, ignore_errors=True)
            raise UserError(f"Ray cannot be started on this machine: {_first_line(error)}") from None
        new = set(psutil.Process().children(recursive=True)) - before
        ended = {"processes": [[process.pid, process.create_time()] for process in new], "folder": str(self._own)}
        self._guard = ChildProcess("batch.engines.ray.guard", ended)

    # One that is there

    def _join(self, address: str, stop: Helm) -> None:
        """As far as it takes, but no longer than a minute, and stopped at any time."""
        _reach(address)
        self._outside = address.startswith(CLIENT)
        if self._outside:
            _require_client()
        failed: list[BaseException] = []
        thread = threading.Thread(target=_connect, args=(address, failed), daemon=True, name="ray")
        thread.start()
        deadline = time.monotonic() + JOIN_S
        while thread.is_alive():
            thread.join(TICK_S)
            if stop.is_set():
                raise Interrupted(stop.reason)
            if time.monotonic() > deadline:
                raise UserError(f"the Ray cluster at {address} has not answered within {JOIN_S:.0f} s")
        if failed:
            raise UserError(f"the Ray cluster at {address} cannot be joined: {_first_line(failed[0])}")
        self._joined = True


def _require_client() -> None:
    """Raise :class:`UserError` where Ray was installed without its client; have it show its token.

    Within a cluster Ray finds out by itself whether a token is asked for, from outside it does not.
    """
    if importlib.util.find_spec("grpc") is None:
        raise UserError(
            f"--ray-address {CLIENT}… reaches a cluster from outside, which needs Ray's client; install it with\n"
            f"    {install.packages(['ray[client]'])}"
        )
    with suppress(ImportError, AttributeError):  # releases without tokens
        from ray._private.authentication import authentication_token_setup as tokens

        tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _connect(address: str, failed: list[BaseException]) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except BaseException as error:  # noqa: BLE001 - told by the thread that waits
        failed.append(error)


def _reach(address: str) -> None:
    """Raise :class:`UserError` where nobody listens at ``HOST:PORT``."""
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if address == "auto":
        return
    if not (host and port.isdigit()):
        raise UserError(
            f"--ray-address {address}: write auto for the cluster that this machine belongs to, HOST:PORT as "
            "`ray start` has told it (port 6379), or ray://HOST:10001 from outside of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"nothing answers at --ray-address {address}: {in_words(error)}") from None


def _hush() -> None:
    """Keep Ray from printing what becomes of its nodes: the run says that, where its bars do not stand."""
    with suppress(ImportError, AttributeError):  # of this release; others may print it
        from ray._private.ray_logging import global_worker_stdstream_dispatcher as dispatcher

        dispatcher.remove_handler("ray_print_logs")


def _first_line(error: BaseException) -> str:
    """What it says, with the end of a traceback that may follow."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") and lines[1:] else lines[0]


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray sets handlers of its own, and what it starts is not to be ended by a terminal that is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    before: dict[Any, Any] = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}
    mask = {signal.SIGHUP} if hasattr(signal, "pthread_sigmask") else set()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, mask) if mask else None
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if old is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)


def without_devices(kind: str, offered: str, *, own: bool) -> UserError:
    """What to say where there is nothing to render on."""
    where = "this machine, as Ray sees it," if own else "the Ray cluster"
    if kind == GPU:
        return UserError(f"{where} has {offered}. Render on its CPUs with --devices cpu")
    return UserError(f"{where} has {offered}: there is nothing to render on")
