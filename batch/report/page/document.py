"""One file out of a template, its styles and its scripts: it opens from disk, and asks no network for anything.

A script says what it needs of others as modules do (``import { a } from "./b.js"``). A page that was opened from
disk may load no modules, so they are put behind one another, each after those that it imports; the names of all of
them share one scope.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=async |function |class |const |let )", re.MULTILINE)

FILES = "'self' file:"
"""Of a policy: what lies beside the page."""


def document(template: str, *, script: str, styles: Sequence[str], files: bool = False, **parts: object) -> str:
    """A page of a template in this package.

    ``script`` and ``styles`` are names of files in ``scripts/`` and ``styles/``. No other script runs in the page,
    save, with ``files``, those that lie beside it. ``parts`` are what the template puts in: texts are escaped, and
    :class:`~markupsafe.Markup` (JSON of :func:`batch.store.live.in_script`, say) is not.
    """
    code = bundle(script)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return _templates().get_template(template).render(
        script=Markup(code),
        styles=Markup("".join(_read("styles", f"{name}.css") for name in styles)),
        allowed_scripts=Markup(f"'sha256-{digest}'{f' {FILES}' if files else ''}"),
        **parts,
    )  # fmt: skip


@cache
def bundle(script: str) -> str:
    """A script and all that it imports, each once, as one text."""
    parts = dict(_with_imports(script, set()))
    return '"use strict";\n' + "\n".join(_EXPORT.sub("", _IMPORT.sub("", text)) for text in parts.values())


def _with_imports(name: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    if name in seen:
        return
    seen.add(name)
    text = _read("scripts", f"{name}.js")
    for other in _IMPORT.findall(text):
        yield from _with_imports(other, seen)
    yield name, text


def _read(*path: str) -> str:
    return resources.files("batch.report.page").joinpath(*path).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("batch.report.page", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
