"""ComfyUI's graph, as it was run: from the sampler backwards to what it was given.

A graph has no fixed shape, and nodes are anybody's: what is sought is an input of a certain name, nearest to the
sampler, whatever the node is called. No node is visited twice in a search, so a circle ends it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from batch.manifest.foreign.draft import Draft, Number, left_out, mapping, whole
from batch.manifest.recovered import Recovered
from batch.manifest.values import shortened
from batch.records.reading import any_json

Inputs = Mapping[str, object]

_PROMPTS = ("positive", "negative")
_CONDITIONING = ("positive", "conditioning")
_TEXTS = (
    "populated_text", "text", "text_g", "text_l", "t5xxl", "clip_l", "prompt", "positive_prompt", "positive",
    "string", "value",
)  # fmt: skip
_VALUES = (*_TEXTS, "seed", "noise_seed", "int", "float", "number")
_NAMES = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name", "gguf_name")
_READ = {
    "KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced", "KSamplerSelect", "BasicScheduler",
    "RandomNoise", "BasicGuider", "CFGGuider", "CLIPTextEncode", "CLIPTextEncodeSDXL", "CLIPTextEncodeFlux",
    "FluxGuidance", "ConditioningZeroOut", "CheckpointLoaderSimple", "UNETLoader", "CLIPLoader", "DualCLIPLoader",
    "TripleCLIPLoader", "VAELoader", "VAEDecode", "VAEDecodeTiled", "SaveImage", "PreviewImage",
    "EmptyLatentImage", "EmptySD3LatentImage", "EmptyHunyuanLatentVideo", "PrimitiveNode", "Reroute", "Note",
    "ModelSamplingFlux", "ModelSamplingSD3",
}  # fmt: skip
"""Nodes of ComfyUI itself of which nothing is lost; others are named beside the manifest."""


def comfy(written: str) -> Recovered:
    """Of the text ``prompt``. Raises one of :data:`batch.manifest.foreign.draft.FOREIGN`."""
    graph = Graph({str(key): node for key, node in mapping(any_json(written)).items() if isinstance(node, dict)})
    samplers = graph.samplers()
    if not samplers:
        raise ValueError("its graph has no sampler with a prompt that is known here")
    node = graph.first_of(samplers)
    prompt, negative = (graph.prompt(node, side) for side in _PROMPTS)
    notes = list(graph.notes(node))
    if len(samplers) > 1:
        notes.append(f"the graph has {len(samplers)} samplers; read is node {shortened(node)}")
    return Draft(
        prompt=prompt,
        negative=negative,
        model=graph.text(node, _NAMES, ("model", "guider")),
        seed=graph.number(node, ("seed", "noise_seed"), ("seed", "noise_seed", "noise")),
        size=graph.size(node),
        steps=graph.number(node, ("steps",), ("steps", "sigmas")),
        guidance=graph.guidance(node),
        sampler=graph.text(node, ("sampler_name",), ("sampler_name", "sampler")),
        schedule=graph.text(node, ("scheduler",), ("scheduler", "sigmas")),
        notes=notes,
    ).recovered()


MOST_SAMPLERS = 100
"""That are looked at: each may ask the whole graph."""

MOST_HOPS = 50
"""From an input to the value that other nodes hand on to it."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by their number."""

    nodes: Mapping[str, Mapping[str, object]]

    def inputs(self, node: str) -> Inputs:
        """What a node was given: values, and links to other nodes."""
        found = self.nodes.get(node, {}).get("inputs")
        return found if isinstance(found, dict) else {}

    def samplers(self) -> list[str]:
        """Nodes that make a picture of prompts: those with a prompt, and steps or a guider."""
        return [node for node in self.nodes if _samples(self.inputs(node))]

    def first_of(self, samplers: Collection[str]) -> str:
        """The sampler that begins with noise alone; a second pass and a refiner go on with its picture."""
        for node in list(samplers)[:MOST_SAMPLERS]:
            given = self.inputs(node)
            denoise = self.number(node, ("denoise",), ("denoise", "sigmas"))
            begins = given.get("add_noise") in (None, "enable", True) and not whole(
                _number(given, "start_at_step")
            )
            if begins and (denoise is None or float(denoise) >= 1):
                return node
        return next(iter(samplers))

    def _upstream(self, node: str, through: Collection[str] | None) -> Iterator[str]:
        """The node and those it is made of, nearest first; ``through`` names the inputs it is left by."""
        seen, queue = {node}, deque([node])
        while queue:
            current = queue.popleft()
            yield current
            for name, value in self.inputs(current).items():
                other = _linked(value)
                if current == node and through is not None and name not in through:
                    continue
                if other is not None and other in self.nodes and other not in seen:
                    seen.add(other)
                    queue.append(other)

    def number(self, node: str, names: Collection[str], through: Collection[str]) -> Number:
        """The nearest number of one of these names, or what is given under any name to a link of it."""
        for current in self._upstream(node, through):
            for name in names:
                found = self._resolved(self.inputs(current).get(name))
                if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found):
                    return found
        return None

    def text(self, node: str, names: Collection[str], through: Collection[str]) -> str:
        """The nearest text of one of these names; "" where there is none."""
        for current in self._upstream(node, through):
            for name in names:
                found = self._resolved(self.inputs(current).get(name))
                if isinstance(found, str) and found:
                    return found
        return ""

    def _resolved(self, value: object) -> object:
        """A value, or the first one of the node that a link leads to; None for what no manifest holds."""
        for _ in range(MOST_HOPS):
            if (node := _linked(value)) is None:
                break
            given = self.inputs(node)
            name = next((name for name in _VALUES if name in given), next(iter(given), ""))
            value = given.get(name)
        return value if isinstance(value, int | float | str) else None

    def prompt(self, node: str, side: str) -> str:
        """The texts that a sampler's prompt is made of, in their order."""
        seen, stack, found = set[str](), self._ways(self.inputs(node), side)[::-1], dict[str, None]()
        while stack:
            value = stack.pop()
            current = _linked(value)
            if isinstance(value, str):
                found[value] = None
            if (
                current is None
                or current in seen
                or "ZeroOut" in str(self.nodes.get(current, {}).get("class_type"))
            ):
                continue
            seen.add(current)
            stack += self._ways(self.inputs(current), side)[::-1]
        return "\n".join(text for text in found if text.strip())

    def _ways(self, given: Inputs, side: str) -> list[object]:
        """Where the prompt of one side comes from in a node: texts, or links."""
        if side in given:
            return [given[side]]
        if "guider" in given:
            return [given["guider"]]
        ways = [value for name, value in given.items() if name.startswith("cond")]
        if ways:  # a guider of one prompt has none of the other side
            return [] if side == "negative" and "model" in given else ways
        return [self._resolved(given[name]) for name in _TEXTS if name in given]

    def guidance(self, node: str) -> Number:
        """Of Flux, whose cfg is 1, what its prompt is told."""
        cfg = self.number(node, ("cfg",), ("cfg", "guider"))
        flux = self.number(node, ("guidance",), (*_CONDITIONING, "guider"))
        return flux if flux is not None and cfg in (None, 1) else cfg

    def size(self, node: str) -> str:
        """Of the empty latents that a sampler begins with."""
        for current in self._upstream(node, ("latent_image", "latent", "samples", "optional_latent")):
            for before in ("", "empty_latent_"):
                sides = [self._resolved(self.inputs(current).get(before + side)) for side in ("width", "height")]
                if current != node and all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
                    return f"{sides[0]}x{sides[1]}"
        return ""

    def notes(self, node: str) -> Iterator[str]:
        """What the graph did that a manifest cannot say."""
        denoise = self.number(node, ("denoise",), ("denoise", "sigmas"))
        if denoise is not None and float(denoise) < 1:
            yield f"it was made from another picture (denoise {denoise}), which the graph does not hold"
        for current in self._upstream(node, None):
            given = self.inputs(current)
            if isinstance(name := given.get("lora_name"), str):
                strength = given.get("strength_model", 1)
                yield f"left out: LoRA {shortened(name)}, strength {strength}; name its file under lora:"
            if isinstance(count := given.get("batch_size"), int) and count > 1:
                yield f"it is one of {count} made in one go: the seed is that of the first"
        kinds = {str(found.get("class_type")) for found in self.nodes.values()}
        yield from left_out(f"node {kind}" for kind in kinds - _READ if "lora" not in kind.lower())


def _samples(given: Inputs) -> bool:
    prompted = isinstance(given.get("positive"), list | str) or _linked(given.get("guider")) is not None
    return prompted and bool({"steps", "sigmas", "sampler_name", "sampler"} & given.keys())


def _linked(value: object) -> str | None:
    """The node that a link leads to: ``["4", 0]``."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
        return str(value[0])
    return None


def _number(given: Inputs, name: str) -> Number:
    value = given.get(name)
    return value if isinstance(value, int | float) else None
