"""What a manifest accepts for a model, pickles and code of its own, and for which commit that holds.

A run folder may be anybody's, and any commit of a repository can be pinned in it: those of pull requests, which
everybody may open, are commits too. What is allowed for a name holds for what that name means on this machine, or
on the Hub. For another commit it holds where that one is named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from batch.base.errors import ModelError
from batch.catalogue import weights
from batch.catalogue.repositories import covers
from batch.hub import cache, folders, remote

Needs = Callable[[], weights.Needs | None]
"""What a session would load of a commit; None where nothing of it is here, and nobody may be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What is accepted for a model."""

    pickles: bool = False
    code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What is accepted, by the names of the models."""

    pickles: frozenset[str] = frozenset()
    code: frozenset[str] = frozenset()
    own_pins: bool = False
    """The user answers for the commits that a run folder has pinned."""

    def of(self, name: str, commit: str = "") -> Allowed:
        """For the model of that name, or the commit (``owner/name@commit``) that it is."""
        kinds = (self.pickles, self.code)
        pickles, code = (covers(kind, name) or bool(commit and commit in kind) for kind in kinds)
        return Allowed(pickles=pickles, code=code)

    def of_pin(self, name: str, repo: str, wanted: str, pin: str, needs: Needs, *, online: bool) -> Allowed:
        """For a model at the commit that a run folder has pinned for it.

        Raises :class:`ModelError` where it needs what is allowed for another commit.
        """
        allowed, exact = self.of(name, f"{repo}@{pin}"), self.of("", f"{repo}@{pin}")
        if self.own_pins or allowed == exact or _means(repo, wanted, pin, online=online):
            return allowed
        found = needs()
        for key, needed, permitted in (
            ("trust_remote_code", found and found.code, allowed.code and not exact.code),
            ("allow_pickle", found and found.pickled, allowed.pickles and not exact.pickles),
        ):
            if needed and permitted:
                raise ModelError(
                    f"the run folder pins {name} to the commit {pin}, which is not what '{wanted}' of {repo} is, "
                    f"and what {key} accepts for the one does not hold for the other. Where you trust that "
                    f"commit, write {key}: [{repo}@{pin}]; where the folder is not yours, render into another "
                    "with --out"
                )
        return exact


def _means(repo: str, wanted: str, pin: str, *, online: bool) -> bool:
    """Whether that commit is what a branch or tag is, as the cache knows it, else as the Hub says."""
    known = cache.known_commit(repo, wanted)
    if not known and online and not cache.offline_by():
        known = remote.commit_of(repo, wanted)
    return known == pin


def needs_of(
    repo: str, commit: str, dtype: str, variant: str, held: Collection[str], *, online: bool
) -> weights.Needs | None:
    """What a session would load of a commit, by its files here, else by the Hub's list of them.

    The weights of ``held`` components lie elsewhere.
    """
    found = folders.whole(cache.snapshot(repo, commit), dtype, variant, held)
    if found is not None or not online:
        return found
    index = remote.reader(repo, commit)(weights.INDEX)
    names = remote.sizes(repo, commit)
    if index is None:
        return None
    return weights.of(index, names, variant=variant or None, dtype=dtype, held=held)
