"""What a manifest says of each image of a run, so that the page can write one of those that were picked.

What ``manifest from RUN`` makes of them in Python: the same axes, so the same ids. Values are texts of YAML
already, since a seed of 64 bits is more than a number of JavaScript holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from batch.manifest import recover
from batch.manifest.recovered import Recovered
from batch.records.tasks import Task

_UNPRINTABLE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
"""What YAML takes as a number alone, and what turns the order of letters round."""


def entries(tasks: Sequence[Task]) -> dict[str, object]:
    """The entries of all images, as plain JSON data.

    ``axes`` has for each axis its values; ``images`` has by id a row of numbers: of what the whole manifest must
    say (``heads``), then of the image's value on each axis, -1 where it has none. What no manifest can say is not
    there. ``repeats`` is that of a measurement, else 0.
    """
    axes, heads = dict[str, _Values](), _Values()
    rows: dict[str, tuple[int, dict[str, int]]] = {}
    for task in tasks:
        try:
            picture = recover.of_task(task)
            own = {
                name: axes.setdefault(name, _Values()).number(_axis(value)) for name, value in picture.axes.items()
            }
        except ValueError:
            continue
        rows[task.id] = heads.number(_head(picture)), own
    return {
        "axes": {name: list(values) for name, values in axes.items()},
        "heads": [json.loads(head) for head in heads],
        "images": {key: [head, *(own.get(name, -1) for name in axes)] for key, (head, own) in rows.items()},
        "repeats": max((task.repeat or 0 for task in tasks), default=0),
    }


class _Values(dict[str, int]):
    """Texts, numbered as they come."""

    def number(self, text: str) -> int:
        return self.setdefault(text, len(self))


def _head(picture: Recovered) -> str:
    """What is said once for all pictures: keys at the top, the output, and what to look at."""
    output: Mapping[str, object] = {} if picture.output == {"format": "png"} else picture.output
    return json.dumps(
        {
            "texts": {name: _yaml(value) for name, value in picture.texts.items()},
            "output": _yaml(output) if output else "",
            "resize": picture.resize,
            "notes": list(picture.notes),
        }
    )


def _axis(value: object) -> str:
    """One value of an axis; an argument that is a list stands in a list of its own, so as to be one value."""
    return _yaml(value[0] if isinstance(value, list) else value)


def _yaml(value: object) -> str:
    """A value as JSON, which is YAML. Raises ``ValueError`` for what is no number."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
