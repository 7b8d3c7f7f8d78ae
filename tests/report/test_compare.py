"""compare over runs of two cards: receipts of real runs, with the cards' names, times and memory put in."""

import base64
import hashlib
import io
import json
import math
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from batch.cli.main import main
from batch.memory import footprint
from batch.plan.identity import identify
from batch.records.kinds import ErrorKind
from batch.records.reading import to_json
from batch.records.receipts import CardState, ErrorInfo, Failure, Machine, Measurement, StagePeak
from batch.records.tasks import Lora
from batch.records.values import Call
from batch.report.compare import choice, pixels
from batch.report.compare.costs import Device, SettingCosts
from batch.report.compare.rows import ComparedSetting
from batch.report.compare.sentences import sentences
from batch.report.images import ShownSetting
from batch.report.timing import Peaks, Seconds
from batch.store import measured
from batch.store.folder import RunFolder

GIB = 2**30
FULL, LARGE, SMALL, CPU = "full", "vae_tiling(384, 320)", "vae_tiling(256, 192)", "vae_cpu"

MANIFEST = """\
grid:
  model: demo
  prompt: [a fox, a whale]
  steps: 1
  size: 512x512
  memory: [full, "vae_tiling(384, 320)", "vae_tiling(256, 192)", vae_cpu]
"""

RTX = Machine(
    device="NVIDIA GeForce RTX 4070", device_memory=12 * GIB, driver="560.1", torch="2.11.0", diffusers="0.42.1"
)
A100 = Machine(device="NVIDIA A100-SXM4-40GB", device_memory=40 * GIB, driver="550.2", torch="2.13.0",
               diffusers="0.42.1")  # fmt: skip

RTX_COSTS = {FULL: (20.0, 11.0), LARGE: (21.0, 7.0), SMALL: (24.0, 5.5), CPU: (60.0, 5.6)}
A100_COSTS = {FULL: (8.0, 30.0), LARGE: (9.0, 7.5), SMALL: (10.0, 5.9), CPU: (40.0, 5.8)}
"""Seconds of an image and GiB on the device."""
WARM = (99.0, 11.5)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "job.yaml").write_text(MANIFEST, encoding="utf-8")
    assert main(["run", str(folder / "job.yaml"), "--out", str(folder / "run"), "--quiet"]) == 0
    for task in RunFolder(folder / "run").tasks():  # a part with edges of tiles is enough, and quicker
        repainted(folder / "run", task, lambda array: array[160:352, 160:352])
    return folder / "run"


