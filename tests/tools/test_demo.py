"""The demo model: its world, the judge of its pictures, its training, and the weights that ship."""

from __future__ import annotations

import csv
import signal
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from diffusers import SanaPipeline
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import demo_judge
import demo_parts
import demo_world
import eval_demo_model
import train_demo_model

SHIPPED = ROOT / "batch" / "models" / "demo"


def painted(scene, width=256, height=256):
    return demo_world.paint(scene, width, height).round().clip(0, 255).astype(np.uint8)


def test_the_world_is_repeatable_and_holds_some_out():
    taught = list(islice(demo_world.scenes(3), 300))
    assert taught == list(islice(demo_world.scenes(3), 300))
    assert not any(demo_world.held_out(scene) for scene in taught)
    held = list(islice(demo_world.scenes(3, held=True), 100))
    # Sizes and places are not part of a combination: none of the held out is taught with others of them.
    words = {demo_world.caption(scene) for scene in taught}
    for scene in held:
        assert demo_world.held_out(scene)
        usual = tuple(replace(thing, size="") for thing in scene.things)
        assert demo_world.caption(replace(scene, things=usual, places=False)) not in words


def test_captions_say_kinds_colours_sizes_and_places():
    things = (demo_world.Thing("circle", "red", "small"), demo_world.Thing("house", "orange"))
    scene = demo_world.Scene("plain", ("blue",), things, places=True)
    assert demo_world.caption(scene) == (
        "a small red circle on the left and an orange house on the right, on a blue background"
    )
    assert demo_world.caption(replace(scene, ground="night", colours=(), places=False)) == (
        "a small red circle and an orange house at night"
    )
    hills = demo_world.Scene("hills", ("orange", "green"), (demo_world.Thing("house", "white"),), sun="yellow")
    assert demo_world.caption(hills) == ("a white house on green hills under an orange sky with a yellow sun")


@pytest.mark.parametrize("size", [(256, 256), (336, 192), (192, 336)])
def test_a_part_of_a_picture_is_that_part_of_the_whole(size):
    width, height = size
    for scene in islice(demo_world.scenes(1), 10):
        whole = demo_world.paint(scene, width, height)
        part = demo_world.paint(scene, width, height, (40, 30, 150, 160))
        # Corners outside the window are rounded the other way: a quarter of a pixel, along edges only.
        different = np.abs(whole[30:160, 40:150] - part)
        assert different.mean() < 0.3 and (different > 1).any(-1).mean() < 0.03


def test_cells_name_what_the_picture_shows():
    left = demo_world.Thing("square", "red", x=0.25, radius=0.2)
    right = demo_world.Thing("heart", "white", x=0.75, radius=0.2)
    what, colour = demo_world.cells(demo_world.Scene("plain", ("blue",), (left, right)), 16, 16)
    names, colours = demo_world.NAMES, list(demo_world.COLOURS)
    assert (names[what[8, 4]], names[what[8, 12]], names[what[0, 0]]) == ("square", "heart", "plain")
    assert (colours[colour[8, 4]], colours[colour[8, 12]], colours[colour[0, 0]]) == ("red", "white", "blue")


@pytest.mark.parametrize("kind", ["one", "two", "landscape"])
def test_the_judge_tells_right_drawings_from_wrong_ones(kind):
    for scene in islice(demo_world.scenes(2, kind=kind), 20):
        assert demo_judge.judge(scene, painted(scene)).right, demo_world.caption(scene)
        assert not demo_judge.judge(scene, np.full((256, 256, 3), 127, np.uint8)).right
    first, second = islice(demo_world.scenes(4, kind=kind), 2)
    assert not demo_judge.judge(first, painted(second)).right


def test_the_judge_sees_through_blur_what_a_person_sees():
    def soft(scene):
        picture = gaussian_filter(demo_world.paint(scene, 512, 512), (8, 8, 0))
        return picture.round().clip(0, 255).astype(np.uint8)

    for scene in islice(demo_world.scenes(2, kind="two"), 20):
        assert demo_judge.judge(scene, soft(scene)).right, demo_world.caption(scene)
        for other in (kind for kind in demo_world.KINDS if kind != scene.things[0].kind):
            wrong = replace(scene, things=(replace(scene.things[0], kind=other), scene.things[1]))
            assert not demo_judge.judge(scene, soft(wrong)).right, other


def test_the_judge_tells_shapes_colours_and_counts_apart():
    scene = demo_world.Scene("plain", ("blue",), (demo_world.Thing("circle", "red"),))
    square = replace(scene, things=(replace(scene.things[0], kind="square"),))
    verdict = demo_judge.judge(scene, painted(square))
    assert verdict.background and verdict.colours and not verdict.shapes
    pink = replace(scene, things=(replace(scene.things[0], colour="pink"),))
    verdict = demo_judge.judge(scene, painted(pink))
    assert verdict.shapes and not verdict.colours
    pair = tuple(replace(scene.things[0], x=x, radius=0.15) for x in (0.25, 0.75))
    doubled = replace(scene, things=pair)
    assert not demo_judge.judge(scene, painted(doubled)).right


@pytest.mark.parametrize(("count", "says"), [("0", "must be 1 or more"), ("1000", "no 1000 different captions")])
def test_a_count_that_cannot_be_is_refused(monkeypatch, capsys, count, says):
    monkeypatch.setattr(sys, "argv", ["eval_demo_model.py", "--truth", "--count", count])
    with pytest.raises(SystemExit) as refused:
        eval_demo_model.main()
    assert says in capsys.readouterr().err + str(refused.value)


