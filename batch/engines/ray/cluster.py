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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import install
from batch.base.errors import Interrupted, StoppedEarly, UserError, in_words
from batch.base.processes import ChildProcess
from batch.engines.base import TICK_S
from batch.engines.ray.choice import GPU
from batch.engines.ray.tokens import COPY, Tokens

if TYPE_CHECKING:
    from batch.engines.base import Helm

JOIN_S = 60.0
"""A cluster that has not answered by then is not there."""

REACH_S = 5.0

CLIENT = "ray://"
"""How the address of a cluster begins that this machine does not belong to."""

STORE_BYTES = 128 * 2**20
"""Of Ray's own memory: what travels on one machine is small."""

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
        self._joined = self._outside = self._headless = False
        self._guard: ChildProcess | None = None
        self._tokens = Tokens()
        self._while_open = ExitStack()

    def open(self, address: str, stop: Helm) -> None:
        """Join the cluster at an address, or start one. Raises :class:`UserError` where that cannot be."""
        require()
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        if ray.is_initialized():  # by whoever called this program as a library
            return
        if joins(address):
            variable = os.environ.get("RAY_ADDRESS", "")
            by_variable = bool(variable) and address in ("", "auto")  # so does Ray decide
            named_in = "RAY_ADDRESS" if by_variable else "--ray-address"
            self._join(variable if by_variable else address, stop, named_in)
        else:
            self._start()
        self._while_open.enter_context(_hushed())

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
        """Raise :class:`StoppedEarly` where the cluster is reached no more."""
        from batch.engines.ray.node import HeadLostError

        try:
            yield
        except HeadLostError as error:
            self._headless = True
            raise StoppedEarly(
                f"the Ray cluster is lost: {error}. The same command goes on when it is there again"
            ) from error
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

        return self._headless or (self._outside and not ray.is_initialized())

    def close(self) -> None:
        """Leave it, and end it where it is this run's own."""
        if (self._joined or self._own) and not self._headless:
            import ray

            with suppress(Exception):
                ray.shutdown()
        self._tokens.forget()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
        if self._guard is not None:
            self._guard.__exit__()
        self._while_open.close()
        self._own, self._joined, self._guard = None, False, None

    # One of its own

    def _start(self) -> None:
        import psutil
        import ray

        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self._tokens.own()
        # Short: sockets lie in it, whose paths have 107 letters at most.
        place = "/tmp" if os.name == "posix" else None
        self._own = Path(tempfile.mkdtemp(prefix="rb-ray-", dir=place))
        before = set(psutil.Process().children(recursive=True))
        try:
            with _handlers_kept(), _deaf_to_the_terminal():
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

    def _join(self, address: str, stop: Helm, named_in: str) -> None:
        """As far as it takes, but no longer than a minute, and stopped at any time."""
        _reach(address, named_in)
        self._outside = address.startswith(CLIENT)
        if self._outside:
            _require_client()
        failed: list[BaseException] = []
        thread = threading.Thread(target=self._connect, args=(address, failed), daemon=True, name="ray")
        with _handlers_kept():
            thread.start()
            self._await(thread, address, stop)
        if failed and isinstance(failed[0], UserError):
            raise failed[0]
        if failed:
            raise _not_joined(address, _first_line(failed[0]))
        self._joined = True

    def _await(self, thread: threading.Thread, address: str, stop: Helm) -> None:
        deadline = time.monotonic() + JOIN_S
        while thread.is_alive():
            thread.join(TICK_S)
            if stop.is_set():
                raise Interrupted(stop.reason)
            if time.monotonic() > deadline:
                raise UserError(f"the Ray cluster at {address} has not answered within {JOIN_S:.0f} s")

    def _connect(self, address: str, failed: list[BaseException]) -> None:
        import ray

        try:
            if self._outside:
                self._tokens.outside()
            else:
                self._tokens.join(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failed.append(error)


def joins(address: str) -> bool:
    """Whether a run with that ``--ray-address`` joins a cluster that is there."""
    return (address or os.environ.get("RAY_ADDRESS", "")) not in ("", "local")


def _require_client() -> None:
    """Raise :class:`UserError` where Ray was installed without its client."""
    if importlib.util.find_spec("grpc") is None:
        raise UserError(
            f"--ray-address {CLIENT}… reaches a cluster from outside, which needs Ray's client; install it with\n"
            f"    {install.packages(['ray[client]'])}"
        )


def _reach(address: str, named_in: str) -> None:
    """Raise :class:`UserError` where nobody listens at ``HOST:PORT``; ``named_in`` is the option or variable."""
    if address == "auto":
        return
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


FORMS = "HOST:PORT as `ray start` has told it (port 6379), or ray://HOST:10001 from outside of the cluster"


def _not_joined(address: str, said: str) -> UserError:
    """With what helps, where that is known."""
    more = ""
    if "Unauthenticated" in said or "InvalidAuthToken" in said:
        more = f". It asks for a token that this machine does not have: {COPY}"
    elif "Starting Ray client server failed" in said:
        more = ". That file is on the cluster's first machine, in the logs of Ray's session; a second try may do"
    return UserError(f"the Ray cluster at {address} cannot be joined: {said}{more}")


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep Ray from printing what becomes of its nodes: the run says that, where its bars do not stand."""
    try:
        from ray._private import worker

        before = worker.print_to_stdstream
    except (ImportError, AttributeError):  # another release, which may print it
        yield
        return
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def _first_line(error: BaseException) -> str:
    """What it says, with the end of a traceback that may follow."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") and lines[1:] else lines[0]


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Set the handlers of signals anew that Ray puts its own in front of: one of those aborts at SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not None}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")


@contextmanager
def _deaf_to_the_terminal() -> Iterator[None]:
    """What is started here is not to be ended by a terminal that is closed."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def without_devices(kind: str, offered: str, *, own: bool) -> UserError:
    """What to say where there is nothing to render on."""
    where = "this machine, as Ray sees it," if own else "the Ray cluster"
    if kind == GPU:
        return UserError(f"{where} has {offered}. Render on its CPUs with --devices cpu")
    return UserError(f"{where} has {offered}: there is nothing to render on")
