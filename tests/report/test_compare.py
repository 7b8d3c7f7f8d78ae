"""compare over runs of two cards: receipts of real runs, with the cards' names, times and memory put in."""

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from batch.records.receipts import CardState
from batch.records.tasks import Lora
from batch.records.values import Call
from batch.store import measured
from batch.store.folder import RunFolder
from tests.helpers import GIB
from tests.report.two_cards import (
    A100,
    A100_COSTS,
    CPU,
    FULL,
    LARGE,
    RTX,
    SMALL,
    WARM,
    by_setting,
    change,
    measurement,
    moved,
    on_card,
    ran_out,
)

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
    assert page.count("ran out of memory</text>") == 2  # in each layout of the chart
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
    found = re.findall(
        r'<a href="#setting-(\d+)" aria-label="(\d+): ([^"]+?) · (NVIDIA[^":]+):[^"]+">\s*<g .+?"touch".+?'
        r'<path class="mark (filled|hollow) gpu-(\d)" d="([^"]+)"/></g>\s*<text [^>]+>(\d+)</text>',
        page,
    )
    assert len(found) == 2 * 8
    shown = sorted(found[:8], key=lambda mark: int(mark[0]))
    for (link, said, memory, device, kind, *_, text), row in zip(shown, result["rows"], strict=True):
        assert link == said == text
        assert (device, memory, kind == "filled") == (row["device"], row["memory"], row["pareto"])
        assert page.count(f'id="setting-{link}"') == 1
    assert [int(mark[0]) for mark in shown] == rows.number.tolist()
    assert len({(tone, shape) for *_, tone, shape, _ in found}) == len({tone for *_, tone, _, _ in found}) == 2
