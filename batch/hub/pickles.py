"""Pickles among single files: refused unless the user accepts them for the model that is named."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.errors import ModelError
from batch.catalogue import weights
from batch.catalogue.single_files import PICKLED

if TYPE_CHECKING:
    from batch.hub.permissions import Permissions


def is_pickle(name: str | Path) -> bool:
    """Whether a file is one, by its name without a revision."""
    return Path(name).suffix.lower() in PICKLED


def refusal(name: str, remedy: str = "or convert it") -> ModelError:
    """What is wrong with one that is not accepted; ``remedy`` is what helps where there are no safetensors."""
    return ModelError(
        f"{name} is a pickle, which can run any code when it is loaded. Take it as .safetensors, {remedy}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What the user accepts of the file of one model."""

    model: str
    """As the manifest names it."""
    permissions: Permissions
    online: bool
    """The Hub may be asked what a branch is."""

    def check_local(self) -> None:
        """Raise :class:`ModelError` for a pickle of this machine that is not accepted."""
        self._check(accepted=self.permissions.of(self.model).pickles)

    def check_of_hub(self, repo: str, inner: str, wanted: str, commit: str, *, pin: bool) -> None:
        """The same for one of the Hub; of a ``pin`` what holds for another commit does not hold for it."""
        allowed = self.permissions.of(self.model, f"{repo}@{commit}")
        if pin:
            needs = partial(_needing, inner)
            allowed = self.permissions.of_pin(self.model, repo, wanted, commit, needs, online=self.online)
        self._check(accepted=allowed.pickles)

    def _check(self, *, accepted: bool) -> None:
        if not accepted:
            remedy = f"convert it, or accept it with allow_pickle: [{self.model}], which copies its weights once"
            raise refusal(self.model, remedy)


def _needing(inner: str) -> weights.Needs:
    return weights.Needs(
        files=frozenset({inner}), variant="", pickled={"checkpoint": inner}, code=(), elsewhere={}
    )
