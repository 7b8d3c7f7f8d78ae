"""Of a run the images that a list names, and what ``--set`` makes of them."""

import io
import os
import re
import shutil
import sys
from types import SimpleNamespace

import pytest
import yaml

from batch.store.folder import RunFolder
from batch.upkeep import picks
from batch.upkeep.albums import Album
from batch.upkeep.manifest_from import Wanted, manifest_from
from tests.helpers import images, plan


def listed(work, *lines, ends="\n", encoding="utf-8"):
    path = work / "picks.txt"
    path.write_bytes("".join(f"{line}{ends}" for line in lines).encode(encoding))
    return path


@pytest.fixture
def found(run, work):
    """The ids that a list names of a run whose second picture was moved, the third renamed, the fourth copied."""
    first, second, third, fourth = images(run)
    (run / "images/best").mkdir()
    second.rename(run / "images/best" / second.name)
    third.rename(run / "images/best/my fav #1.png")
    shutil.copy(fourth, run / "images/best/copied.png")
    ids = {task.name: task.id for task in RunFolder(run).tasks()}
    album = Album.opened(run)

    def read(*lines, **how):
        found = [key for _, key in picks.read_picks(listed(work, *lines, **how), [album])]
        return [list(ids.values()).index(key) for key in found]

    read.ids = [ids[path.stem] for path in (first, second, third, fourth)]
    read.names = [path.stem for path in (first, second, third, fourth)]
    read.order = [list(ids.values()).index(key) for key in read.ids]
    return read


def test_every_way_to_name_an_image(found, work):
    name, moved, renamed, copied = found.names
    full = work / "run/images" / f"{name}.png"
    ways = [
        [f"images/{name}.png", name, f"{name}.png", found.ids[0], f"./run/images/{name}.png", str(full),
         f'"{full}"', f"images/{name}.png\tthe best", f"{name} # the best", f"web/{name} (1).jpg",
         f"C:\\night\\images\\{name}.png", full.as_uri(), re.sub(r"([ '\"])", r"\\\1", str(full))],
        [f"images/best/{moved}.png", f"images/{moved}.png", f"best/{moved}.png", moved],
        ["images/best/my fav #1.png", "my fav #1.png # yes", "my fav #1", renamed],
        ["copied.png", "images/best/copied.png", copied],
    ]  # fmt: skip
    for way, place in zip(ways, found.order, strict=True):
        for line in way:
            assert found(line) == [place], line
    lines = ["# all of them, the last one first", "", *(lines[0] for lines in reversed(ways)), ways[0][1]]
    for how in ({}, {"ends": "\r\n"}, {"encoding": "utf-8-sig"}, {"encoding": "utf-16"}):
        assert found(*lines, **how) == found.order[::-1]


def test_what_names_no_image_is_told_with_its_line_and_the_nearest_name(found, cli, work):
    near = f"{found.names[0][:-1]}z.png"
    listed(work, "", near, "../../etc/passwd", "/etc/passwd", "images", ".", "x" * 5_000, "\x1b[2J")
    outcome = cli("manifest", "from", "run", "--picks", "picks.txt")
    assert (outcome.code, outcome.out) == (2, "")
    told = outcome.err.splitlines()
    assert told[0] == f"picks.txt:2: {near} names no image here; did you mean images/{found.names[0]}.png?"
    assert all(line.startswith(f"picks.txt:{number}: ") for number, line in enumerate(told, start=2))
    assert "has 5,000 letters" in told[-2]
    assert "\\u001b[2J" in told[-1]