def repainted(root, task, change):
    """Other pixels in an image of a run, and a receipt for the file as it is then."""
    folder = RunFolder(Path(root))
    record = json.loads(folder.receipt_path(task.id).read_text(encoding="utf-8"))
    path = Path(root) / record["file"]["path"]
    with Image.open(path) as image:
        changed = change(np.array(image))
    Image.fromarray(changed).save(path)
    record["file"].update(bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    folder.receipt_path(task.id).write_text(json.dumps(record), encoding="utf-8")
    assert folder.is_done(task.id)


@pytest.fixture
def cards(rendered, work):
    """The same run on two cards."""
    on_card(shutil.copytree(rendered, work / "rtx"), RTX, RTX_COSTS)
    on_card(shutil.copytree(rendered, work / "a100"), A100, A100_COSTS)
    return work


def on_card(root, machine, found, *, known="device"):
    """Put a card's figures into the receipts of a run; the images stay as they are."""
    folder = RunFolder(Path(root))
    for number, task in enumerate(folder.tasks()):
        receipt = folder.receipt(task.id)
        cost = measurement(*found[task.memory], 1 + number % 2 / 10, known)
        folder.commit(replace(receipt, machine=machine, measurement=cost))


def measurement(seconds, gib, factor=1.0, known="device"):
    """A tenth of the time goes into each of encoding and saving, three into denoising, five into decoding."""
    kinds = {"allocated": gib - 2, "reserved": gib - 1, "device": gib}
    if known != "device":
        del kinds["device"]
    peaks = {kind: round(value * GIB) for kind, value in kinds.items()}
    encode, denoise = (2 * GIB, 3 * GIB) if known == "device" else (None, None)
    seconds *= factor
    return Measurement(
        encode=StagePeak(seconds=seconds / 10, allocated=GIB, reserved=GIB, device=encode),
        denoise=StagePeak(seconds=seconds * 3 / 10, allocated=GIB, reserved=GIB, device=denoise),
        decode=StagePeak(seconds=seconds * 5 / 10, **peaks),
        save_s=seconds / 10,
        energy_j=seconds * 200,
        memory_source="nvml-process",
        card=CardState(),
    )


def change(root, alter, setting=None):
    """Alter the receipts of a run, or those of one memory setting."""
    folder = RunFolder(Path(root))
    for task in folder.tasks():
        if setting in (None, task.memory) and folder.is_done(task.id):
            folder.commit(alter(folder.receipt(task.id)))


def ran_out(root, setting, requested=27136 * 2**20):
    """Put failures for want of memory in place of a setting's images."""
    folder = RunFolder(Path(root))
    for task in folder.tasks():
        receipt = folder.receipt(task.id)
        if task.memory == setting and receipt is not None:
            folder.receipt_path(task.id).unlink()
            error = ErrorInfo(kind=ErrorKind.OUT_OF_MEMORY, message="no", stage="decode", requested=requested)
            failed = {"measurement": Measurement(), "attempts": 1, "started_at": receipt.started_at}
            folder.fail(Failure(task=task, error=error, machine=receipt.machine, **failed))


def moved(root, change):
    """Other tasks in a run's plan and receipts, under their ids."""
    folder = RunFolder(Path(root))
    tasks = [identify(change(task)) for task in folder.tasks()]
    for before, task in zip(folder.tasks(), tasks, strict=True):
        receipt = folder.receipt(before.id)
        folder.receipt_path(before.id).unlink()
        folder.commit(replace(receipt, task=task))
    lines = [json.dumps(to_json(task)) + "\n" for task in tasks]
    (folder.state / "tasks.jsonl").write_text("".join(lines), encoding="utf-8")


def by_setting(result, run):
    return {row["memory"]: row for row in result["rows"] if row["run"] == run}


# Figures


def test_a_row_holds_times_rates_peaks_and_energy(cli, cards):
    rows = by_setting(cli("compare", "rtx", "a100", "--json").json(), "rtx")
    assert list(rows) == [FULL, LARGE, SMALL, CPU]
    row = rows[LARGE]
    total = np.median([21.0, 21.0 * 1.1]) * 1.0
    assert (row["images"], row["timed"], row["failed"]) == (2, 2, 0)
    assert math.isclose(row["total_s"], total, rel_tol=1e-4)
    assert math.isclose(row["encode_s"], total / 10, rel_tol=1e-3)
    assert (round(row["total_min_s"], 2), round(row["total_max_s"], 2)) == (21.0, 23.1)
    assert math.isclose(row["images_per_hour"], 3600 / total, rel_tol=1e-4)
    assert math.isclose(row["mp_per_s"], 512 * 512 / 1e6 / total, rel_tol=1e-4)
    assert math.isclose(row["wh_per_image"], total * 200 / 3600, rel_tol=1e-4)
    assert (row["peak_allocated_mib"], row["peak_reserved_mib"], row["peak_device_mib"]) == (5120, 6144, 7168)
    assert (row["encode_device_mib"], row["denoise_device_mib"], row["decode_device_mib"]) == (2048, 3072, 7168)
    assert (row["decode_allocated_mib"], row["decode_reserved_mib"]) == (5120, 6144)
    assert (row["memory_kind"], row["memory_mib"]) == ("device", 7168)


def test_energy_that_is_not_known_is_empty(cli, cards):
    change("rtx", lambda item: replace(item, measurement=replace(item.measurement, energy_j=None)))
    rows = cli("compare", "rtx", "a100", "--json").json()["rows"]
    assert [row["wh_per_image"] is None for row in rows] == [True] * 4 + [False] * 4


def test_the_first_image_after_a_load_counts_for_peaks_only(cli, cards):
    first = RunFolder(Path("rtx")).tasks()[0].id
    slow = replace(measurement(99.0, 11.5), warmup=True, load_s=3.0)
    change("rtx", lambda item: replace(item, measurement=slow) if item.task.id == first else item)
    row = by_setting(cli("compare", "rtx", "--json").json(), "rtx")[FULL]
    assert (row["images"], row["timed"], row["peak_device_mib"]) == (2, 1, 11.5 * 1024)
    assert row["total_s"] == row["total_min_s"] == row["total_max_s"] < 30


def test_what_varies_is_never_mixed_in_one_row(cli, cards):
    euler, style = Call(name="flow-euler"), Lora(path="a/style.safetensors", sha256="1", scale=0.5)
    changed = {"guidance": 3.0, "scheduler": euler, "loras": (style,), "extra": (("eta", 0.5),)}
    columns = ("guidance", "scheduler", "lora", "extra")
    for (field, value), column in zip(changed.items(), columns, strict=True):
        moved("rtx", lambda task, new={field: value}: replace(task, **new) if task.prompt == "a fox" else task)
        result = cli("compare", "rtx", "--json").json()
        assert sorted(row["images"] for row in result["rows"]) == [1] * 8
        assert len({row[column] for row in result["rows"]}) == 2
    assert not {"revision", *columns} & set(cli("compare", "a100", "--json").json()["rows"][0])
    shown = cli("compare", "rtx").out
    assert "style 0.5" in shown
    assert all(column in shown for column in columns)


# Out of memory, skipped


def test_out_of_memory_is_a_row(cli, cards):
    ran_out("rtx", FULL)
    outcome = cli("compare", "rtx", "a100", "--out", "both")
    assert re.search(r"full +out of memory while decoding, 27,136 MiB asked for$", outcome.out, re.MULTILINE)
    row = pd.read_csv("both/compare.csv").iloc[0]
    assert (row.memory, row.images, row.failed, row.out_of_memory) == (FULL, 0, 2, 2)
    assert row.outcome == "out of memory while decoding, 27,136 MiB asked for"
    assert pd.isna(row.total_s)
    page = Path("both/compare.html").read_text(encoding="utf-8")
    assert page.count("out of memory</text>") == 1
    assert "full · NVIDIA GeForce RTX 4070: out of memory while decoding" in page
    # The other card has the reference that this one has not.
    rows = by_setting(cli("compare", "rtx", "a100", "--json").json(), "rtx")
    assert (rows[LARGE]["compared_with"], rows[CPU]["identical"]) == ("a100: full", 1)
    alone = cli("compare", "rtx")
    assert "full is not done for 2 pictures: vae_tiling(384, 320) is the reference" in alone.out


def test_a_part_that_ran_out_is_counted(cli, cards):
    folder = RunFolder(Path("rtx"))
    one = folder.tasks()[0]
    kept = folder.receipt(one.id)
    ran_out("rtx", one.memory, requested=None)
    folder.commit(kept)
    row = by_setting(cli("compare", "rtx", "--json").json(), "rtx")[FULL]
    assert (row["images"], row["out_of_memory"]) == (1, 1)
    assert row["outcome"] == "out of memory while decoding (1 of 2)"
    assert not row["pareto"]


def test_what_was_not_tried_has_its_row_and_reason(cli, cards):
    folder = RunFolder(Path("rtx"))
    skipped = {task.id: "dominated by 512x512" for task in folder.tasks() if task.memory == FULL}
    ran_out("rtx", FULL)
    for key in skipped:
        (folder.state / "failures" / f"{key}.json").unlink()
    measured.keep_skipped(folder.state, skipped, "test")
    row = by_setting(cli("compare", "rtx", "--json").json(), "rtx")[FULL]
    assert (row["device"], row["skipped"], row["failed"], row["images"]) == (RTX.device, 2, 0, 0)
    assert row["outcome"] == "skipped: dominated by 512x512"
    assert re.search(r"full +skipped: dominated by 512x512$", cli("compare", "rtx").out, re.MULTILINE)


def test_a_folder_without_tasks_or_without_images(cli, cards):
    (cards / "a100" / ".run" / "tasks.jsonl").write_text("", encoding="utf-8")
    for names in (("rtx", "a100"), ("a100", "rtx")):
        outcome = cli("compare", *names, "--out", "both")
        assert outcome.code == 0
        assert len(pd.read_csv("both/compare.csv")) == 4
    shutil.rmtree(cards / "rtx" / ".run" / "receipts")
    outcome = cli("compare", "rtx", "a100", "--out", "both")
    assert "nothing has been rendered" in outcome.out
    assert "rtx: 8 of 8 images are missing" in outcome.out
    assert (cards / "both" / "compare.html").is_file()


# What cannot be compared


def test_versions_and_cards_that_differ_are_named(cli, cards):
    said = cli("compare", "rtx", "a100").out
    assert "not the same torch: 2.11.0 in rtx; 2.13.0 in a100" in said
    assert "not the same driver: 560.1 in rtx; 550.2 in a100" in said
    assert "not the same diffusers" not in said
    assert "not the same torch" not in cli("compare", "rtx").out


def test_a_cpu_beside_a_gpu_is_said(cli, cards, rendered):
    shutil.copytree(rendered, "cpu")
    said = cli("compare", "rtx", "cpu").out
    assert "rendered on a CPU: cpu; on a GPU: rtx" in said
    assert "no GPU: memory on a card was not measured" in said
    assert "on a CPU" not in cli("compare", "rtx", "a100").out


def test_another_revision_is_named_and_not_compared(cli, cards):
    moved("rtx", lambda task: replace(task, revision="1111111111aaaaaaaaaa"))
    moved("a100", lambda task: replace(task, revision="2222222222bbbbbbbbbb"))
    said = "2 pictures of rtx and a100 would be the same but for revision 1111111111 and 2222222222: they are not"
    assert said in cli("compare", "rtx", "a100").out
    rows = cli("compare", "rtx", "a100", "--json").json()["rows"]
    assert [row["revision"] for row in rows] == ["1111111111"] * 4 + ["2222222222"] * 4
    assert by_setting({"rows": rows}, "a100")[SMALL]["compared_with"] == FULL  # its own


def test_other_steps_and_another_dtype_are_named(cli, cards):
    moved("a100", lambda task: replace(task, steps=4, dtype="bfloat16"))
    assert "but for dtype float32 and bfloat16, steps 1 and 4" in cli("compare", "rtx", "a100").out


def test_random_weights_are_said(cli, cards):
    moved("rtx", lambda task: replace(task, model="random:sana-1.6b-4k"))
    assert "the weights of random:sana-1.6b-4k are random" in cli("compare", "rtx").out
    assert "random" not in cli("compare", "a100").out


def test_others_on_the_card_are_marked(cli, cards):
    card = CardState(foreign=2)
    change("rtx", lambda item: replace(item, measurement=replace(item.measurement, card=card)), SMALL)
    outcome = cli("compare", "rtx")
    assert "other processes computed on the card during 2 of 8 images" in outcome.out
    assert re.search(r"^ +3\*?! +vae_tiling\(256, 192\)", outcome.out, re.MULTILINE)
    assert "! other processes were on the card" in outcome.out


def test_a_limit_is_written_beside_the_device(cli, cards):
    on_card("a100", replace(A100, vram_limit=8 * GIB), {**A100_COSTS, FULL: (8.0, 7.9)})
    outcome = cli("compare", "rtx", "a100")
    assert "a100, NVIDIA A100-SXM4-40GB (limited to 8 GiB)" in outcome.out
    where = "on A100-SXM4-40GB (limited to 8 GiB)"
    assert f"Fastest within that limit {where}: {FULL}, 8.4 s, 7.9 GiB, the reference for pixels" in outcome.out
    assert f"Fastest under 6 GB {where}: {CPU}" in outcome.out
    assert "a100 was held to 8 GiB of its card: in memory it stands for a smaller one, not in time" in outcome.out
    assert "under 8" not in outcome.out.partition(where)[2].partition("RTX")[0]


def test_repeats_of_a_measurement_and_its_warmups(cli, cards):
    """Warm-ups count for peaks alone, and repeats of the reference are compared with its first one."""

    def repeat(task):
        return replace(task, prompt="a fox", repeat=1 + (task.prompt == "a whale"))

    moved("rtx", repeat)
    assert by_setting(cli("compare", "rtx", "--json").json(), "rtx")[LARGE]["images"] == 2
    moved("rtx", lambda task: replace(task, warmup=True, repeat=1) if task.repeat == 1 else task)
    change("rtx", lambda item: replace(item, measurement=measurement(*WARM)) if item.task.warmup else item)
    rows = by_setting(cli("compare", "rtx", "--json").json(), "rtx")
    row = rows[LARGE]
    assert (row["images"], row["timed"], row["compared"], row["peak_device_mib"]) == (1, 1, 1, WARM[1] * 1024)
    assert row["total_s"] < WARM[0]
    assert (rows[FULL]["compared"], rows[FULL]["is_reference"]) == (None, True)


# The choice


def test_the_sentence(cli, cards):
    outcome = cli("compare", "rtx", "a100")
    lines = outcome.out.splitlines()
    worst = by_setting(cli("compare", "rtx", "a100", "--json").json(), "rtx")
    large, small = (
        f"PSNR {row['psnr_min']:.1f} dB, SSIM {row['ssim_min']:.3f} at worst"
        for row in (worst[LARGE], worst[SMALL])
    )
    assert "Under 4 GB on RTX 4070: nothing that was measured fits" in lines
    exact = f"with identical pixels {CPU}, 63 s, 5.6 GiB"
    assert f"Fastest under 6 GB on RTX 4070: {SMALL}, 25.2 s, 5.5 GiB, {small}; {exact}" in lines
    assert f"Fastest under 8 GB on RTX 4070: {LARGE}, 22.1 s, 7.0 GiB, {large}; {exact}" in lines
    assert f"Fastest with all of its memory on RTX 4070: {FULL}, 21 s, 11.0 GiB, the reference for pixels" in lines
    assert any(line.startswith(f"Fastest under 8, 12, 16 and 24 GB on A100-SXM4-40GB: {LARGE}") for line in lines)
    assert lines[-1].startswith("Fastest with all of its memory on A100")


def test_unknown_device_memory_adds_an_allowance_and_says_so(cli, cards):
    on_card("rtx", RTX, RTX_COSTS, known="reserved")
    row = by_setting(cli("compare", "rtx", "--json").json(), "rtx")[SMALL]
    assert (row["memory_kind"], row["memory_mib"]) == ("reserved", 4.5 * 1024 + footprint.CONTEXT / 2**20)
    assert "5.0 GiB (of which 0.5 allowed for CUDA itself)" in cli("compare", "rtx").out


def test_the_card_keeps_a_part_for_itself(cli, cards):
    on_card("rtx", RTX, {**RTX_COSTS, LARGE: (21.0, 7.9)})
    assert f"Fastest under 6 and 8 GB on RTX 4070: {SMALL}" in cli("compare", "rtx").out


def costs(memory, seconds, device, **others):
    """A row of one card and model, in seconds and MiB."""
    made = ShownSetting(model="demo", revision="", size="512x512", steps=1, guidance=1.0, scheduler="default",
                   dtype="float32", memory_used=memory, degraded_from="", lora="none", extra="")  # fmt: skip
    figures = {"seconds": Seconds(total=seconds), "peaks": Peaks(device=device)}
    return SettingCosts(run="a", device=Device(name="rtx"), setting=made, **figures, **others)


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([(1, 9), (2, 5), (3, 6), (4, 4)], [True, True, False, True]),
        ([(1, 9), (1, 8), (2, 8)], [False, True, False]),
        ([(1, 1), (1, 1)], [True, False]),
        ([(2, 3), (1, None), (None, 1)], [True, False, False]),
    ],
)
def test_the_pareto_set(points, best):
    assert choice.pareto([costs("full", seconds, device=gib) for seconds, gib in points]) == best


