"""What a worker says, kept until the run has it."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from batch.engines.ray.wire import Delivered
from batch.records.events import Beat

if TYPE_CHECKING:
    from batch.engines.ray.wire import FromHost

HEARD_S = 10.0
"""One call waits so long for something to be said."""

BEAT_S = 1.0
"""Signs of life that tell nothing new are passed on so often."""

MOST = 2
"""Images on their way: one that travels and one that waits. Each may have 50 MB."""


class Outbox:
    """Messages numbered from 0. Each is said again until whoever asks is past it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._first = 0
        self._waiting: deque[FromHost] = deque()
        self._given = 0
        """Messages before that number have been handed out."""
        self._urgent = False
        self._answered = 0.0
        self._last: tuple[str, str] = ("", "")
        """Image and stage of the last sign of life."""
        self._most = MOST

    def put(self, message: FromHost) -> None:
        """Say something; an image waits until there is room for it."""
        with self._condition:
            if isinstance(message, Beat):
                same, self._last = self._last == (message.name, message.stage), (message.name, message.stage)
                if same and self._is_beat_waiting():
                    self._waiting.pop()
                self._urgent |= not same
            else:
                self._urgent = True
                if isinstance(message, Delivered):
                    self._condition.wait_for(lambda: self._images() < self._most)
            self._waiting.append(message)
            self._condition.notify_all()

    def after(self, heard: int) -> tuple[int, list[bytes]]:
        """The number of the first message from ``heard`` on, and it with those that follow; none after a while."""
        with self._condition:
            while self._waiting and self._first < heard:
                self._waiting.popleft()
                self._first += 1
            self._condition.notify_all()
            self._urgent |= self._given > self._first  # an answer was lost
            deadline = time.monotonic() + HEARD_S
            while (left := self._left(deadline)) > 0:
                self._condition.wait(left)
            self._urgent, self._answered = False, time.monotonic()
            self._given = self._first + len(self._waiting)
            return self._first, [pickle.dumps(message) for message in self._waiting]

    def open_wide(self) -> None:
        """Nobody will ask any more: nothing waits for room."""
        with self._condition:
            self._most = sys.maxsize
            self._condition.notify_all()

    def _left(self, deadline: float) -> float:
        """Seconds to wait for more before an answer."""
        if self._urgent:
            return 0.0
        until = self._answered + BEAT_S if self._waiting else deadline
        return min(until, deadline) - time.monotonic()

    def _is_beat_waiting(self) -> bool:
        """Whether the last message is a sign of life that nobody has yet."""
        last = self._first + len(self._waiting) - 1
        return bool(self._waiting) and last >= self._given and isinstance(self._waiting[-1], Beat)

    def _images(self) -> int:
        return sum(isinstance(message, Delivered) for message in self._waiting)
