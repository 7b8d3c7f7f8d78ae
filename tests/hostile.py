"""What somebody may have put where a file is read: each kind once, for the tests of several rooms."""

import os
import re
import time
from contextlib import contextmanager

import pytest

OLD_SETTING = re.compile(r'\s*([\w][\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
"""How A1111's settings were read once: right, and far too slow for some texts."""

MILLION = 10**6

NASTY_LINES = {
    "letters": "a" * MILLION,
    "pairs": "a " * (MILLION // 2),
    "blanks": " " * MILLION,
    "colons": ":" * MILLION,
    "keys": "a:" * (MILLION // 2),
    "fields": ", a: b" * (MILLION // 6),
    "open quote": 'a: "' + "b" * MILLION,
    "escapes": 'a: "' + "\\" * MILLION,
    "quotes": 'a: "\\",' * (MILLION // 7),
    "dashes": "-a " * (MILLION // 3),
    "tabs": "a:\t" * (MILLION // 3),
}
"""Behind ``Steps: 1, `` of A1111's last line."""

NASTY_JSON = {
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 50_000,
    "digits": '{"seed": ' + "9" * 5_000 + "}",
    "many digits": '{"seed": ' + "9" * 4_000 + "}",
    "half a letter": '{"positive_prompt": "\\ud800", "prompt": "\\udc00"}',
    "many nodes": '{"a": [' + "{}," * 80_000 + "{}]}",
    "a cycle of nodes": '{"1": {"inputs": {"x": ["2", 0]}}, "2": {"inputs": {"x": ["1", 0]}}}',
    "not a number": '{"positive_prompt": "a", "seed": NaN, "width": 8, "height": 8, "steps": 1}',
    "no end": '{"positive_prompt": "a", "seed": 1, "width": Infinity, "height": 8, "steps": 1}',
    "too large": '{"positive_prompt": "a", "seed": 1, "width": 8, "height": 8, "steps": 1, "cfg_scale": 1e999}',
    "a list": "[]",
    "a text": '"a"',
    "null": "null",
}


@contextmanager
def quick(seconds: float):
    """What is done inside takes no longer; of this process's own time, since others may have the cores."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def pipe(path):
    """A named pipe: whoever opens it to read waits for a writer."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no named pipes here")
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path
