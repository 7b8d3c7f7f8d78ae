"""The texts that a task needs embedded, and what an embedding depends on: the key under which it is kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import cache
from importlib import metadata

from batch.catalogue.families import FAMILIES, digest
from batch.catalogue.family import Family
from batch.memory.steps import TEXTS
from batch.plan.alike import texts_key
from batch.records.tasks import BY_CONTENT, EncodeTask, Task

_KEY = "embeds-3"
"""Another number where the same text gives other numbers: 2 bounds Gemma-2's attention scores. 3 says
how much of the text was read."""


def encode_tasks(task: Task, family: str, device: str) -> tuple[EncodeTask, ...]:
    """The texts a task needs embedded: its prompt, and the negative one where it counts.

    None where the pipeline is called whole. The key names everything an embedding depends on. The version of
    transformers is part of it, because it chooses how attention is computed; so is the kind of device, because a
    CPU and a GPU differ in the last bits and a resumed run must not mix them. How memory is saved on the way is
    not, save for ``text_encoder_cpu``.
    """
    rule = FAMILIES[family]
    if not rule.staged:
        return ()
    texts = [_encode_task(task, rule, device, negative=False)]
    if negative_counts(task, rule):
        texts.append(_encode_task(task, rule, device, negative=True))
    return tuple(texts)


def each_text(tasks: Iterable[Task], families: Callable[[str], str], device: str) -> Iterator[EncodeTask]:
    """Every text that some tasks need, once, in their order; ``families`` by a model's name."""
    return (text for _, text in first_needs(tasks, families, device))


def first_needs(
    tasks: Iterable[Task], families: Callable[[str], str], device: str
) -> Iterator[tuple[Task, EncodeTask]]:
    """As :func:`each_text`, each behind the first task that needs it."""
    asked: set[Hashable] = set()
    seen: set[str] = set()
    for task in tasks:
        if (same := texts_key(task)) in asked:
            continue
        asked.add(same)
        for text in encode_tasks(task, families(task.model), device):
            if text.key not in seen:
                seen.add(text.key)
                yield task, text


def negative_counts(task: Task, rule: Family) -> bool:
    """Whether the negative text of a task is encoded."""
    if rule.negative == "guidance":
        return rule.guides(task.guidance)
    scale = dict(task.extra).get(rule.negative)
    return bool(task.negative_prompt) and isinstance(scale, int | float) and scale > 1


def _encode_task(task: Task, rule: Family, device: str, *, negative: bool) -> EncodeTask:
    stages = ("encode", "everywhere", "encode-negative" if negative else "encode-prompt")
    arguments = tuple(item for item in task.extra if rule.extra.get(item[0]) in stages)
    loras = tuple(lora for lora in task.loras if lora.in_text)
    text = (task.negative_prompt or rule.empty_negative) if negative else task.prompt
    steps = tuple(step for step in task.memory_steps if step.name in TEXTS)
    on_cpu = any(step.name == "text_encoder_cpu" for step in steps)
    kind = "cpu" if on_cpu else device.partition(":")[0]
    library = transformers_version()
    model = "" if task.revision.startswith(BY_CONTENT) else task.model
    parts: list[object] = [_KEY, library, kind, model, task.revision, task.dtype, text, negative, arguments]
    parts += [item for item in (task.long_prompts, task.prompt_syntax) if item]
    if loras:  # left out where there are none, so that keys stay what they were
        parts.append([(lora.sha256, lora.scale) for lora in loras])
    return EncodeTask(
        key=digest(parts),
        model=task.model,
        dtype=task.dtype,
        text=text,
        negative=negative,
        arguments=arguments,
        long_prompts=task.long_prompts,
        prompt_syntax=task.prompt_syntax,
        loras=loras,
        memory_steps=steps,
    )


@cache
def transformers_version() -> str:
    """Its version decides how attention is computed; "" where it is not installed, and nothing is encoded."""
    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return ""
