"""What a manifest says in vain as a whole: permissions and fields of names that nothing in its grids answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from batch.base.errors import Problem
from batch.catalogue.repositories import covers
from batch.manifest.alternatives import Template
from batch.manifest.schema import Grid, Manifest
from batch.manifest.values import more_like, shown

if TYPE_CHECKING:
    from batch.catalogue.model import Model
    from batch.manifest.document import Place


def idle_permissions(manifest: Manifest, models: Mapping[str, Model]) -> Iterator[str]:
    """What is allowed for models that no grid has: a slip in the name, which would refuse the right one."""
    for key, places in manifest.permissions.items():
        for name, place in places.items():
            commits = {f"{model.repo}@{model.revision}" for model in models.values() if model.repo}
            commits |= {model.checkpoint.at for model in models.values() if model.checkpoint}
            if not (name in commits or any(covers([name], model) for model in models)):
                text = f"{key}: no model of the grid is called '{name}'; write it as the grid does"
                yield str(Problem(*place, text))


def few_texts(manifest: Manifest, drawn: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Where prompts stand for fewer texts than are to be drawn: the first, and how many more."""
    few: dict[str, Place] = {}
    wanted = manifest.random_variants
    for grid in manifest.grids if wanted else ():
        for entry in grid.entries("prompt"):
            if isinstance(entry.value, Template) and len(drawn.get(entry.value.text, ())) < wanted:
                few.setdefault(entry.value.text, entry.place)
    for text, place in islice(few.items(), 1):
        count = len(drawn.get(text, ()))
        said = f"{wanted} were asked for, {count} {'is' if count == 1 else 'are'} different"
        yield f"{place}: variants: of {shown(text)} {said}{more_like(len(few))}"


def idle_names(manifest: Manifest, grids: Sequence[Grid]) -> Iterator[str]:
    """Extra arguments that a template has and no grid sets: all names read the same there."""
    given = {name for grid in grids for name in (*grid.names(), *grid.own_names())}
    for name in dict.fromkeys(re.findall(r"\{(extra\.\w+)\}", manifest.output.name)):
        if name not in given:
            place = f"{manifest.source}: output.name"
            yield f"{place}: {name} is set nowhere, so {{{name}}} tells nothing apart"
