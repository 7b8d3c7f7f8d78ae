"""Prompts as their model reads them: the grammar of another program, and texts in pieces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch.catalogue.families import CLIP_PIPELINES
from batch.catalogue.model import Model
from batch.manifest import emphasis
from batch.manifest.document import Place
from batch.manifest.schema import Manifest
from batch.manifest.values import shown

if TYPE_CHECKING:
    from batch.plan.findings import Findings


SLIPS = 10
"""Weights that are none, of which it is told."""


@dataclass(slots=True)
class Syntax:
    """Checks every text of a plan once for each kind of model."""

    manifest: Manifest
    findings: Findings
    _seen: dict[tuple[str, bool], None] = field(default_factory=dict)
    _slips: int = 0

    @property
    def acts(self) -> bool:
        """Whether there is anything to check."""
        return bool(self.manifest.prompt_syntax or self.manifest.long_prompts)

    def check(self, model: Model, text: str, place: Place) -> None:
        """Note what a model cannot do with a prompt, a negative prompt among them."""
        clip = model.pipeline in CLIP_PIPELINES
        if self.manifest.long_prompts and not clip:
            self._cannot(model, "long_prompts: chunk has no effect on", Place(self.manifest.source, 0))
        if not self.manifest.prompt_syntax or not text or (text, clip) in self._seen:
            return
        self._seen[text, clip] = None
        try:
            if "<lora:" in text.lower():
                raise ValueError(
                    "<lora:…> out of a wildcard or a style is not understood; write it into the prompt"
                )
            pieces = emphasis.parse(text)
        except ValueError as error:
            self.findings.wrong(place, f"prompt_syntax: {error}: {shown(text)}")
            return
        if clip and (slip := emphasis.slip(text)):
            self._slips += 1
            if self._slips <= SLIPS:
                self.findings.remark(place, f"prompt_syntax: {slip}")
        if len(pieces) > 1 and clip and not self.manifest.long_prompts:
            self.findings.wrong(place, f"BREAK begins a new piece; write long_prompts: chunk, too: {shown(text)}")
        if not clip and not emphasis.is_plain(text):
            self._cannot(model, "this text has weights (or \\( for a bracket), which cannot be given to", place)

    def _cannot(self, model: Model, what: str, place: Place) -> None:
        self.findings.wrong(place, f"{what} {model.name}: not all its text encoders are CLIP")
