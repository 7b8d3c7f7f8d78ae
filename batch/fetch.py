"""Models of a plan onto this machine's disk, ahead of the night.

Downloads what a session will load and no more: of weights that a repository has in several precisions, the
variant that the catalogue names, component by component, as diffusers chooses them. The Hub's client keeps
whole files, so a download that broke off goes on with the files that are missing.
"""

from __future__ import annotations

import glob
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from batch.errors import ModelError, UserError
from batch.plan.catalogue import Model
from batch.refusals import refusal

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

HEADROOM = 2**30
"""Bytes that stay free on the cache's disk."""

INDEX, WEIGHTS = "model_index.json", ".safetensors"
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What one model needs: a repository at a commit, and which of its files."""

    model: str
    repo: str
    commit: str
    files: tuple[str, ...]
    missing: int
    missing_bytes: int


def fetch(models: Iterable[Model], say: Callable[[str], None]) -> int:
    """Download the models that are not complete in the Hub's cache; returns how many were downloaded.

    Raises :class:`ModelError` for a repository that is not there or not open to the user,
    :class:`UserError` when the disk is too small, :class:`DownloadError` when the network fails.
    """
    downloads = []
    for model in models:
        if model.repo:
            downloads.append(look_up(model))
        elif model.random:
            say(f"{model.name}: has random weights, nothing to download")
        else:
            where = "ships with the program" if model.package else f"is the folder {model.folder}"
            say(f"{model.name}: {where}, nothing to download")
    cache = _cache()
    _check_disk(sum(item.missing_bytes for item in downloads), cache)
    for item in downloads:
        name = f"{item.model}: {item.repo} at {item.commit[:12]}"
        if not item.missing:
            say(f"{name} is complete, nothing to download")
            continue
        count = f"{item.missing} of {len(item.files)} files"
        say(f"{name}: downloading {count}, {shown(item.missing_bytes)}, into {cache}")
        _download(item)
        say(f"{name} is complete")
    return sum(item.missing > 0 for item in downloads)


def look_up(model: Model) -> Download:
    """Ask the Hub which files there are; what the cache holds already is not asked for."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    wanted = model.revision or model.name.partition("@")[2] or "main"
    try:
        if not model.revision:
            # Without the retries a download makes: a wrong name or a missing network shows at once.
            HfApi().model_info(model.repo, revision=wanted, timeout=20)
        index = Path(hf_hub_download(model.repo, INDEX, revision=wanted))
        commit = index.parent.name
        files = needed(_listing(model.repo, commit), components(index), model.variant)
        found: list[DryRunFileInfo] = snapshot_download(
            model.repo,
            revision=commit,
            allow_patterns=_exactly(files),
            dry_run=True,
            tqdm_class=_bars(show=False),
        )
    except Exception as error:
        raise refusal(error, model.repo, wanted) from error
    missing = [info for info in found if info.will_download]
    return Download(
        model=model.name,
        repo=model.repo,
        commit=commit,
        files=tuple(sorted(files)),
        missing=len(missing),
        missing_bytes=sum(info.file_size or 0 for info in missing),
    )


def _listing(repo: str, commit: str) -> list[str]:
    """The files of a commit: as an earlier download listed them, else from the Hub."""
    from huggingface_hub import HfApi, get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return [item.path for item in get_cached_repo_tree(repo, revision=commit)]
    except CachedRepoTreeNotFoundError:
        return HfApi().list_repo_files(repo, revision=commit)


def _exactly(files: Iterable[str]) -> list[str]:
    return [glob.escape(name) for name in sorted(files)]


def components(index: Path) -> list[str]:
    """The folders a pipeline consists of, from its model_index.json."""
    entries = json.loads(index.read_text(encoding="utf-8"))
    return [name for name, value in entries.items() if isinstance(value, list) and value[0] is not None]


def needed(names: Sequence[str], folders: Sequence[str], variant: str) -> set[str]:
    """The files of a repository that a session loads. Raises :class:`ModelError` for weights in pickles only.

    Of a component with weights: its configuration and the weights in safetensors, of the variant or, where it
    has none, the plain ones. Of one without (tokenizer, scheduler): everything.
    """
    chosen = {INDEX}
    for folder in folders:
        inside = [name for name in names if PurePosixPath(name).parent == PurePosixPath(folder)]
        weights = [name for name in inside if _is_weight(name)]
        of_variant = [name for name in weights if variant and _variant(name) == variant]
        if weights:
            plain = [name for name in weights if not _variant(name)]
            chosen.update(of_variant or plain or weights)
            chosen.update(name for name in inside if name.endswith(".json") and ".index." not in name)
        elif any(name.endswith(_PICKLES) for name in inside):
            raise ModelError(f"{folder} has its weights as pickles only; safetensors are needed")
        else:
            chosen.update(inside)
    return chosen


def _is_weight(name: str) -> bool:
    return name.endswith((WEIGHTS, f"{WEIGHTS}.index.json")) or f"{WEIGHTS}.index." in name


def _variant(name: str) -> str:
    """``bf16`` of ``model.bf16.safetensors``, ``model.bf16-00001-of-00002.safetensors`` and of their index."""
    parts = PurePosixPath(name).name.replace(f"{WEIGHTS}.index.", f"{WEIGHTS}.").split(".")
    return next((part.partition("-")[0] for part in parts[1:] if part not in ("safetensors", "index", "json")), "")


def _cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE).expanduser()


def _check_disk(needs: int, cache: Path) -> None:
    if not needs:
        return
    there = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if needs + HEADROOM > free:
        raise UserError(
            f"the download needs {shown(needs)}, and {shown(HEADROOM)} should stay free, but the disk of "
            f"{cache} has {shown(free)} free. Make room, or set HF_HOME (or HF_HUB_CACHE) to a folder on a "
            "larger disk, for this command and for the run"
        )


def shown(size: int) -> str:
    """Bytes for people."""
    if size < 2**20:
        return f"{size / 2**10:.0f} KiB"
    return f"{size / 2**30:.2f} GiB" if size >= 2**29 else f"{size / 2**20:.1f} MiB"


def _download(item: Download) -> None:
    from huggingface_hub import snapshot_download

    bars = _bars(show=True)
    try:
        # The commit, not a branch: what was looked up is what is downloaded.
        snapshot_download(
            item.repo,
            revision=item.commit,
            allow_patterns=_exactly(item.files),
            tqdm_class=bars,
        )
    except Exception as error:
        raise refusal(error, item.repo, item.commit) from error
    finally:
        for bar in reversed(bars.opened):
            bar.close()  # the client leaves two open, and what is said next would land in their lines


def _bars(*, show: bool) -> Any:
    """The client's progress bars, on a terminal only: a log would get a line per step."""
    from huggingface_hub.utils import are_progress_bars_disabled  # type: ignore[attr-defined]
    from tqdm import tqdm

    hidden = not show or not sys.stderr.isatty() or are_progress_bars_disabled()

    class Bars(tqdm):  # type: ignore[type-arg]
        opened: ClassVar[list[Any]] = []

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **{**named, "disable": hidden})
            self.opened.append(self)

    return Bars
