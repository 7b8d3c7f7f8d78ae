"""Seeds of their own for every prompt: what becomes of the other prompts does not touch them."""

import pytest

from batch.report.sheet.axes import axes_of, choose
from batch.report.sheet.blocks import blocks_of
from batch.report.sheet.layout import Paper
from batch.report.sheet.pages import pages_of
from batch.store.folder import RunFolder
from tests.helpers import plan

OWN = "seed: {random: 1, per: prompt}"


def seeds(made):
    """The seeds of every prompt, in order."""
    found: dict[str, list[int]] = {}
    for task in made.tasks:
        found.setdefault(task.prompt, []).append(task.seed)
    return found


def listed(*prompts, seed=OWN, rest=""):
    return f"grid: {{model: demo, prompt: [{', '.join(prompts)}], {seed}}}\n{rest}"


def planned(manifest, text, pins=None):
    made = plan(manifest(text), pins=pins)
    return made, seeds(made)


def test_every_prompt_has_a_seed_of_its_own_and_keeps_it(manifest):
    first, before = planned(manifest, listed("a", "b", "c"))
    assert first.new_draws
    assert len({seed for (seed,) in before.values()}) == 3
    changed, after = planned(manifest, listed("new", "c", "a"), first.pins)
    assert not changed.new_draws
    assert {prompt: after[prompt] for prompt in "ac"} == {prompt: before[prompt] for prompt in "ac"}
    assert after["new"] not in before.values()


def test_another_run_has_other_seeds(manifest):
    assert planned(manifest, listed("a", "b"))[1] != planned(manifest, listed("a", "b"))[1]


def test_asking_for_more_keeps_the_first_and_repeats_none(manifest):
    first, before = planned(manifest, listed("a", "b", seed="seed: {random: 2, per: prompt}"))
    _, after = planned(manifest, listed("a", "b", seed="seed: {random: 500, per: prompt}"), first.pins)
    for prompt in "ab":
        assert after[prompt][:2] == before[prompt]
        assert len(set(after[prompt])) == 500
        assert all(0 <= seed < 2**32 for seed in after[prompt])


def test_every_prompt_comes_once_before_any_comes_twice(manifest):
    made, _ = planned(manifest, listed("a", "b", seed="seed: {random: 2, per: prompt}"))
    assert [task.prompt for task in made.tasks] == ["a", "b", "a", "b"]


def test_several_of_a_list_are_several_seeds(manifest):
    both = "seed: [7, {random: 1, per: prompt}, {random: 2, per: prompt}, {random: 2}]"
    first, before = planned(manifest, listed("a", "b", seed=both))
    assert {prompt: len(set(found)) for prompt, found in before.items()} == {"a": 6, "b": 6}
    assert set(before["a"]) & set(before["b"]) == {7, *first.pins.seeds["seed.0"]}


def test_drawn_variants_have_seeds_of_their_own(manifest):
    text = listed("'{a|b|c|d|e|f} car'", "x", rest="variants: {random: 3}\n")
    first, before = planned(manifest, text)
    assert len({seed for (seed,) in before.values()}) == 4
    _, after = planned(manifest, text.replace("random: 3", "random: 5"), first.pins)
    assert before.items() <= after.items()


def test_styles_share_the_seed_of_their_prompt(manifest):
    styles = "styles: {oil: oil painting}\n"
    made, _ = planned(manifest, f"{styles}grid: {{model: demo, prompt: [a, b], style: [none, oil], {OWN}}}\n")
    assert len({task.seed for task in made.tasks}) == 2


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_of_a_table_have_seeds_by_their_prompts(work, kind):
    lines = {
        "csv": ('demo,{0},512x512,"{{random: 1, per: prompt}}"', "model,prompt,size,seed"),
        "jsonl": ('{{"model": "demo", "prompt": "{0}", "seed": {{"random": 1, "per": "prompt"}}}}', ""),
    }
    line, header = lines[kind]
    path = work / f"t.{kind}"

    def table(*prompts):
        path.write_text("\n".join([header, *(line.format(prompt) for prompt in prompts)]))
        return path

    first = plan(table("a", "b"))
    before = seeds(first)
    assert before["a"] != before["b"]
    assert before.items() <= seeds(plan(table("new", "b", "a"), pins=first.pins)).items()


