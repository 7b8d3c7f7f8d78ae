"""A1111's text, which many programs write: prompt, ``Negative prompt: …`` and a line of settings.

Forge and its siblings, SD.Next, Civitai and Fooocus write it too, each with lines and settings of its own. The
text is gone over once, however long it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from batch.manifest.foreign.draft import Draft, left_out
from batch.manifest.recovered import Recovered
from batch.records.reading import any_json

_KEY_BACKWARDS = re.compile(r"[\w \-/]*")
_VALUE = re.compile(r'\s*+("[^\\"]*+(?:\\.[^\\"]*+)*+"(?=,|$)|[^,]*+),?')
"""In quotes, or up to the next comma. What was read is never given back: each letter is looked at once."""

_CARRIED = {
    "Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Distilled CFG Scale", "Seed", "Size", "Model",
    "VAE", "Raw prompt", "Raw negative prompt",
}  # fmt: skip

_SAID = {
    "Model hash",
    "VAE hash",
    "Version",
    "App",
    "User",
    "Lora hashes",
    "TI hashes",
    "Hashes",
    "Parser",
    "Backend",
}
"""What decides nothing beside the rest; hashes name files that are named already."""

_NEGATIVE = "Negative prompt:"


def a1111(text: str) -> Recovered:
    """Raises one of :data:`batch.manifest.foreign.draft.FOREIGN` where there is no line of settings."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\0").strip().split("\n")
    above, given, below = _parted(lines)
    prompt, negative = _prompts(above)
    return Draft(
        # Fooocus puts the texts of its styles into the prompt, and what was written beside it.
        prompt=given.get("Raw prompt") or prompt,
        negative=given.get("Raw negative prompt") or negative,
        model=given.get("Model", ""),
        model_hash=given.get("Model hash", ""),
        vae=given.get("VAE", ""),
        seed=given.get("Seed"),
        size=given.get("Size", ""),
        steps=given.get("Steps"),
        guidance=_guidance(given),
        sampler=given.get("Sampler", ""),
        schedule=given.get("Schedule type", "") or given.get("Scheduler", ""),
        notes=[*_made_otherwise(given), *left_out({*given, *below} - _CARRIED - _SAID)],
    ).recovered()


def has_settings(text: str) -> bool:
    """Whether a text of any kind holds such a line."""
    try:
        _parted(text.splitlines())
    except ValueError:
        return False
    return True


_RULE = " \t\r-=_*~+"
"""What parts one picture from the next."""
_BELOW = re.compile(r"(?:Negative )?Template:")


def generations(text: str) -> list[str]:
    """A text beside pictures in as many as it holds: each ends behind its line of settings.

    What stands below that of the last one belongs to it.
    """
    found: list[list[str]] = [[]]
    ended = False
    for line in [] if re.fullmatch(r"\s*\{.*\}\s*", text, re.DOTALL) else text.split("\n"):  # JSON
        if ended and not line.strip(_RULE):
            continue
        if ended and not _BELOW.match(line):
            found.append([])
            ended = False
        found[-1].append(line)
        ended = ended or ("," in line and ":" in line and _given(line)[0] >= 0)
    if len(found) > 1 and not ended:
        rest = found.pop()
        found[-1] += rest
    return ["\n".join(lines) for lines in found] if len(found) > 1 else [text]


def _given(line: str) -> tuple[int, Mapping[str, str]]:
    """Where the settings begin in a line, and which; -1 where there are none.

    Where line ends were lost, they stand behind the prompt.
    """
    for at in dict.fromkeys((0, line.find("Steps: "))):
        given = _read(line[at:]) if at >= 0 else {}
        if len(given.keys() & _CARRIED) > 1:
            return at, given
    return -1, {}


def _parted(lines: list[str]) -> tuple[str, Mapping[str, str], list[str]]:
    """The lines above the settings, the settings, and what the lines below them begin with."""
    for index in reversed(range(len(lines))):
        at, given = _given(lines[index])
        if at >= 0:
            above = "\n".join([*lines[:index], lines[index][:at]])
            return above, given, [found for below in lines[index + 1 :] if (found := _name(below))]
    raise ValueError("it has no line of settings such as 'Steps: 20, Sampler: Euler, …'")


def _read(line: str) -> Mapping[str, str]:
    """The settings of a line. The first of a name counts: those of extensions stand behind."""
    given: dict[str, str] = {}
    for key, value in _settings(line):
        given.setdefault(key, _unquoted(value))
        if len(given) == 1 and key not in _CARRIED:
            return {}  # a prompt with a colon in it
    return given


def _settings(line: str) -> Iterator[tuple[str, str]]:
    """``Key: value`` with commas between; what is none of these is passed over."""
    at = 0
    while (colon := line.find(":", at)) >= 0:
        before = _KEY_BACKWARDS.match(line[at:colon][::-1])
        key = before[0][::-1].lstrip(" -/") if before else ""
        value = _VALUE.match(line, colon + 1) if key else None
        if value:
            yield key, value[1].strip()
        at = value.end() if value else colon + 1


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(any_json(value))
    except ValueError:  # a quote that ends nowhere
        return value


def _prompts(above: str) -> tuple[str, str]:
    """Prompt and negative prompt; of the second there may be nothing."""
    prompt, _, negative = f"\n{above}".partition(f"\n{_NEGATIVE}")
    if not negative and f" {_NEGATIVE}" in above:  # line ends were lost, or it is indented
        prompt, _, negative = above.partition(f" {_NEGATIVE}")
    return prompt.strip(), negative.strip()


def _name(line: str) -> str:
    """What a line behind the settings is called: ``Template``, ``Negative Template``."""
    name, colon, _ = line.partition(":")
    return name.strip() if colon and len(name) < 60 else line.strip()


def _guidance(given: Mapping[str, str]) -> str | None:
    """Forge's ``Distilled CFG Scale`` is what Flux is given as guidance; its CFG scale is 1 then."""
    scale = given.get("CFG scale")
    distilled = given.get("Distilled CFG Scale")
    return distilled if distilled and scale in (None, "1", "1.0") else scale


def _made_otherwise(given: Mapping[str, str]) -> Iterator[str]:
    """What made the picture beside its settings."""
    hires = any(key.startswith("Hires") for key in given)
    if "Denoising strength" in given and not hires:
        yield "it was made from another picture (Denoising strength), which its text does not hold"
    if hires:
        yield "it was enlarged by a second pass (Hires); size is that of the first"
