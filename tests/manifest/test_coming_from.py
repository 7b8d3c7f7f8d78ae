"""Every row of the tables in docs/coming-from.md, tried in the place that it names."""

import json
import re

import pytest
import yaml

from batch.base.errors import ManifestError
from tests.conftest import ROOT
from tests.helpers import plan
from tests.upkeep.foreign_pictures import png
from tests.upkeep.foreign_texts import PROGRAMS

PAGE = (ROOT / "docs/coming-from.md").read_text(encoding="utf-8").partition("## What you bring")[2]
ROWS = [
    tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1])
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| where")
]
SPAN = re.compile(r"`([^`]+)`")


def manifest_of(work, grid, **top):
    path = work / "m.yaml"
    path.write_text(
        yaml.safe_dump({**top, "grid": {"model": "demo", "prompt": "a fox", **grid}}, allow_unicode=True)
    )
    return path


def from_file(work, name, text, grid, **top):
    path = work / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return manifest_of(work, grid, **top)


def first_style(text):
    if text.startswith("["):
        return json.loads(text)[0]["name"]
    return next(line for line in text.splitlines()[1:] if not line.startswith("#")).partition(",")[0]


def planned(work, tiny, where, given):
    """The manifest, or the table, that has what the row brings in its place."""
    text = given.replace("\\n", "\n").replace("\\t", "\t")
    place, _, rest = where.partition(", ")
    if place == "prompt" and rest.startswith("a1111"):
        (work / "fur.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        model = {"model": "demo" if rest.endswith("demo") else str(tiny("sdxl"))}
        return manifest_of(work, {"prompt": text, **model}, prompt_syntax="a1111")
    varied = {"variants": "all"} if rest == "variants: all" else {}
    if place == "prompt":
        return manifest_of(work, {"prompt": text}, **varied)
    if place == "negative prompt":
        return manifest_of(work, {"negative_prompt": text}, **varied)
    if place.startswith("prompts."):
        return from_file(work, place, text, {"prompt": {"file": place}})
    if place.startswith("wildcards/"):
        found = "{__felt__|__straw__}" if place.endswith(".yaml") else "__hat__"
        return from_file(work, place, text, {"prompt": f"a {found}"}, variants="all")
    if place.startswith("styles."):
        return from_file(work, place, text, {"style": first_style(text)}, styles={"file": place})
    if place == "seed":
        return manifest_of(work, {"seed": int(text)})
    if place == "output.name":
        return manifest_of(work, {}, output={"name": text})
    if place == "YAML":
        path = work / "m.yaml"
        path.write_text(f"grid:\n  model: demo\n  prompt:\n    {text}\n")
        return path
    assert place.startswith("shots."), where
    path = work / place
    path.write_text(text, encoding="utf-8")
    return path


def told(task):
    values = {
        "prompt": task.prompt, "negative_prompt": task.negative_prompt, "seed": task.seed, "size": task.size,
        "steps": task.steps, "guidance": task.guidance, "style": task.style,
        "scheduler": task.scheduler.name if task.scheduler else "", "lora": ", ".join(map(str, task.loras)),
    }  # fmt: skip
    return [f"{name}: {value}" for name, value in values.items()]


def tried(work, tiny, where, given):
    """What became of it: the word, and all that was said or planned."""
    try:
        found = plan(planned(work, tiny, where, given))
    except ManifestError as error:
        return "refused", "\n".join(map(str, error.problems))
    lines = [line for task in found.tasks for line in told(task)]
    warned = [line for line in found.warnings if "has no effect" not in line]
    return "warned" if warned else "read", "\n".join([*warned, *lines])


def of_picture(cli, work, where, given):
    kind = where.partition(", ")[2].strip("`")
    texts = PROGRAMS[given][0] if kind == "program" else {kind: given.replace("\\n", "\n")}
    png(work / "x.png", texts)
    made = cli("manifest", "from", "x.png")
    if made.code:
        return "refused", made.err
    png(work / "x.png", texts)
    for_demo = cli("manifest", "from", "x.png", "--model", "demo", "-o", "demo.yaml")
    assert for_demo.code == 0
    assert cli("plan", "demo.yaml").code == 0
    return "read", made.out


@pytest.mark.parametrize("row", ROWS, ids=[f"{where} {given}"[:60] for where, given, _ in ROWS])
def test_what_people_bring_becomes_what_the_page_says(cli, work, tiny, row):
    where, given, becomes = row
    (text,) = SPAN.findall(given)
    if where.startswith("picture"):
        word, said = of_picture(cli, work, where, text)
    else:
        word, said = tried(work, tiny, where, text)
    assert becomes.startswith(word), said
    for part in SPAN.findall(becomes):
        assert part in said