def test_what_is_no_list(run, cli, work):
    os.mkfifo(work / "pipe") if hasattr(os, "mkfifo") else (work / "pipe").mkdir()
    (work / "binary").write_bytes(b"\x89PNG\0\0" * 1_000)
    (work / "empty").write_text("# nothing\n\n")
    (work / "long").write_bytes(b"a" * (picks.MAX_BYTES + 1))
    (work / "many").write_bytes(b"nothing here\n" * 100_000)
    for name, said in {
        "pipe": "not a file; what another program writes is read by --picks -", "binary": "binary file",
        "empty": "names no image", "long": "no list of picks", "many": "only the first 100 wrong lines are told",
        "run": "a folder, not a file", "none": "is not there",
    }.items():  # fmt: skip
        outcome = cli("manifest", "from", run, "--picks", name)
        assert (outcome.code, said in outcome.err) == (2, True), outcome.err
    assert "not a run folder; --picks is for" in cli("manifest", "from", images(run)[0], "--picks", "many").err


def test_picks_of_several_runs(run, cli, work, monkeypatch):
    shutil.copytree(run, "other")
    name = images(run)[0].stem
    outcome = cli("manifest", "from", run, "other", "--picks", listed(work, name))
    assert f"{name} may be run/images/{name}.png and other/images/{name}.png; write which" in outcome.err
    said = f"other/images/{name}.png\n".encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(said)))
    outcome = cli("manifest", "from", run, "other", "--picks", "-")
    assert (outcome.code, outcome.out.startswith(f"# Made from\n# {name}\ngrid:")) == (0, True), outcome.err


RICH = """\
styles: {ink: "{prompt}, in ink", plain: "{prompt}"}
wildcards: {colours: [red, green]}
variants: all
grid:
  model: demo
  prompt: ["a __colours__ {fox|whale}, 1984: #1"]
  style: [ink, plain]
  negative_prompt: [fog, ""]
  seed: 18446744073709551615
  size: [512x512, 300x200]
  steps: 1
  scheduler: dpm++(flow_shift=6, use_karras_sigmas=false)
  extra.complex_human_instruction: [["Be brief:", "Prompt: "]]
  extra.sigmas: [null, [1.0, 0.5]]
resize: true
output: {format: webp, quality: 70}
"""


def test_a_pick_is_the_same_picture(cli, manifest, work):
    """Of a run with images that are done, that failed, and that are missing."""
    path = manifest(RICH)
    assert cli("run", path, "--quiet", "--max-images", "3").code in (1, 75)
    tasks = RunFolder(work / "outputs/job").tasks()
    assert {task.id for task in plan(path).tasks} == {task.id for task in tasks}
    picked = [tasks[index] for index in (-1, 0, 5, 17, 40)]
    listed(work, *(task.name for task in picked))
    assert cli("manifest", "from", "outputs/job", "--picks", "picks.txt", "-o", "final.yaml").code == 0
    assert {task.id for task in plan(work / "final.yaml").tasks} == {task.id for task in picked}
    outcome = cli(
        "manifest", "from", "outputs/job", "--picks", "picks.txt", "--only", "missing", "-o", "some.yaml"
    )
    assert 0 < len(plan(work / "some.yaml").tasks) < len(picked), outcome.err
    # Two drafts that differ in their size alone are one picture at another size.
    drafts = [task for task in tasks if (task.prompt, task.extra) == (tasks[0].prompt, tasks[0].extra)]
    text, _ = manifest_from(
        [work / "outputs/job"],
        Wanted(picks=listed(work, *(task.id for task in drafts)), overrides=["size=640x384", "output.format=png"]),
    )
    (work / "set.yaml").write_text(text)
    made = plan(work / "set.yaml").tasks
    assert len(made) == len(drafts) / 2
    assert {(task.size, task.format, task.format_options) for task in made} == {("640x384", "png", ())}
    assert {(task.prompt, task.negative_prompt) for task in made} == {
        (task.prompt, task.negative_prompt) for task in drafts
    }


