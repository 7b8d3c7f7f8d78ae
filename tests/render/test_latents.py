"""Kept latents, and what a pipeline that is called whole has instead."""

from dataclasses import replace
from threading import Event

import numpy as np
import pandas as pd
import pytest
import safetensors.torch

from batch.base.errors import UserError
from batch.cli.progress import Silent
from batch.engines.local import LocalEngine
from batch.hub import models as hub
from batch.plan.texts import encode_tasks
from batch.records.events import Beat
from batch.records.spec import RunSpec
from batch.render.diffusers_backend import Diffusers
from batch.render.families import common
from tests.helpers import only_receipt, picture
from tests.render.direct import job

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
    list(LocalEngine(Diffusers()).execute(tasks, spec(work, tiny("sd1")), Steps(), stop=Event()))
    parts = [beat.part for beat in steps if beat.stage == "render" and beat.part]
    assert parts == [1, 2, 2]  # PNDM goes through three timesteps


def spec(work, folder, **changes):
    model = hub.find_model(str(folder), work, {}, online=False)
    return RunSpec(
        root=str(work / "run"), device="cpu", cache=str(work / "cache"), runner="test",
        models={model.name: hub.source(model)}, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["sdxl", "pixart", "flux", "sana-sprint", "sd3", "qwen_image", "z_image"])
def test_kept_latents_decode_to_the_same_picture(cli, manifest, work, tiny, name, monkeypatch):
    size = {"pixart": "256x256", "sana-sprint": "1024x1024"}.get(name, "96x64")
    path = manifest(job(tiny(name), size=size))
    assert cli("run", path, "--out", "first", "--quiet").code == 0
    receipt = only_receipt(work / "first")
    keeping = spec(work, tiny(name), keep_latents=True)
    (work / "run").mkdir()
    outcomes = list(
        LocalEngine(Diffusers()).execute(
            [*encode_tasks(receipt.task, name.replace("-", "_"), "cpu"), receipt.task],
            keeping,
            Silent(),
            stop=Event(),
        )
    )
    assert {outcome.status for outcome in outcomes} == {"done"}
    kept = work / "run" / "latents" / f"{receipt.task.id}.safetensors"
    assert set(safetensors.torch.load_file(kept)) == {"latents"}

    for part in ("load_text_encoder", "load_without_texts"):
        monkeypatch.setattr(common, part, None)
    again, gone = replace(receipt.task, id="1" * 16), replace(receipt.task, id="2" * 16)
    decoding = spec(work, tiny(name), latents={again.id: str(kept), gone.id: "nowhere"})
    failed, decoded = sorted(
        LocalEngine(Diffusers()).execute([again, gone], decoding, Silent(), stop=Event()),
        key=lambda outcome: outcome.status,
        reverse=True,
    )
    assert np.array_equal(picture(work / "run", decoded.receipt), picture(work / "first"))
    assert decoded.receipt.measurement.denoise is None
    assert decoded.receipt.measurement.decode.seconds > 0
    assert failed.error.stage == "decode"


def test_keep_latents_of_a_whole_pipeline_is_refused(work, tiny):
    with pytest.raises(UserError, match="called whole"):
        list(
            LocalEngine(Diffusers()).execute(
                [], spec(work, tiny("sd1"), keep_latents=True), Silent(), stop=Event()
            )
        )
