"""Names of models to models: the catalogue, folders, and repositories of the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.checksums import untold
from batch.base.errors import ModelError
from batch.catalogue import configs, layouts, weights
from batch.catalogue.model import Model
from batch.catalogue.models import known_models, own_file
from batch.catalogue.repositories import is_repository, problem
from batch.hub import elsewhere, folders, notes, remote, single_files
from batch.hub.cache import cache_folder, known_commit, names_in, offline_by, snapshot
from batch.hub.commits import MAIN, commit_of, lost, pinned, undecided
from batch.hub.files import Looking, content, is_named, local
from batch.hub.permissions import Permissions, needs_of
from batch.hub.pickles import Acceptance
from batch.hub.random_models import RANDOM, described, package_folder, random_model
from batch.hub.unknown_names import refuse_meant_file, unknown
from batch.records.spec import ModelSource

if TYPE_CHECKING:
    from batch.base.checksums import Tell
    from batch.hub.commits import Usable
    from batch.hub.downloads import FetchOptions
    from batch.hub.permissions import Allowed

_NOTHING = Permissions()


def find_model(
    name: str,
    base: Path,
    revisions: Mapping[str, str],
    *,
    online: bool,
    newest: bool = False,
    permissions: Permissions = _NOTHING,
    fetching: FetchOptions | None = None,
    tell: Tell = untold,
) -> Model:
    """The model of that name. Raises :class:`ModelError` when there is none that can be rendered.

    Model folders and files are relative to ``base``. ``revisions`` are pinned, by name. ``online`` allows asking
    the Hub for what neither pins nor cache hold, and ``newest`` what a branch or tag behind the name is now.
    ``fetching`` downloads a checkpoint in one file, whose header says what it is; ``tell`` is told when one is
    read whole or converted.
    """
    if name.startswith(RANDOM):
        return random_model(name, base)
    known = known_models().get(name)
    if known is not None and known.package:
        return replace(known, revision=folders.revision_of(package_folder(known.package)))
    if known is not None and known.folder:
        return _own_folder_model(known, permissions.of(name))
    if (known is not None and known.file) or (known is None and _is_file(name, base)):
        place = base if known is None else own_file().parent
        accepts = Acceptance(model=name, permissions=permissions, online=online)
        looking = Looking(base=place, revisions=revisions, fetching=fetching, tell=tell, accepts=accepts)
        ask = partial(_remote_model, permissions=permissions, revisions=revisions, online=online, newest=newest)
        return single_files.find(
            name, known, looking, lambda repo, held: ask(repo, _in_repository(repo), held=held)
        )
    if known is None:
        folder = base / name
        if folders.holds_model(folder):
            return _folder_model(name, folder, permissions.of(name))
        refuse_meant_file(name, base)
        if not folder.is_dir() and (wrong := problem(name)):
            raise ModelError(wrong)
        repo = name.partition("@")[0]
        known = _in_repository(repo)
        if known is None and (folder.is_dir() or not is_repository(repo)):
            raise ModelError(unknown(name, folder))
    return _remote_model(name, known, permissions, revisions, online=online, newest=newest)


def _is_file(name: str, base: Path) -> bool:
    """Whether a checkpoint in one file is meant."""
    if (base / name).is_dir():
        return False
    return is_named(name) or local(base, name).is_file()


def _in_repository(repo: str) -> Model | None:
    """The model of the catalogue that is in that repository."""
    return next((model for model in known_models().values() if repo and model.repo == repo), None)


def _remote_model(
    name: str,
    known: Model | None,
    permissions: Permissions,
    revisions: Mapping[str, str],
    *,
    online: bool,
    newest: bool,
    held: frozenset[str] = frozenset(),
) -> Model:
    """A model in a repository, of the catalogue or not, at the commit that its name means.

    The weights of ``held`` components lie elsewhere.
    """
    repo, _, wanted = name.partition("@")
    newest = newest and bool(wanted)
    if known is not None:
        repo, wanted = known.repo, wanted or known.revision
    wanted = wanted or MAIN
    pin = pinned(name, revisions)
    revision = pin or commit_of(repo, wanted, _usable(known, held), online=online, newest=newest)
    allowed = permissions.of(name, f"{repo}@{revision}")
    if pin:
        dtype, variant = (known.dtype, known.variant) if known else ("", "")
        needs = partial(needs_of, repo, pin, dtype, variant, held, online=online)
        allowed = permissions.of_pin(name, repo, wanted, pin, needs, online=online)
    found: tuple[str, ...] = ()
    if offline_by() and name not in revisions and revision not in {"", wanted, known_commit(repo, wanted)}:
        # Neither the cache nor the Hub has named this commit.
        what = f"{lost(repo, wanted)} in the cache: taken is the only commit that is here, {revision[:12]}"
        found = (what,)
    if known is not None:
        place = snapshot(repo, revision) if revision else None
        if known.own and revision:
            known = configs.in_its_family(known, _files(repo, revision, online=online))
        return replace(
            known,
            name=name,
            revision=revision,
            notes=notes.of_scheduler(known, place)
            + found
            + (() if online else notes.of_absence(known, place, held)),
            allow_pickle=allowed.pickles,
            trust_remote_code=allowed.code,
        )
    if not revision and (said := undecided(repo, wanted, _usable(None, held))):
        raise ModelError(said)
    return replace(_hub_model(name, repo, revision, allowed, held, online=online), notes=found)


def _usable(known: Model | None, held: frozenset[str]) -> Usable:
    dtype, variant = (known.dtype, known.variant) if known else ("", "")
    return lambda folder: folders.whole(folder, dtype, variant, held) is not None


def source(model: Model) -> ModelSource:
    """Where a session loads the model from: always a folder of this machine.

    Of a Hub model it is the snapshot of its commit, which :func:`batch.hub.ensure.ensure` completes. What is
    allowed stands there only where the files need it.
    """
    file = model.checkpoint
    single_files.unchanged(model)
    if model.package:
        location = str(package_folder(model.package))
    elif file is not None and not model.repo:
        location = str(layouts.packaged(file.kind))
    else:
        location = model.folder or str(snapshot(model.repo, model.revision))
    variant, pickles, code = model.variant, model.allow_pickle, model.trust_remote_code
    place = Path(location)
    if not model.package and folders.holds_model(place):
        elsewhere.check(model.name, place)
        if not model.random:
            dtype = model.dtype if model.repo else ""
            found = folders.needs_of(place, variant=variant or None, dtype=dtype, held=model.held)
            folders.check_files(model.name, place, found.files)
            variant = found.variant
            pickles, code = pickles and bool(found.pickled), code and bool(found.code)
    return ModelSource(
        name=model.name,
        family=model.family,
        location=location,
        revision=model.stamp if file is not None else model.revision if model.repo else "",
        variant=variant,
        overrides=model.overrides,
        allow_pickle=pickles,
        trust_remote_code=code,
        random=model.random,
        architecture=model.architecture,
        file=(file.converted or file.path) if file is not None else "",
        converted=content(Path(file.converted), untold) if file is not None and file.converted else "",
        content=model.revision,
    )


def _folder_model(name: str, folder: Path, allowed: Allowed) -> Model:
    model = described(name, folders.reader(folder), trusted=allowed.code)
    found = folders.needs_of(folder)
    weights.check_places(name, found)
    folders.check_complete(name, folder)
    elsewhere.check(name, folder)
    folders.check_files(name, folder, found.files)
    weights.check(name, found, pickles=allowed.pickles, trusted=allowed.code)
    return replace(
        model,
        folder=str(folder.resolve()),
        revision=folders.revision_of(folder),
        variant=found.variant,
        allow_pickle=allowed.pickles,
    )


def _own_folder_model(known: Model, allowed: Allowed) -> Model:
    """A model of the user's own file that lies in a folder: what it does not say, the folder does."""
    folder = Path(known.folder)
    if not folders.holds_model(folder):
        raise ModelError(
            f"{known.name}: {unknown(known.name, folder) if folder.is_dir() else f'there is no folder {folder}'}"
        )
    found = _folder_model(known.name, folder, allowed)
    if found.pipeline != known.pipeline:
        raise ModelError(f"{known.name} is said to be a {known.pipeline}, and {folder} holds a {found.pipeline}")
    return replace(
        known,
        family=found.family,
        folder=found.folder,
        revision=found.revision,
        variant=found.variant,
        notes=notes.of_scheduler(known, folder),
        allow_pickle=allowed.pickles,
        trust_remote_code=allowed.code,
    )