@pytest.fixture(scope="module", name="run")
def trained(tmp_path_factory):
    """Two steps of each part on a few scenes."""
    run = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_demo_model, "SCENES", {"small": 16, "middle": 2, "large": 1})
        train_demo_model.train_autoencoder(run, 2)
        train_demo_model.train_decoder(run, 2)
        train_demo_model.train_transformer(run, 2, None)
        yield run


@pytest.mark.slow
@pytest.mark.xdist_group("training")
def test_training_resumes_where_it_ended_and_exports_a_pipeline(run, tmp_path):
    drawn = (run / "bank-small.pt").stat().st_mtime_ns
    train_demo_model.train_transformer(run, 3, None)
    assert (run / "bank-small.pt").stat().st_mtime_ns == drawn  # scenes are kept
    assert torch.load(run / "transformer.pt", weights_only=True)["step"] == 3
    train_demo_model.export(run, tmp_path / "model")
    pipe = SanaPipeline.from_pretrained(tmp_path / "model", dtype=torch.float32)
    picture = pipe("a red circle", width=512, height=512, num_inference_steps=1, output_type="np").images[0]
    assert picture.shape == (512, 512, 3) and np.isfinite(picture).all()


@pytest.mark.slow
@pytest.mark.xdist_group("training")
def test_training_begins_with_an_exported_model(run, tmp_path):
    train_demo_model.export(run, tmp_path / "model")
    again = tmp_path / "again"
    again.mkdir()
    for name in (file.name for file in run.glob("bank-*.pt")):
        (again / name).write_bytes((run / name).read_bytes())
    # No step is taken, so what is kept is what it began with.
    train_demo_model.train_transformer(again, 1, tmp_path / "model", rate=0.0)
    train_demo_model.export(again, tmp_path / "same")
    for part in ("transformer/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"):
        weights = [load_file(tmp_path / name / f"{part}.safetensors") for name in ("model", "same")]
        assert all(torch.allclose(weights[0][key], weights[1][key], atol=1e-3) for key in weights[0]), part


def test_losses_are_written_every_fifty_steps(tmp_path):
    course = train_demo_model.Course(tmp_path, "line", {"line": torch.nn.Linear(2, 1)}, 100, rate=0.01)
    before = signal.getsignal(signal.SIGINT)
    course.follow({"loss": course.modules["line"](torch.ones(1, 2)).square().mean()} for _ in range(200))
    assert signal.getsignal(signal.SIGINT) is before
    rows = list(csv.DictReader((tmp_path / "line.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["step"] for row in rows] == ["50", "100"] and course.step == 100
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])


def test_a_signal_ends_training_with_its_state_kept(tmp_path):
    course = train_demo_model.Course(tmp_path, "line", {"line": torch.nn.Linear(2, 1)}, 100, rate=0.01)

    def losses():
        while True:
            if course.step == 7:
                signal.raise_signal(signal.SIGINT)
            yield {"loss": course.modules["line"](torch.ones(1, 2)).square().mean()}

    course.follow(losses())
    assert course.stopped
    again = train_demo_model.Course(tmp_path, "line", {"line": torch.nn.Linear(2, 1)}, 100, rate=0.01)
    again.restore()
    assert again.step == 8
    assert torch.equal(again.modules["line"].weight, course.modules["line"].weight)


@pytest.fixture(scope="module", name="shipped")
def shipped_pipeline():
    pipe = SanaPipeline.from_pretrained(SHIPPED, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_training_sees_texts_as_the_pipeline_encodes_them(shipped):
    texts = train_demo_model.Texts(shipped.text_encoder)
    prompts = ["a red circle on a blue background", "an orange house at night"]
    with torch.no_grad():
        mine, mask = texts([*prompts, ""])
        embeds, its_mask, none, none_mask = shipped.encode_prompt(
            prompts, complex_human_instruction=train_demo_model.inspect.signature(SanaPipeline.__call__)
            .parameters["complex_human_instruction"].default,
        )  # fmt: skip
    for index in range(2):
        kept = int(mask[index].sum())
        assert kept == int(its_mask[index].sum())
        assert torch.allclose(mine[index, :kept], embeds[index, :kept], atol=1e-4)
    assert int(mask[2].sum()) == int(none_mask[0].sum()) == 1
    assert torch.allclose(mine[2, 0], none[0, 0], atol=1e-4)


def test_words_of_the_world_are_one_token_each():
    tokenizer, _ = demo_parts.tokenizer()
    for scene in islice(demo_world.scenes(9), 50):
        text = demo_world.caption(scene)
        words = text.replace(",", "").split()
        assert len(tokenizer.tokenize(" " + text.replace(",", ""))) == len(words)


def test_what_ships_is_small_and_is_licensed_and_described():
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card and "cannot" in card


@pytest.mark.slow
def test_the_shipped_model_draws_what_held_out_captions_say(shipped):
    chosen = eval_demo_model.held_out_scenes("one", 8)
    given = eval_demo_model.argparse.Namespace(width=512, height=512, steps=12, guidance=2.0)
    verdicts = [
        demo_judge.judge(scene, (picture * 255).round().clip(0, 255).astype(np.uint8))
        for scene, picture in zip(chosen, eval_demo_model.drawn(shipped, chosen, given), strict=True)
    ]
    # The figures are measured on a hundred; this notices weights that do not belong to the code.
    assert sum(verdict.background for verdict in verdicts) >= 7
    assert sum(verdict.right for verdict in verdicts) >= 4
