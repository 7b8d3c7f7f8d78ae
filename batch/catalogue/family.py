"""What is known of pipelines that are rendered the same way. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["encode", "encode-prompt", "encode-negative", "denoise", "everywhere", "pag"]
"""Where an argument of a pipeline's call acts: on both texts, on one of them, on the latents, or on all; "pag" on
the latents too, by perturbed-attention guidance (:mod:`batch.catalogue.pag`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Pipelines that are rendered the same way."""

    pipelines: tuple[str, ...] = ()
    """diffusers' classes."""
    dtype: str
    """What its checkpoints are made for."""
    extra: Mapping[str, Stage] = field(default_factory=dict)
    """What ``extra.<argument>`` may set; of a whole call the call's own signature tells."""
    staged: bool = True
    """Called in three parts (encode, denoise, decode), not whole."""
    bin_pixels: int = 0
    """Pixels of one unit of ``sample_size``, where only sizes from a table are rendered; 0: any size."""
    float16_parts: tuple[str, ...] = ()
    """With float16 these components are in it, the others in bfloat16, because they overflow; empty: all are."""
    negative: Literal["guidance", "true_cfg_scale", ""] = "guidance"
    """What must be high enough for the negative prompt to count; "" where the call decides by itself."""
    guidance: str = "guidance_scale"
    """The argument of the call that ``guidance`` sets."""
    guidance_above: float = 1.0
    """Guidance acts above this; up to it the model is called once a step, with the prompt alone."""
    empty_negative: str = ""
    """The negative text where there is guidance and no negative prompt."""
    least_guidance: float = 0.0
    """The call refuses less."""
    with_guidance: frozenset[str] = frozenset()
    """Extra arguments that count only where guidance acts, beside those of the negative text."""
    reads: int = 75
    """Tokens of a prompt that every model of it reads at least; the default is CLIP's."""
    texts_vary: bool = False
    """Embeddings are as long as their text, so that compiled blocks meet new shapes all the time."""
    alone: str = ""
    """Why one call cannot render several images; "" where it can."""
    needs: tuple[str, ...] = ()
    """Packages that its text encoders or tokenizers take beside the program's."""
    doubles: bool = False
    """Guidance is two images in one call of the denoiser, the one without the prompt first."""
    bands: bool = False
    """Its feed-forward can go over the latents band by band (:mod:`batch.render.cuts`)."""
    embedded_guidance: bool = True
    """It renders models that embed their guidance too; else these are ``generic``."""
    passes_shift: bool = False
    """Its call gives the scheduler a shift and noise levels of its own, so that not every scheduler will do."""

    def guides(self, guidance: float) -> bool:
        """Whether a guidance acts."""
        return guidance > self.guidance_above