def test_degraded_and_failed_rows_are_no_choice(cli, cards):
    change("rtx", lambda item: replace(item, degraded_from=FULL, memory_used=LARGE), FULL)
    result = cli("compare", "rtx", "--json").json()
    degraded = by_setting(result, "rtx")[f"{LARGE} (degraded from {FULL})"]
    assert not degraded["pareto"]
    assert all("degraded" not in sentence for sentence in result["sentences"])
    assert any(f"with all of its memory on RTX 4070: {LARGE}" in sentence for sentence in result["sentences"])


# Pixels


def test_a_setting_is_compared_with_the_reference_of_its_own_run(cli, cards):
    """What the other card does to pixels is not the setting's."""
    for task in RunFolder(Path("a100")).tasks():
        repainted("a100", task, lambda array: np.clip(array.astype(int) + 3, 0, 255).astype(np.uint8))
    result = cli("compare", "rtx", "a100", "--json").json()
    rows = by_setting(result, "a100")
    assert (rows[FULL]["compared_with"], rows[FULL]["max_diff"]) == ("rtx: full", 3)
    assert (rows[CPU]["compared_with"], rows[CPU]["identical"]) == (FULL, 1)
    assert any("between two cards low bits of pixels differ" in note for note in result["notes"])


@pytest.mark.parametrize("height", [7, 40, 262, 263, 600])
def test_ssim_by_bands_is_that_of_the_whole(height):
    from skimage.metrics import structural_similarity

    random = np.random.default_rng(height)
    one = random.integers(0, 256, (height, 90, 3), np.uint8)
    other = np.clip(one + random.integers(-20, 20, one.shape), 0, 255).astype(np.uint8)
    other[: height // 2] = one[: height // 2]
    whole = structural_similarity(one, other, channel_axis=-1)
    assert math.isclose(pixels.ssim(one, other), whole, abs_tol=1e-6)
    assert whole < 0.999
    grey = structural_similarity(one[..., 0], other[..., 0])
    assert math.isclose(pixels.ssim(one[..., 0], other[..., 0]), grey, abs_tol=1e-6)


def test_a_picture_below_the_window_has_no_ssim():
    assert pixels.ssim(np.zeros((6, 90, 3), np.uint8), np.ones((6, 90, 3), np.uint8)) is None


def test_ssim_is_in_the_table(cli, cards):
    from skimage.metrics import structural_similarity

    row = by_setting(cli("compare", "rtx", "--json").json(), "rtx")[SMALL]
    scan, pairs = RunFolder(Path("rtx")).scan(), {}
    for receipt in scan.receipts.values():
        with Image.open(Path("rtx") / receipt.file.path) as image:
            pairs.setdefault(receipt.task.picture_id, {})[receipt.task.memory] = np.asarray(image)
    found = [structural_similarity(pair[FULL], pair[SMALL], channel_axis=-1) for pair in pairs.values()]
    assert math.isclose(row["ssim_mean"], np.mean(found), abs_tol=1e-6)
    assert math.isclose(row["ssim_min"], min(found), abs_tol=1e-6)


def test_without_scikit_image_the_csv_says_so(cli, cards, monkeypatch):
    monkeypatch.setattr(pixels.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "skimage", None)
    outcome = cli("compare", "rtx", "--out", "found")
    assert "SSIM is not computed: scikit-image is not installed; pip install 'run-batch[compare]'" in outcome.out
    rows = pd.read_csv("found/compare.csv", keep_default_na=False)
    assert rows.ssim_min.tolist() == ["", "not installed", "not installed", ""]
    assert rows.psnr_min.tolist()[1] != ""


def test_a_planted_difference_is_seen_at_its_place():
    one = np.full((1500, 2000, 3), 90, np.uint8)
    other = one.copy()
    other[600:610, 800, 1] += 2  # ten pixels of a seam one pixel wide
    shown = pixels.where(one, other)
    assert (shown.block, shown.gain, shown.pixels.shape) == (4, 64, (375, 500))
    seam = np.zeros((375, 500), np.uint8)
    seam[150:153, 200] = 2 * 64
    assert np.array_equal(shown.pixels, seam)
    other[0, 0] = 255  # an outlier does not make the rest black
    other[600:1400, 800, 1] = 92
    assert pixels.where(one, other).pixels[300, 200] >= 100
    assert pixels.where(one, one).pixels.max() == 0


def test_the_worst_picture_of_a_setting_is_shown(cli, cards):
    worse = [task for task in RunFolder(Path("rtx")).tasks() if task.memory == SMALL][1]

    def planted(array):
        array[50:100, 90:140] ^= 0x80
        return array

    repainted("rtx", worse, planted)
    assert cli("compare", "rtx", "--out", "found").code == 0
    rows = pd.read_csv("found/compare.csv", keep_default_na=False).set_index("memory")
    assert [bool(rows.difference[name]) for name in (FULL, LARGE, SMALL, CPU)] == [False, True, True, False]
    assert rows.difference[SMALL] == f"differences/3-{worse.picture_id[:8]}.png"
    with Image.open(Path("found") / rows.difference[SMALL]) as image:
        shown = np.asarray(image)
    assert shown[50:100, 90:140].min() > 2 * np.median(shown)
    assert np.median(shown[50:100, 90:140]) >= 120
    page = Path("found/compare.html").read_text(encoding="utf-8")
    assert re.search(r"<figcaption>difference, times \d+</figcaption>", page)
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    with Image.open(io.BytesIO(base64.b64decode(embedded[1]))) as image:
        assert np.array_equal(np.asarray(image), shown)
    assert not re.search(r'(?:src|href)="(?!data:)|https?:|<script', page)


# On paper


def test_the_table_fits_a_terminal(cli, cards):
    ran_out("rtx", FULL)
    outcome = cli("compare", "rtx", "a100")
    tables = outcome.out[: outcome.out.index("\n- ")]
    assert max(map(len, tables.splitlines())) <= 120
    for title in ("Time:", "Memory:", "Pixels:"):
        assert re.search(rf"^{title}", outcome.out, re.MULTILINE)


def test_numbers_are_the_same_everywhere(cli, cards):
    result = cli("compare", "rtx", "a100", "--json", "--out", "both").json()
    rows = pd.read_csv("both/compare.csv")
    assert rows.number.tolist() == list(range(1, 9))
    page = Path("both/compare.html").read_text(encoding="utf-8")
    for number, row in enumerate(result["rows"], start=1):
        assert re.search(
            rf"<title>{row['run']} · {re.escape(row['memory'])} · [^<]+</title><circle[^>]+/>"
            rf'<text class="middle"[^>]+>{number}</text>',
            page,
        )
    filled = re.findall(r'fill="(#\w+|transparent)" stroke="', page)
    assert [colour != "transparent" for colour in filled] == [row["pareto"] for row in result["rows"]]
    assert len({colour for colour in re.findall(r'stroke="(#\w+)" stroke-width="2"', page)}) == 2


@pytest.mark.parametrize(("slowest", "said"), [(1.2, True), (1.0, False)])
def test_a_setting_that_wins_by_chance_is_told(slowest, said):
    full = costs("full", 1.2, 3000.0, total_min_s=1.1, total_max_s=1.3, device_memory_mib=8192.0)
    tiled = costs("tiled", 0.95, 3000.0, total_min_s=0.9, total_max_s=slowest, device_memory_mib=8192.0)
    same = pixels.closeness([pixels.SAME, pixels.SAME])
    rows = [
        ComparedSetting(index=0, costs=full, pareto=False, is_reference=True),
        ComparedSetting(index=1, costs=tiled, pareto=True, closeness=same),
    ]
    (sentence,) = sentences(rows, choice.choices(rows, ["device"]))
    assert "tiled, 0.95 s" in sentence
    assert ("full is as fast within the spread of its images" in sentence) == said
