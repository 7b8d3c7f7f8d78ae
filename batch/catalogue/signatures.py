"""What diffusers' classes take, read from its source: planning asks without importing torch.

Importing diffusers takes seconds and gigabytes; its source answers in a tenth of a second which arguments
a pipeline's call has, what they default to, and which settings a scheduler knows. What cannot be read
(diffusers is missing, the class is somebody's own code) is None: then nothing is checked ahead.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

REQUIRED: Final = object()
"""The default of an argument that has none."""

COMPUTED: Final = object()
"""The default of an argument whose default is not a plain value."""

Parameters = Mapping[str, Any]
"""Arguments in order, each with its default."""


@cache
def _root() -> Path | None:
    spec = find_spec("diffusers")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@cache
def _index(folder: str) -> Mapping[str, Path]:
    """Every class under a folder of diffusers, with the file that defines it."""
    root = _root()
    if root is None:
        return {}
    own = _OF_BLOCKS if folder == "pipelines" else []
    return {name: path for path in [*sorted((root / folder).rglob("*.py")), *own] for name in _classes(path)}


_OF_BLOCKS = sorted(Path(__file__).parent.parent.joinpath("render", "modular").glob("*.py"))
"""Where our own pipelines are, made of blocks of diffusers'."""


def _classes(path: Path) -> list[str]:
    return re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)


def of_blocks() -> frozenset[str]:
    """The pipelines of our own: diffusers has of them blocks only."""
    return frozenset(name for path in _OF_BLOCKS for name in _classes(path) if name.endswith("Pipeline"))


@cache
def _class(folder: str, name: str) -> ast.ClassDef | None:
    path = _index(folder).get(name)
    if path is None:
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def _bases(folder: str, name: str) -> list[str]:
    node = _class(folder, name)
    return [base.id for base in node.bases if isinstance(base, ast.Name)] if node is not None else []


def ancestors(name: str) -> frozenset[str]:
    """A pipeline class's bases, and theirs as far as pipelines define them."""
    direct = _bases("pipelines", name)
    return frozenset(direct).union(*(ancestors(base) for base in direct))


@cache
def _method(folder: str, name: str, method: str) -> ast.FunctionDef | None:
    """A class's own method, else that of the first base which has one."""
    node = _class(folder, name)
    for item in node.body if node is not None else ():
        if isinstance(item, ast.FunctionDef) and item.name == method:
            return item
    inherited = (_method(folder, base, method) for base in _bases(folder, name))
    return next((found for found in inherited if found is not None), None)


@cache
def _parameters(folder: str, name: str, method: str) -> Parameters | None:
    found = _method(folder, name, method)
    if found is None:
        return None
    arguments = found.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [REQUIRED] * (len(positional) - len(arguments.defaults)) + [_value(d) for d in arguments.defaults]
    named = {item.arg: default for item, default in zip(positional, defaults, strict=True) if item.arg != "self"}
    for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        named[item.arg] = REQUIRED if default is None else _value(default)
    return named


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return COMPUTED


def pipeline_call(name: str) -> Parameters | None:
    """The arguments of a pipeline's call; None when diffusers has no such pipeline."""
    return _parameters("pipelines", name, "__call__")


@dataclass(frozen=True, slots=True)
class Argument:
    """What the source of a pipeline says of one argument of its call."""

    name: str
    annotation: ast.expr | None
    optional: bool
    """None is its default, in the call or in the ``encode_prompt`` that it is passed on to."""
    factor: bool
    """It is made a ``float``, whatever its annotation says."""


@cache
def pipeline_argument(name: str, argument: str) -> Argument | None:
    """An argument of a pipeline's call; None where that is not known."""
    call = _method("pipelines", name, "__call__")
    items = [*call.args.posonlyargs, *call.args.args, *call.args.kwonlyargs] if call is not None else []
    item = next((item for item in items if item.arg == argument), None)
    if call is None or item is None:
        return None
    encoding = _parameters("pipelines", name, "encode_prompt") or {}
    factor = {f"float({spelt})" for spelt in (argument, f"self._{argument}", f"self.{argument}")}
    return Argument(
        name=argument,
        annotation=item.annotation,
        optional=None in ((pipeline_call(name) or {})[argument], encoding.get(argument, REQUIRED)),
        factor=any(isinstance(node, ast.Call) and ast.unparse(node) in factor for node in ast.walk(call)),
    )


@cache
def pipeline_limit(name: str, argument: str) -> int | None:
    """The most of an argument that a pipeline's call lets in, where it says so with a plain number."""
    checks = _method("pipelines", name, "check_inputs")
    for node in ast.walk(checks) if checks is not None else ():
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Gt):
            continue
        limit = _value(node.comparators[0])
        if ast.unparse(node.left) == argument and isinstance(limit, int):
            return limit
    return None


def pipeline_components(name: str) -> Parameters:
    """What a pipeline is built from, in order: components first, then its settings; empty when not known."""
    return _parameters("pipelines", name, "__init__") or {}


@cache
def autoencoders(name: str, component: str) -> frozenset[str]:
    """The autoencoders that a pipeline says a component to be; empty where it has none, or does not say."""
    node = _class("pipelines", name)
    methods = node.body if node is not None else []
    for method in methods:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            for item in (*method.args.args, *method.args.kwonlyargs):
                if item.arg == component and item.annotation is not None:
                    return frozenset(
                        re.findall(r"\b(?:Autoencoder|VQ|Asymmetric)\w+", ast.unparse(item.annotation))
                    )
            return frozenset()
    inherited = (autoencoders(base, component) for base in _bases("pipelines", name))
    return next(filter(None, inherited), frozenset())


def pipeline_sample_size(name: str) -> int | None:
    """The ``default_sample_size`` a pipeline sets for itself, in latents."""
    node = _class("pipelines", name)
    for item in ast.walk(node) if node is not None else ():
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "self.default_sample_size":
            value = _value(item.value)
            return value if isinstance(value, int) else None
    return None


def scheduler_settings(name: str) -> Parameters | None:
    """The settings of a scheduler; None when diffusers has no such scheduler."""
    return _parameters("schedulers", name, "__init__") if name.endswith("Scheduler") else None


@cache
def scheduler_words(name: str, setting: str) -> frozenset[str]:
    """The texts that a scheduler compares a setting with: those it knows, where it has a choice."""
    node = _class("schedulers", name)
    compared = (item for item in ast.walk(node) if isinstance(item, ast.Compare)) if node is not None else ()
    found: set[str] = set()
    for item in compared:
        left = item.left
        if setting == (left.id if isinstance(left, ast.Name) else getattr(left, "attr", "")):
            found |= {
                part.value
                for other in item.comparators
                for part in ast.walk(other)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
    return frozenset(found)


def scheduler_timesteps(name: str) -> frozenset[str]:
    """What a scheduler's ``set_timesteps`` takes."""
    return frozenset(_parameters("schedulers", name, "set_timesteps") or ())


@cache
def text_to_image() -> frozenset[str]:
    """The classes diffusers itself lists for ``AutoPipelineForText2Image``."""
    root = _root()
    if root is None:
        return frozenset()
    source = (root / "pipelines" / "auto_pipeline.py").read_text(encoding="utf-8")
    table = re.search(r"^AUTO_TEXT2IMAGE_PIPELINES_MAPPING = (.*?)^\)", source, re.MULTILINE | re.DOTALL)
    return frozenset(re.findall(r"\w+Pipeline\b", table[1])) if table is not None else frozenset()