def _hub_model(
    name: str, repo: str, revision: str, allowed: Allowed, held: frozenset[str], *, online: bool
) -> Model:
    """A repository that is not in the catalogue: its configuration files say what it is."""
    here = snapshot(repo, revision)
    if not revision or not (online or folders.holds_model(here)):
        raise ModelError(
            f"{repo} is not on this machine, so its sizes and defaults are not known: `fetch` the manifest first"
        )

    read = _files(repo, revision, online=online)
    model = described(name, read, trusted=allowed.code)
    index = read(weights.INDEX) or {}
    # The dtype decides the variant, and the whole of a repository what there is to decide between.
    found = folders.whole(here, model.dtype, held=held)
    if found is None:
        names = remote.sizes(repo, revision) if online else names_in(here)
        found = weights.of(index, names, dtype=model.dtype, held=held)
    if not online:  # what is not here yet is not elsewhere
        found = replace(found, elsewhere={})
    weights.check(name, found, pickles=allowed.pickles, trusted=allowed.code)
    return replace(model, repo=repo, revision=revision, variant=found.variant, allow_pickle=allowed.pickles)


def _files(repo: str, revision: str, *, online: bool) -> configs.Read:
    """The configuration files of a repository, from the Hub where that may be asked, else from its cache."""
    return remote.reader(repo, revision) if online else folders.reader(snapshot(repo, revision))


def here(model: Model) -> tuple[bool, int]:
    """Whether all that a session loads is on this machine, and how many bytes of a repository are."""
    if model.folder:
        return folders.holds_model(Path(model.folder)), 0
    if model.file and model.checkpoint is None:
        return single_files.is_here(model, own_file().parent), 0
    if not model.repo or model.random:
        return True, 0
    found = [folder for folder in cache_folder(model.repo).glob("snapshots/*") if folder.is_dir()]
    size = max((sum((folder / name).stat().st_size for name in names_in(folder)) for folder in found), default=0)
    return any(folders.whole(folder, model.dtype, model.variant, model.held) for folder in found), size
