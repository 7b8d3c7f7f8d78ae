"""benchmarks/against_plain_loop.py runs and compares: that it works, not what it measures."""

from __future__ import annotations

import csv

import pytest

from benchmarks import against_plain_loop as benchmark


@pytest.mark.slow
def test_both_ways_of_rendering_are_put_beside_the_loop(tmp_path, monkeypatch, capsys):
    # Inductor takes half a minute. Without it the compiled side renders as the other one does: the same pixels.
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    target = tmp_path / "figures.csv"
    benchmark.main(["--model", "demo", "--size", "512x512", "--steps", "1", "--images", "2", "--rounds", "1",
                    "--compile", "both", "--csv", str(target)])  # fmt: skip
    out = capsys.readouterr().out
    assert "run_batch: 2 of 2 pictures have the same pixels" in out
    assert "run_batch compiled: 2 of 2 pictures have the same pixels" in out
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    assert [row["side"] for row in rows] == ["plain loop", "run_batch", "run_batch compiled"]
    for row in rows:
        floor = float(row["tflop_per_image"]) / float(row["matrix_tflops_sustained"])
        assert float(row["times_floor"]) == pytest.approx(float(row["seconds_per_image"]) / floor)
        assert float(row["matrix_tflops_burst"]) > 0


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (["run_batch"], "run_batch makes 2.00 times as many images an hour"),
        (["run_batch compiled"], "run_batch compiled makes 2.00 times as many images an hour"),
        (
            ["run_batch", "run_batch compiled"],
            "run_batch makes 2.00 times as many images an hour, compiled 3.00 times",
        ),
    ],
)
def test_the_summary_names_every_side(sides, said):
    rows = [
        {"side": name, "images_per_hour": rate}
        for name, rate in zip(["plain loop", *sides], (100.0, 200.0, 300.0), strict=False)
    ]
    assert benchmark.summary(rows) == said


def test_who_ends_it_early_has_the_sides_that_were_done(tmp_path, monkeypatch):
    def plain(_job, side, costs, _threads):
        benchmark.take(side, [1.0, 3.0], 2.0)
        costs.append({"flops": 1e12, "burst": 2e12, "sustained": 1e12})

    def ours(_job, side, _threads):
        if side.compile == "on":
            raise KeyboardInterrupt
        benchmark.take(side, [1.0, 2.0], 1.0)

    monkeypatch.setattr(benchmark, "run_plain", plain)
    monkeypatch.setattr(benchmark, "run_ours", ours)
    target = tmp_path / "figures.csv"
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(["--model", "demo", "--compile", "both", "--csv", str(target)])
    rows = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    assert [(row["side"], row["images_per_hour"], row["rounds"]) for row in rows] == [
        ("plain loop", "1800.0", "1"),
        ("run_batch", "3600.0", "1"),
    ]
