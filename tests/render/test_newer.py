"""The models of 2025 and 2026 in stages, each against one direct call of its pipeline."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from batch.catalogue.families import FAMILIES, PIPELINE_FAMILY
from batch.records.spec import ModelSource
from batch.store.folder import RunFolder
from tests import tiny_newer
from tests.conftest import ROOT
from tests.helpers import only_receipt, picture, receipts_of
from tests.render import test_modular
from tests.render.allocations import activations, task
from tests.render.direct import direct, job, loaded
from tests.render.parts import redecoded
from tests.render.test_families import moved  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

PROCESSORS = ("flux2", "qwen_image_21", "flux3")
"""Their tokenizers are parts of processors of pictures, for which transformers wants torchvision."""


def named(name):
    missing = name in PROCESSORS and find_spec("torchvision") is None
    marks = [pytest.mark.skip("rendered by test_those_with_processors_too")] if missing else []
    return pytest.param(name, marks=marks)


every = pytest.mark.parametrize("name", [named(name) for name in [*tiny_newer.BUILDERS, "anima", "flux3"]])

NO_NEGATIVE = ("flux2", "flux2-klein", "flux-kontext", "ideogram4")
"""Their calls take no negative prompt, or not for guidance."""


def expected(name, folder, *, guidance=4.5, negative="", width=96, **more):
    """What the pipeline itself gives, as far as it is a picture in three channels."""
    scale = "true_cfg_scale" if name == "qwen_image_21" else "guidance_scale"
    given = {scale: float(guidance), "width": width, "height": 64, **OWN.get(name, {}), **more}
    if name == "flux-kontext":
        given["max_area"] = width * 64
    if name not in NO_NEGATIVE:
        given["negative_prompt"] = negative or OWN_NEGATIVE.get(name, "")
    return direct(folder, **given)[..., :3]


OWN = {"ideogram4": {"guidance_schedule": None}, "prx": {"use_resolution_binning": False}}
OWN_NEGATIVE = {"qwen_image_21": " "}


@every
def test_the_picture_is_bit_identical_to_the_pipeline_call(cli, manifest, work, tiny, name):
    outcome = cli("run", manifest(job(tiny(name), size="96x64", guidance=4.5)), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    wanted = expected(name, tiny(name))
    assert np.array_equal(picture(work / "run"), wanted)
    assert wanted.std() > 5


@every
def test_without_guidance_and_with_a_negative_prompt(cli, manifest, work, tiny, name):
    negative = "" if name in NO_NEGATIVE else "blue 5"
    cells = {"size": "64x64", "guidance": [0 if name == "krea2" else 1, 3], "negative_prompt": negative}
    outcome = cli("run", manifest(job(tiny(name), **cells)), "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.out + outcome.err
    for receipt in receipts_of(work / "run"):
        wanted = expected(name, tiny(name), guidance=receipt.task.guidance, negative=negative, width=64)
        assert np.array_equal(picture(work / "run", receipt), wanted)


@every
def test_tiles_and_offloading_match_the_direct_call(cli, manifest, work, tiny, moved, name):  # noqa: F811
    path = manifest(job(tiny(name), size="96x64", guidance=4.5, memory="vae_tiling(64, 32) + model_cpu_offload"))
    outcome = cli("run", path, "--out", "run", "--quiet")
    assert outcome.code == 0, outcome.err
    wanted = expected(name, tiny(name), tile=64, offload=True)
    assert np.array_equal(picture(work / "run"), wanted)
    assert len(moved) >= 4


@every
def test_images_of_a_batch_are_those_rendered_alone(cli, manifest, tiny, name):
    path = manifest(
        "run: {compile: off}\n" + job(tiny(name), size="64x64", prompt=["a fox", "a whale 7"], guidance=3)
    )
    assert cli("run", path, "--out", "alone", "--quiet").code == 0
    assert cli("run", path, "--out", "batch", "--set", "run.batch=2", "--quiet").code == 0
    alone, batch = (RunFolder(path.parent / one).scan().receipts for one in ("alone", "batch"))
    together = 1 if FAMILIES[PIPELINE_FAMILY[loaded(tiny(name))[0].__class__.__name__]].alone else 2
    assert {item.batch for item in batch.values()} == {together}
    for key, receipt in alone.items():
        before, now = (picture(path.parent / one, receipt).astype(int) for one in ("alone", "batch"))

        assert np.abs(before - now).max() <= 1, key


@every
def test_kept_latents_decode_to_the_same_picture(cli, manifest, work, tiny, name, monkeypatch):
    path = manifest(job(tiny(name), size="96x64", guidance=3))
    assert cli("run", path, "--out", "first", "--quiet").code == 0
    decoded, failed = redecoded(work, tiny(name), only_receipt(work / "first").task, monkeypatch)
    assert np.array_equal(picture(work / "run", decoded.receipt), picture(work / "first"))
    assert failed.error.stage == "decode"


@every
def test_activations_are_those_of_a_real_run(tiny, name):
    family = PIPELINE_FAMILY[loaded(tiny(name))[0].__class__.__name__]
    source = ModelSource(name="x", family=family, location=str(tiny(name)))
    predicted, real = activations(source, task(256))
    assert predicted == pytest.approx(real, rel=0.05)


def test_those_with_processors_too():
    if find_spec("torchvision") is not None:
        return
    path = os.pathsep.join([str(ROOT / "tests" / "fakes"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rps", __file__, test_modular.__file__, "-k", " or ".join(PROCESSORS)],
        env={**os.environ, "PYTHONPATH": path}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    passed = [line for line in done.stdout.splitlines() if line.startswith("PASSED")]
    assert done.returncode == 0 and "SKIPPED" not in done.stdout, done.stdout + done.stderr
    ends = tuple(f"[{name}]" for name in PROCESSORS)
    assert len([line for line in passed if line.endswith(ends)]) == 6 * len(PROCESSORS)
    assert any(line.endswith("test_a_distilled_flux3_has_no_guidance") for line in passed)