def test_a_zip_with_its_prompts_keeps_their_seeds(manifest):
    text = "zip: [{{prompt: [{0}], seed: '{{random: {1}, per: prompt}}'}}]\ngrid: {{model: demo}}\n"
    first, before = planned(manifest, text.format("a, b", 2))
    assert before["a"] != before["b"]
    assert before.items() <= planned(manifest, text.format("n, b, a", 3), first.pins)[1].items()


def test_a_zip_with_steps_has_a_seed_for_each_pair_and_prompt(manifest):
    text = "zip: [{steps: [1, 2], seed: '{random: 2, per: prompt}'}]\ngrid: {model: demo, prompt: [a, b]}\n"
    first, before = planned(manifest, text)
    assert len({seed for found in before.values() for seed in found}) == 4
    assert before.items() <= planned(manifest, text.replace("[a, b]", "[n, b, a]"), first.pins)[1].items()


def test_included_tasks_and_own_values_have_them_too(manifest):
    text = (
        f"grid: {{model: demo, prompt: [a, {{text: b, {OWN}}}], seed: 5}}\n"
        f"include: [{{prompt: c, {OWN}}}, {{prompt: [d, e], {OWN}}}]\n"
    )
    first, before = planned(manifest, text)
    assert before["a"] == [5]
    assert len({seed for (seed,) in before.values()}) == 5
    assert planned(manifest, text.replace("[a, {", "[{text: n, seed: 1}, {"), first.pins)[1]["b"] == before["b"]


def test_a_prompt_that_is_there_twice_is_rendered_once(manifest):
    made, _ = planned(manifest, listed("a", "a"))
    assert (len(made.tasks), made.duplicates) == (1, 1)


def test_an_exclude_meets_seeds_of_prompts(manifest):
    first, before = planned(manifest, listed("a", "b"))
    rule = f"exclude: [{{seed: {before['a'][0]}}}]\n"
    assert planned(manifest, listed("a", "b", rest=rule), first.pins)[1].keys() == {"b"}


def test_what_they_are_made_of_is_pinned_with_the_run(cli, manifest, work):
    path = manifest(listed("a", "b") + "run: {min_free_disk: 1MB}\n")
    assert cli("run", path, "--quiet", "--set", "steps=1", "--set", "size=512x512").code == 0
    done = {receipt.task.id for receipt in RunFolder(work / "outputs" / "job").scan().receipts.values()}
    assert len(done) == 2
    path = manifest(listed("new", "b", "a") + "run: {min_free_disk: 1MB}\n")
    again = cli("plan", path, "--set", "steps=1", "--set", "size=512x512")
    assert "done 2, to render 1" in again.out


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        ("{random: 1, per: image}", "per: 'image' is not possible; seeds are drawn per: prompt, or for all"),
        ("{random: 1, per: null}", "per: None is not possible"),
        ("{per: prompt}", "{random: n} or {random: n, per: prompt}"),
        ("{random: 0, per: prompt}", "0 is out of bounds"),
        ("random", "random is no seed here; write {random: 1} for one that is drawn once and kept, or"),
        ("-1", "{random: 1, per: prompt} for one of every prompt"),
        ("'-1'", "-1 is no seed here"),
    ],
)
def test_what_is_no_seed_is_said(cli, manifest, seed, said):
    outcome = cli("plan", manifest(listed("a", seed=f"seed: {seed}")))
    assert (outcome.code, said in outcome.err) == (2, True), outcome.err


def test_a_sheet_has_a_row_for_every_prompt_and_no_holes(manifest, work):
    (work / "p.txt").write_text("".join(f"fox {number}\n" for number in range(300)))
    made = plan(manifest("grid: {model: demo, prompt: {file: p.txt}, seed: {random: 2, per: prompt}}\n"))
    (block,) = blocks_of(made.tasks, choose(axes_of(made.tasks)))
    assert (len(block.rows), block.columns, len(block.cells)) == (300, [(1,), (2,)], 600)
    label = f"seed {', '.join(map(str, seeds(made)['fox 7']))} · fox 7"
    assert block.label(("fox 7",)) == label
    pages = list(pages_of([block], Paper()))
    assert sum(len(table.block.rows) for page in pages for shelf in page for table in shelf.tables) == 300
    assert len(pages) < 10
