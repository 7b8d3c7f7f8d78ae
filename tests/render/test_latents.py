"""Kept latents, and what a pipeline that is called whole has instead."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from batch.base.errors import UserError
from batch.cli.progress import Silent
from batch.engines.base import Helm
from batch.engines.local import LocalEngine
from batch.records.events import Beat
from batch.render.diffusers_backend import Diffusers
from tests.helpers import only_receipt, picture
from tests.render.direct import job
from tests.render.parts import redecoded, spec

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_whole_pipeline_fills_the_total_columns_only(cli, manifest, work, tiny):
    path = manifest(job(tiny("sd1"), size="64x64"))
    steps = []

    class Steps:
        def on(self, event):
            if isinstance(event, Beat):
                steps.append(event)

    assert cli("run", path, "--out", "run", "--quiet").code == 0
    row = pd.read_csv(work / "run" / "results.csv").iloc[0]
    assert row["total_s"] > row["save_s"] > 0
    assert row["peak_rss_mib"] > 0
    assert row[["encode_s", "denoise_s", "decode_s", "denoise_peak_mib", "decode_peak_mib"]].isna().all()
    receipt = only_receipt(work / "run")
    assert receipt.measurement.whole.seconds > 0
    tasks = [replace(receipt.task, id="0" * 16)]
    list(LocalEngine(Diffusers()).execute(tasks, spec(work, tiny("sd1")), Steps(), stop=Helm()))
    parts = [beat.part for beat in steps if beat.stage == "render" and beat.part]
    assert parts == [1, 2, 2]  # PNDM goes through three timesteps


@pytest.mark.parametrize("name", ["sdxl", "pixart", "flux", "sana-sprint", "sd3", "qwen_image", "z_image"])
def test_kept_latents_decode_to_the_same_picture(cli, manifest, work, tiny, name, monkeypatch):
    size = {"pixart": "256x256", "sana-sprint": "1024x1024"}.get(name, "96x64")
    path = manifest(job(tiny(name), size=size))
    assert cli("run", path, "--out", "first", "--quiet").code == 0
    decoded, failed = redecoded(work, tiny(name), only_receipt(work / "first").task, monkeypatch)
    assert np.array_equal(picture(work / "run", decoded.receipt), picture(work / "first"))
    assert decoded.receipt.measurement.denoise is None
    assert decoded.receipt.measurement.decode.seconds > 0
    assert failed.error.stage == "decode"


def test_keep_latents_of_a_whole_pipeline_is_refused(work, tiny):
    with pytest.raises(UserError, match="called whole"):
        list(
            LocalEngine(Diffusers()).execute([], spec(work, tiny("sd1"), keep_latents=True), Silent(), stop=Helm())
        )
