"""One model: where its files are, what it renders, and the defaults it is rendered with; nothing of it is loaded.

The models that ship are in ``models*.yaml`` (:mod:`batch.catalogue.models` reads them), the tables of sizes in
``bins.yaml`` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

import yaml

from batch.catalogue.families import FAMILIES, SIZE_STEP, digest
from batch.manifest.values import Size, size
from batch.records.tasks import BY_CONTENT, lora_origin
from batch.records.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A single file with weights: where it lies, and what it is."""

    path: str
    """Absolute; of one of the Hub that is not on this machine: ""."""
    sha256: str
    """Of its content; "" while that is not known."""
    kind: str
    """One of :data:`batch.catalogue.single_files.KINDS`; decides the layout."""
    holds: frozenset[str] = frozenset()
    """Components whose weights it has."""
    precision: str = ""
    source: str = ""
    """Of one from the Hub: ``owner/name@commit/file``, or without the commit where that is not known."""
    converted: str = ""
    """Of a pickle: the safetensors file with its weights, which is read in its place."""
    changes: str = ""
    """A hash of what one's own file of models changes of how it is loaded."""

    @property
    def commit(self) -> str:
        """Of one from the Hub: the commit."""
        return lora_origin(self.source)[1]

    @property
    def at(self) -> str:
        """Of one from the Hub: ``owner/name@commit``."""
        repo, commit, _ = lora_origin(self.source)
        return f"{repo}@{commit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model with its defaults. Exactly one of ``package``, ``repo``, ``folder`` and ``file`` says where it is.

    Of a checkpoint in one file that lacks components, ``repo`` is where these are from.
    """

    name: str
    family: str = "sana"
    pipeline: str = "SanaPipeline"
    """diffusers' class; of a model with code of its own, the name it gives."""
    package: str = ""
    repo: str = ""
    folder: str = ""
    file: str = ""
    """A checkpoint in one file, as it is named: a path, or ``owner/name/file`` of the Hub."""
    checkpoint: Checkpoint | None = None
    """What that file is, once it has been looked at."""
    about: str = ""
    variant: str = ""
    revision: str = ""
    sample_size: int = 0
    """Side of the model's square size in latents; chooses the table of sizes where there is one."""
    native: Size
    size_step: int = SIZE_STEP
    """Both sides of every size are multiples of this."""
    dtype: str = "bfloat16"
    steps: int = 20
    guidance: float = 4.5
    prediction: str = "flow"
    """What the scheduler is told the model predicts: flow, epsilon, v_prediction, sample; "edm" and "trigflow" are
    for one scheduler each; "" if not known."""
    dynamic_shift: bool = False
    """The flow's shift depends on the size, so the scheduler must take it with each call."""
    blocks: int = 0
    """Blocks of a SANA transformer; 0 if not known."""
    qk_norm: bool = False
    """Its attention normalises queries and keys."""
    pag_scale: float = 0.0
    """What its pipeline's call does without ``extra.pag_scale``."""
    embeds_guidance: bool = True
    """False for one whose guidance has no effect: a Flux that was trained without, a distilled FLUX.2 Klein."""
    negative: bool = True
    """False for one that was distilled to render without guidance: without it a negative prompt has no effect."""
    fixed_steps: bool = False
    """Its files name the noise level of every step, so that it takes ``steps`` of them whatever is asked."""
    needs: tuple[str, ...] = ()
    """Python packages that it needs beside those of the program, as pip calls them."""
    weights_gib: float | None = None
    """What stays on the device to render one image (denoiser and autoencoder); text encoders apart."""
    download_gb: float | None = None
    """About what a download takes, in units of 10**9 bytes; ``fetch`` asks the Hub."""
    licence: str = ""
    source: str = ""
    """Where these facts are from: addresses, and what is not from there."""
    gated: bool = False
    """The Hub wants its terms accepted first."""
    scheduler: str = ""
    """diffusers' class of its own scheduler."""
    flow_shift: float | None = None
    """What its own scheduler's flow is shifted by."""
    dtypes: tuple[str, ...] = ()
    """Those that give sound pictures; empty where it is not known."""
    steps_range: tuple[int, int] | None = None
    """Fewer leave noise, more are in vain or spoil a model that was distilled to few."""
    guidance_range: tuple[float, float] | None = None
    """What it was trained to be guided with."""
    largest: Size | None = None
    """About the most pixels that it was trained on, where any size is rendered."""
    own: bool = False
    """From the user's own file of models."""
    notes: tuple[str, ...] = ()
    """What is odd about its files, for the warnings of a plan."""
    overrides: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    allow_pickle: bool = False
    trust_remote_code: bool = False
    random: bool = False
    """Its weights are drawn when it is built; only its configuration and its tokenizers are read."""
    architecture: str = ""
    """Of a random model: the entry of ``architectures/`` that stands for its configuration files."""

    @property
    def stamp(self) -> str:
        """The revision as an image's id has it: with what a user's own file says of how the weights are loaded.

        Of a checkpoint in one file the hash of its content, with the commit of what it lacks; "" while one of
        these is not known.
        """
        if self.checkpoint is not None:
            if not self.checkpoint.sha256 or (self.repo and not self.revision):
                return ""
            base = f"@{self.revision[:12]}" if self.repo else ""
            changes = f"+{self.checkpoint.changes}" if self.checkpoint.changes else ""
            return f"{BY_CONTENT}{self.checkpoint.sha256}{base}{changes}"
        if not (self.own and self.revision and (self.overrides or self.variant)):
            return self.revision
        return f"{self.revision}+{digest([self.variant, sorted(self.overrides.items())])[:8]}"

    @property
    def held(self) -> frozenset[str]:
        """Components whose weights lie in a single file, and in no folder."""
        return self.checkpoint.holds if self.checkpoint else frozenset()

    @property
    def _bins(self) -> Mapping[str, Size]:
        return _bins().get(self.sample_size * FAMILIES[self.family].bin_pixels, {})

    def rendered(self, asked: Size) -> Size:
        """The size the model really renders for one asked for.

        SANA and PixArt take the bin with the nearest height/width ratio, whatever the magnitude
        (diffusers ``classify_height_width_bin``), so a 4K request on a 1K model renders 1K.
        """
        bins = self._bins
        if not bins:
            return asked
        ratio = asked.height / asked.width
        nearest = min(bins, key=lambda known: abs(float(known) - ratio))
        return bins[nearest]

    def sizes(self) -> list[Size]:
        """Every size a model with a table renders natively; empty where any size is rendered."""
        return [known for known in self._bins.values() if self.rendered(known) == known]


@cache
def _bins() -> dict[int, dict[str, Size]]:
    text = resources.files("batch.catalogue").joinpath("bins.yaml").read_text(encoding="utf-8")
    return {
        pixels: {ratio: size(named) for ratio, named in bins.items()}
        for pixels, bins in yaml.safe_load(text).items()
    }
