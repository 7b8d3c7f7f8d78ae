"""Which setting compare chooses, and how it says so."""

from dataclasses import replace

import pytest

from batch.memory import footprint
from batch.report.compare import answers, chart, choice, overall, pixels
from batch.report.compare.comparison import Comparison
from batch.report.compare.costs import Device, SettingCosts
from batch.report.compare.picture_notes import compared_notes
from batch.report.compare.rows import ComparedSetting
from batch.report.compare.sentences import sentences
from batch.report.images import ShownSetting
from batch.report.timing import Peaks, Seconds
from tests.report.two_cards import CPU, FULL, LARGE, RTX, RTX_COSTS, SMALL, by_setting, change, on_card


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


def test_what_has_the_same_pixels_is_told_for_each_card_by_itself():
    """One setting is the fastest everywhere; the fastest one with the reference's pixels needs a larger card."""
    apart = pixels.closeness([pixels.Difference(max_difference=3, changed_share=0.5, psnr_db=40.0)])
    same = pixels.closeness([pixels.SAME])
    rows = [
        ComparedSetting(index=0, costs=costs("full", 2.0, 10_000.0), pareto=False, is_reference=True),
        ComparedSetting(index=1, costs=costs("tiled", 1.0, 3_000.0), pareto=True, closeness=apart),
        ComparedSetting(index=2, costs=costs("vae_cpu", 9.0, 3_000.0), pareto=False, closeness=same),
    ]
    found = choice.choices(rows, ["device"])
    assert [(item.under_gb, item.unlimited, item.row.costs.setting.memory) for item in found] == [
        ((4, 6, 8), False, "tiled"),
        ((12, 16, 24), True, "tiled"),
    ]
    assert [item.exact.costs.setting.memory for item in found] == ["vae_cpu", "full"]


def of_steps(*seconds):
    """A comparison of two settings at 1, 2 … steps: seconds of each by steps, of 10 and of 3 GB."""
    rows = []
    for steps, pair in enumerate(seconds, start=1):
        for name, total, mib in zip(("full", "tiled"), pair, (10_000.0, 3_000.0), strict=True):
            found = costs(name, total, mib, device_memory_mib=12_288.0)
            found = replace(found, setting=replace(found.setting, steps=steps))
            rows.append(ComparedSetting(index=len(rows), costs=found, pareto=True))
    return compared(rows)


def compared(rows):
    keys = ("run", "device", "steps", "memory")
    chosen = tuple(choice.choices(rows, keys[1:3]))
    return Comparison(
        baseline="a", rows=tuple(rows), keys=keys, overlaps=(), notes=(), choices=chosen, sentences=()
    )


def test_many_groups_have_one_answer_that_holds_for_all_of_them():
    """The first group's own answer is another: it is not the headline."""
    found = of_steps((2.0, 1.0), (3.0, 4.0), (4.0, 5.0), (5.0, 7.0))
    assert answers.headlines(found) == []
    (line,) = overall.overalls(found)
    assert (line.fastest, line.seconds, line.next) == ("full", "14 s", "tiled takes 17 s")
    assert (line.groups, line.wins, line.level) == ("4 groups (steps)", "full in 3, tiled in 1", 0)
    assert [(small.cards, small.wins) for small in line.small] == [("8, 6 and 4", "tiled in all")]
    few = of_steps((2.0, 1.0), (3.0, 4.0), (4.0, 5.0))
    assert overall.overalls(few) == []
    assert [line.fastest.memory for line in answers.headlines(few)] == ["tiled", "full", "full"]


def test_a_setting_that_is_not_in_all_groups_is_not_the_fastest_over_them():
    found = of_steps((2.0, None), (2.0, 4.0), (3.0, 2.9), (4.0, 4.1))
    assert overall.overalls(found)[0].next == ""
    found = of_steps((2.0, None), (None, 4.0), (3.0, 2.9), (4.0, 4.1))
    assert overall.overalls(found)[0].fastest == ""


def of_runs(*groups):
    """A comparison of one setting: of each group seconds by run."""
    rows = []
    for steps, by_run in enumerate(groups, start=1):
        for run, total in by_run.items():
            found = costs("full", total, 3_000.0, device_memory_mib=12_288.0)
            found = replace(found, run=run, setting=replace(found.setting, steps=steps))
            rows.append(ComparedSetting(index=len(rows), costs=found, pareto=True))
    return compared(rows)


def test_runs_that_groups_tell_apart_are_not_named():
    found = of_runs({"a": 1.0}, {"a": 2.0}, {"b": 3.0}, {"b": 4.0})
    (line,) = overall.overalls(found)
    assert (line.fastest, line.seconds, line.wins) == ("full", "10 s", "full in all")
    assert {answer.fastest.run for group in answers.answers(found) for answer in group.answers} == {""}
    assert all(": full, " in line for line in sentences(found.rows, found.choices))
    assert not any("a · " in title or "b · " in title for title in titles(found))


def test_runs_of_one_group_are_named_in_it():
    found = of_runs({"a": 1.0, "b": 2.0}, {"b": 3.0})
    assert [group.answers[0].fastest.run for group in answers.answers(found)] == ["a", ""]
    assert [line.fastest.run for line in answers.headlines(found)] == ["a", ""]
    first, second = sentences(found.rows, found.choices)
    assert ": full (a), 1 s" in first and ": full, 3 s" in second
    assert [title.split(":")[0] for title in titles(found)] == ["a · full · rtx", "b · full · rtx", "full · rtx"]


def test_a_setting_that_two_runs_have_in_one_group_is_told_by_run_over_all():
    found = of_runs({"a": 1.0, "b": 2.0}, {"b": 3.0}, {"b": 4.0}, {"b": 5.0})
    (line,) = overall.overalls(found)
    assert (line.fastest, line.seconds, line.next) == ("full (b)", "14 s", "")
    assert line.wins == "full (b) in 3, full (a) in 1"


def test_a_setting_that_runs_have_together_is_measured_in_all_groups():
    """No run has all, and the setting is there in each: the fastest run of each stands for it."""
    found = of_runs({"a": 1.0}, {"a": 3.0, "b": 2.0}, {"b": 4.0}, {"b": 5.0})
    (line,) = overall.overalls(found)
    assert (line.fastest, line.seconds, line.wins) == ("full", "12 s", "full (b) in 3, full (a) in 1")


def test_a_setting_without_a_time_is_told_by_run_where_another_run_has_one():
    found = of_runs({"a": 1.0, "b": 2.0})
    first, second = (replace(row, costs=replace(row.costs, images=1, timed=row.index)) for row in found.rows)
    *_, note = compared_notes([first, second], [], [])
    assert note.startswith("no time of full (a): only the first image")


def titles(found):
    return [spot.mark.title for drawn in chart.charts(found) for spot in drawn.layouts[0].spots]


def test_the_run_of_a_reference_that_is_as_fast_is_told():
    full = costs("full", 1.2, 3000.0, total_min_s=0.9, total_max_s=1.3)
    other = replace(full, run="b", seconds=Seconds(total=1.0))
    rows = [
        ComparedSetting(index=0, costs=full, pareto=False, is_reference=True),
        ComparedSetting(index=1, costs=other, pareto=True),
    ]
    found = compared(rows)
    (sentence,) = sentences(found.rows, found.choices)
    assert ": full (b), 1 s" in sentence and "; full (a) is as fast" in sentence
    assert "full (a) is as fast" in answers.answers(found)[0].answers[0].fastest.notes[0]