SETS = {
    "sizes=4x4": "did you mean the axis 'size'?",
    "size=abc": "--set size: size: 'abc' is not a size",
    "size=[512x512, abc]": "'abc' is not a size",
    "size=7x7": "renders 512x512, not 7x7; `models demo` lists its sizes; resize: true",
    "size=1024x1024": "demo renders 512x512, not 1024x1024; `models demo` lists its sizes, and demo-1k renders",
    "size=[512x512, 7x7]": "demo renders 512x512, not 7x7",
    "steps=0": "steps: 0 is out of bounds",
    "scheduler=nope": "--set scheduler: nope is unknown",
    "memory=[auto, vae_tiling]": "--set memory: vae_tiling: takes",
    "extra.nope=1": "takes no such argument",
    "style=ink": "'ink' is unknown",
    "output.format=bmp": "'bmp' is unknown",
    "output.quality=80": "png has no such option",
    "repeats=2": "only kind: measure",
    "include=[]": "the pictures stand there",
    "grid={}": "the pictures stand there",
    "size": "write KEY=VALUE",
}


def test_what_cannot_be_set_is_an_error(run, cli, work):
    for written, said in SETS.items():
        outcome = cli("manifest", "from", run, "--set", written, "-o", "final.yaml")
        assert (outcome.code, said in outcome.err) == (2, True), outcome.err
    outcome = cli("manifest", "from", run, "--model", "demo", "--set", "model=demo-1k")
    assert (outcome.code, "keep one" in outcome.err) == (2, True)
    assert not (work / "final.yaml").exists()


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (["seed=0..4"], 10), (["seed={random: 3}"], 6), (["size=[512x512, 7x7]", "resize=true"], 8),
        (["prompt=[a, b, c]"], 6), (["model=demo-1k"], 4), (["extra.eta=[0.0, 0.5]"], 8),
        (["output.format=jpeg", "output.quality=80", "name=final", "run.retries=1"], 4),
        (["memory=[auto, tiled]", "kind=measure", "repeats=2"], 16), (["prompt_suffix=, ink"], 4),
    ],
)  # fmt: skip
def test_what_is_set_is_planned(run, cli, work, written, count):
    """Also where the pictures are no one product, so that they stand in entries of their own."""
    for picked in (images(run)[:3], images(run)):
        text, _ = manifest_from([run], Wanted(picks=listed(work, *picked), overrides=written))
        assert "&id" not in text
        (work / "final.yaml").write_text(text)
        made = [task for task in plan(work / "final.yaml").tasks if not task.warmup]
    assert len(made) == count, text


def test_pictures_of_other_programs_are_set_too(cli, work):
    said = "a fox\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 768x512"
    (work / "a.txt").write_text(said)
    outcome = cli("manifest", "from", "a.txt", "--set", "model=demo", "--set", "size=512x512", "-o", "a.yaml")
    assert (outcome.code, "scheduler euler-a" in outcome.err, "size: " in outcome.err) == (0, True, False), (
        outcome.err
    )
    assert cli("plan", "a.yaml").code == 0
    assert yaml.safe_load((work / "a.yaml").read_text())["grid"]["steps"] == 20


def test_pictures_that_become_one_are_said_to(cli, manifest, work):
    path = manifest("grid: {model: demo, prompt: a fox, seed: [1, 2], steps: [2, 4], size: 512x512}\n")
    assert cli("run", path, "--quiet").code == 0
    tasks = RunFolder(work / "outputs/job").tasks()

    def notes(*overrides, count=3):
        picks = listed(work, *(task.id for task in tasks[:count]))
        return manifest_from([work / "outputs/job"], Wanted(picks=picks, overrides=overrides))[1]

    assert notes() == notes("scheduler=unipc") == []
    assert notes("steps=8") == ["2 pictures that differed in steps alone become 1"]
    assert notes("steps=8", count=4) == ["4 pictures that differed in steps alone become 2"]
    assert notes("steps=8", "seed=3", count=4) == ["4 pictures that differed in seed and steps alone become 1"]
    said = "4 pictures that differed in steps alone become 2, under each value of steps"
    assert notes("steps=[8, 9]", count=4) == [said]
