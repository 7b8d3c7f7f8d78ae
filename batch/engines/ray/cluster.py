"""A run's connection to Ray: a cluster that is there, or one of this machine that the run starts and ends."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import install
from batch.base.errors import StoppedEarly, UserError
from batch.base.processes import ChildProcess
from batch.engines.ray.choice import GPU
from batch.engines.ray.joining import first_line, join, joins
from batch.engines.ray.tokens import Tokens

if TYPE_CHECKING:
    from batch.engines.base import Helm

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
            with _handlers_kept():
                self._outside = join(address, stop, self._tokens)
            self._joined = True
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
            raise UserError(f"Ray cannot be started on this machine: {first_line(error)}") from None
        new = set(psutil.Process().children(recursive=True)) - before
        ended = {"processes": [[process.pid, process.create_time()] for process in new], "folder": str(self._own)}
        self._guard = ChildProcess("batch.engines.ray.guard", ended)


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
