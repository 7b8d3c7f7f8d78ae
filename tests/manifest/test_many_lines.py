"""What a model does not take, asked for on many lines: told once, with how many there are."""

import pytest


def refused(cli, path):
    outcome = cli("plan", path)
    assert outcome.code == 2
    return outcome.err.replace(str(path), path.name).splitlines()


def test_what_a_model_does_not_take_counts_its_rows(work, cli):
    rows = [("demo", f"fox {n}", "dpmpp_2m", "512x512", "auto") for n in range(300)]
    rows[7:9] = [("demo", "a", "default", "832x1216", "auto"), ("demo", "b", "default", "512x512", "none+x")]
    path = work / "g.csv"
    table = [("model", "prompt", "scheduler", "size", "memory"), *rows]
    path.write_text("".join(",".join(row) + "\n" for row in table), encoding="utf-8")
    taken, size, memory = refused(cli, path)
    assert taken.startswith("g.csv:2: scheduler: 'dpmpp_2m' is another program's name")
    assert taken.endswith(" (also in lines 3, 4, 5 and 294 more)")
    assert size.startswith("g.csv:9: size: demo cannot render 832x1216")
    assert memory.startswith("g.csv:10: memory: ")


@pytest.mark.parametrize("own", ["--width 832 --height 1216", '--sampler_name "DPM++ 2M Karras"', "--steps 0.5"])
def test_a_list_with_one_mistake_counts_its_lines(work, manifest, cli, own):
    lines = [f'--prompt "a fox {n}" --seed {n} {own}\n' for n in range(1600)]
    (work / "p.txt").write_text("".join(lines), encoding="utf-8")
    said = refused(cli, manifest("grid: {model: demo, prompt: {file: p.txt}}\n"))
    assert [line.endswith(" (also in lines 2, 3, 4 and 1,596 more)") for line in said] == [True]


def test_weights_that_a_model_does_not_take_are_counted(work, manifest, cli):
    (work / "p.txt").write_text("".join(f"a (fox:1.3) {n}\n" for n in range(40)), encoding="utf-8")
    said = refused(cli, manifest("prompt_syntax: a1111\ngrid: {model: demo, prompt: {file: p.txt}}\n"))
    assert "has weights" in said[-1] and said[-1].endswith(" (also in lines 2, 3, 4 and 36 more)")
