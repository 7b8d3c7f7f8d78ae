"""``manifest from`` on pictures of other programs: what is there is kept, and ``plan`` accepts what is written."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from batch.manifest import recover
from batch.manifest.foreign.a1111 import a1111
from batch.manifest.foreign.comfy import comfy
from batch.upkeep.manifest_from import Wanted, manifest_from
from tests.conftest import DEMO
from tests.helpers import plan
from tests.hostile import quick
from tests.upkeep import foreign_pictures as pictures
from tests.upkeep import foreign_texts as texts_of
from tests.upkeep.foreign_pictures import axes_of, planned, png, with_exif
from tests.upkeep.foreign_texts import A1111, BASE, PLAIN, PROGRAMS


@pytest.mark.parametrize(("text", "axes"), A1111.values(), ids=A1111)
def test_texts_of_a1111_and_its_siblings(text, axes):
    assert recover.from_metadata({"parameters": text}).axes == axes


@pytest.mark.parametrize(("texts", "axes"), PROGRAMS.values(), ids=PROGRAMS)
def test_texts_of_other_programs(cli, work, texts, axes):
    assert recover.from_metadata(texts).axes == axes
    png(work / "x.png", texts)
    planned(cli, "x.png")


@pytest.mark.parametrize("text", [text for text, _ in A1111.values()], ids=A1111)
def test_what_is_written_of_a1111_is_planned(cli, work, text):
    png(work / "x.png", {"parameters": text})
    planned(cli, "x.png")


WORDS = st.sampled_from(
    ["a fox", "{a|b}", "__x__", "$", "- a: b", "# c", "(a:1.2)", "<lora:x:1>", "\n", "  ", "狐", "'"]
)
VALUES = {
    "Steps": st.integers(-5, 2_000),
    "Sampler": st.sampled_from([
        "Euler", "Euler a", "DPM++ 2M Karras", "DPM++ 3M SDE", "LMS", "DDIM", "UniPC", "PLMS", "LCM", "Restart",
        "DPM++ 2S a", "TCD", "sa_solver", "k_dpm_2", "uni_pc_bh2", "DEIS", "x" * 90,
    ]),
    "Schedule type": st.sampled_from(["Automatic", "Karras", "Exponential", "Beta", "SGM Uniform"]),
    "CFG scale": st.floats(-1, 2e6, allow_nan=False),
    "Seed": st.integers(-1, 2**65),
    "Size": st.tuples(st.integers(0, 70_000), st.integers(0, 70_000)).map(lambda sides: f"{sides[0]}x{sides[1]}"),
    "Model": st.just("v1"),
}  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    prompt=st.lists(WORDS, max_size=4).map(" ".join),
    negative=st.lists(WORDS, max_size=2).map(" ".join),
    given=st.fixed_dictionaries({}, optional=VALUES),
    model=st.sampled_from(["demo", "demo-1k"]),
)
def test_whatever_a_picture_says_is_planned(tmp_path, prompt, negative, given, model):
    line = ", ".join(f"{key}: {value}" for key, value in ({"Steps": 3, "Model": "x"} | given).items())
    file = tmp_path / "x.txt"
    file.write_text(f"{prompt}\nNegative prompt: {negative}\n{line}", encoding="utf-8")
    text, _ = manifest_from([file], Wanted(model=model))
    made = tmp_path / "made.yaml"
    made.write_text(text, encoding="utf-8")
    (task,) = plan(made).tasks
    assert "<lora" not in task.prompt


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.sampled_from([texts_of.FOOOCUS, texts_of.DRAW_THINGS, texts_of.NOVELAI, texts_of.INVOKE]),
    numbers=st.lists(st.integers(-5, 2**65) | st.floats(-9, 9e9) | st.just("3"), min_size=16, max_size=16),
)
def test_whatever_numbers_a_program_writes_are_planned(tmp_path, data, numbers):
    given = [key for key, value in data.items() if isinstance(value, int | float)]
    changed = data | dict(zip(given, numbers, strict=False))
    file = tmp_path / "x.txt"  # read as the text of a picture is
    file.write_text(json.dumps(changed))
    text, _ = manifest_from([file], Wanted(model="demo"))
    made = tmp_path / "made.yaml"
    made.write_text(text, encoding="utf-8")
    assert len(plan(made).tasks) == 1


@pytest.mark.parametrize("form", ["jpg", "webp", "avif"])
@pytest.mark.parametrize(
    "head",
    [
        b"UNICODE\0" + PLAIN.encode("utf-16-be"), b"UNICODE\0" + PLAIN.encode("utf-16-le"),
        b"UNICODE\0" + PLAIN.encode("utf-16"), b"UNICODE\0" + PLAIN.encode(), b"ASCII\0\0\0" + PLAIN.encode(),
        bytes(8) + PLAIN.encode(), PLAIN.encode(), PLAIN.encode("utf-16-le"), PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-16"),
    ],
    ids=["big", "little", "mark", "utf-8 behind", "ascii", "none", "bare", "bare little", "bare big", "bare mark"],
)  # fmt: skip
def test_comments_in_every_order_of_bytes(cli, work, form, head):
    assert axes_of(cli, with_exif(work / f"x.{form}", head)) == BASE


def test_what_a_camera_wrote_is_no_text(work):
    path = with_exif(work / "x.jpg", bytes(range(1, 80)))
    with pytest.raises(Exception, match="no metadata"):
        manifest_from([path], Wanted())


def test_comments_that_editors_leave(cli, work):
    Image.new("RGB", (8, 8)).save(work / "x.jpg", comment=PLAIN.encode())
    assert axes_of(cli, "x.jpg") == BASE
    exif = Image.Exif()
    exif[0x010E] = PLAIN
    Image.new("RGB", (8, 8)).save(work / "y.webp", exif=exif)
    assert axes_of(cli, "y.webp") == BASE


def test_fooocus_comment_has_no_head(cli, work):
    exif = Image.Exif()
    exif[0x9286], exif[0x0131] = json.dumps(texts_of.FOOOCUS), "Fooocus v2.5.0"
    Image.new("RGB", (8, 8)).save(work / "x.jpg", exif=exif)
    assert axes_of(cli, "x.jpg") == texts_of.FOOOCUS_AXES


@pytest.mark.parametrize("form", ["png", "webp"])
def test_draw_things_writes_into_the_description(cli, work, form):
    packet = pictures.xmp(description="a fox", UserComment=json.dumps(texts_of.DRAW_THINGS))
    if form == "png":
        png(work / "x.png", {"XML:com.adobe.xmp": packet})
    else:
        Image.new("RGB", (8, 8)).save(work / "x.webp", xmp=packet.encode())
    assert axes_of(cli, f"x.{form}") == texts_of.DRAW_THINGS_AXES
    planned(cli, f"x.{form}")


@pytest.mark.parametrize("kind", ["pngcomp", "pnginfo", "rgbcomp", "rgbinfo"])
def test_texts_in_the_lowest_bits(cli, work, kind):
    pictures.stealth(work / "n.png", json.dumps(texts_of.novelai(texts_of.NOVELAI)), kind, side=160)
    assert axes_of(cli, "n.png") == texts_of.NOVELAI_AXES
    pictures.stealth(work / "a.png", PLAIN, kind)
    assert axes_of(cli, "a.png") == BASE


@pytest.mark.parametrize("size", [0, 2**31, 2**32 - 1])
def test_lowest_bits_that_lie(cli, work, size):
    path = pictures.stealth(work / "x.png", "x" * 2**20, side=200)
    with Image.open(path) as image:
        pixels = image.copy()
    for at in range(32):
        red, green, blue, _ = pixels.getpixel((0, 120 + at))
        pixels.putpixel((0, 120 + at), (red, green, blue, 254 | (size >> (31 - at) & 1)))
    pixels.save(path)
    with quick(4):
        outcome = cli("manifest", "from", path)
    assert outcome.code == 2
    assert str(path) in outcome.err


def test_lowest_bits_that_unpack_to_gigabytes(cli, work):
    path = pictures.stealth(work / "x.png", "\0" * 20 * 2**20, side=600)
    with quick(4):
        assert cli("manifest", "from", path).code == 2


@pytest.mark.parametrize("button", [False, True])
def test_a_log_of_fooocus(cli, work, button):
    pictures.log(work / "log.html", button=button)
    outcome = planned(cli, "log.html")
    assert "left out: LoRA sd_xl_offset, strength 0.1" in outcome.err
    grid = axes_of(cli, "log.html")
    assert (grid["prompt"], grid["seed"], grid["size"]) == ("a fox & a whale", [7, 8], "1152x896")


def test_a_page_that_is_no_log(cli, work):
    (work / "log.html").write_text("<div id=" * 100_000)
    with quick(4):
        outcome = cli("manifest", "from", "log.html")
    assert (outcome.code, "not a log of Fooocus" in outcome.err) == (2, True)


def test_a_text_beside_a_picture(cli, work):
    Image.new("RGB", (8, 8)).save(work / "x.jpg")
    (work / "x.txt").write_text(PLAIN, encoding="utf-8-sig")
    assert axes_of(cli, "x.jpg") == BASE
    assert axes_of(cli, "x.txt") == BASE
    (work / "x.txt").write_text("a caption for training, fox")
    outcome = cli("manifest", "from", "x.jpg")
    assert (outcome.code, "no metadata" in outcome.err) == (2, True)
    assert cli("manifest", "from", "x.txt").code == 2


@pytest.mark.parametrize("between", ["", "\n", "\n----\n", "\r\n"])
def test_a_text_of_several_pictures_is_parted(cli, work, between):
    second = PLAIN.replace("a fox", "{a wolf}\nin snow")
    assert second != PLAIN
    (work / "x.txt").write_text(f"{PLAIN}\n{between}{second}\nTemplate: {{a}}\n{between}{PLAIN}\n", newline="")
    grid = axes_of(cli, "x.txt")
    assert grid["prompt"] == [BASE["prompt"], BASE["prompt"].replace("a fox", "{a wolf}\nin snow")]
    assert grid["negative_prompt"] == BASE["negative_prompt"]
    Image.new("RGB", (8, 8)).save(work / "x.jpg")
    assert "no metadata" in cli("manifest", "from", "x.jpg").err


# What is said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (A1111["hires"][0], "enlarged by a second pass (Hires); size is that of the first"),
        (f"{PLAIN}, Denoising strength: 0.4", "made from another picture (Denoising strength)"),
        (A1111["empty prompt"][0], "its prompt is empty, which a manifest cannot say; '.' stands in its place"),
        (A1111["extensions"][0], "left out: ADetailer model, ADetailer prompt, ControlNet 0"),
        (A1111["lines of a template"][0], "left out: Negative Template, Template"),
        (A1111["no size"][0], "it says nothing of size"),
        (A1111["no model"][0], "it names no model; write one under model:, or name it with --model"),
        (A1111["too many steps"][0], "left out: steps 5000 (5000 is out of bounds; 1 to 1000 is possible)"),
        (A1111["a seed of a program"][0], "left out: seed -1 (-1 is no seed here"),
        (PLAIN.replace("Euler a", "Restart"), "sampler Restart is not known here"),
        (PLAIN.replace("Euler a", "Euler, Schedule type: Beta"), "left out: schedule Beta"),
        (PLAIN, "model: 'sd15' is not known"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_not_carried_over_is_a_comment(cli, work, text, said):
    png(work / "x.png", {"parameters": text})
    outcome = cli("manifest", "from", "x.png")
    assert said in outcome.err
    assert f"\n# x.png: {said}" in outcome.out or said in outcome.out.split("\ngrid:")[0]


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (texts_of.COMFY, "left out: LoRA fur.safetensors, strength 0.8; name its file under lora:"),
        (texts_of.COMFY_FLUX, "it is one of 4 made in one go: the seed is that of the first"),
        (texts_of.COMFY_TWO_PASSES, "the graph has 2 samplers; read is node 3"),
        (texts_of.COMFY_EFFICIENT, "it was made from another picture (denoise 0.6)"),
        (texts_of.COMFY_CONTROL, "node ConditioningCombine, node ControlNetApplyAdvanced"),
    ],
    ids=["lora", "several", "passes", "picture", "nodes"],
)
def test_what_a_graph_did_beside_is_said(graph, said):
    assert any(said in note for note in comfy(json.dumps(graph)).notes)


def test_a_picture_with_the_window_alone_is_refused(cli, work):
    png(work / "x.png", {"workflow": '{"nodes": []}'})
    outcome = cli("manifest", "from", "x.png")
    assert (outcome.code, "not what was run" in outcome.err) == (2, True)


def test_what_a_model_cannot_do_is_left_out(cli, work):
    png(work / "x.png", {"parameters": PLAIN.replace("512x512", "1000x300")})
    outcome = planned(cli, "x.png")
    assert "left out: scheduler euler-a: euler-a cannot follow demo" in outcome.err
    assert "size: demo renders " in outcome.err


def test_a_scheduler_may_do_without_its_settings(cli, work):
    png(work / "x.png", {"parameters": PLAIN.replace("Euler a", "Euler a Karras")})
    assert axes_of(cli, "x.png", "--model", "sdxl")["scheduler"] == "euler-a"
    outcome = cli("manifest", "from", "x.png", "--model", "sdxl")
    assert "left out: settings of the scheduler euler-a: euler-a has no setting use_karras_sigmas" in outcome.err


def test_a_model_that_a_picture_names_is_not_opened(cli, work):
    shutil.copytree(DEMO, work / "local")
    png(work / "x.png", {"parameters": PLAIN.replace("Model: sd15", "Model: ./local")})
    assert axes_of(cli, "x.png")["scheduler"] == "euler-a"
    assert "look at the places that the pictures name" in cli("manifest", "from", "x.png").err
    assert "scheduler" not in axes_of(cli, "x.png", "--model", "./local")


# Graphs made to hurt

LONG = {str(at): texts_of.node("Reroute", steps=[str(at + 1), 0], text=[str(at + 1), 0]) for at in range(2_500)}
WIDE = {
    f"s{at}": texts_of.node("KSampler", positive=["0", 0], steps=["0", 0], denoise=["0", 0]) for at in range(1_200)
}


@pytest.mark.parametrize(
    "graph",
    [
        LONG | {"s": texts_of.node("KSampler", positive=["0", 0], steps=["0", 0], seed=["0", 0])},
        WIDE | LONG,
        {"1": texts_of.node("KSampler", positive=["1", 0], negative=["1", 0], steps=["1", 0], model=["1", 0])},
        {"1": {"class_type": [], "inputs": {"positive": [[], {}], "steps": {}, "seed": [None]}}},
        {"1": {"class_type": {}, "inputs": []}, "2": 5},
        {"1": texts_of.node("KSampler", positive="a", seed=float("inf"), steps=1e300, width=True)},
    ],
    ids=["long", "wide", "circle", "types", "more types", "numbers"],
)
def test_graphs_that_hurt(graph):
    with quick(2):
        try:
            recover.from_metadata({"prompt": json.dumps(graph)})
        except ValueError as error:
            assert str(error).startswith("prompt: ")


def test_lines_of_settings_by_the_thousand():
    with quick(2):
        a1111("Steps: 1, a: b\n" * 20_000 + PLAIN + "\nSteps: 1, a: b" * 2_000)
