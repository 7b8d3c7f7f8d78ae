"""Templates of file names as people bring them: what is theirs is refused with ours, what is text stays."""

import re
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.base.errors import ManifestError
from batch.manifest.naming import CUT_FIELDS, NAME_FIELDS, check_template
from batch.plan.identity import identify
from batch.plan.names import assign
from batch.store import inside
from tests.helpers import plan
from tests.plan.small_task import TASK


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("[seed]", "{seed} for [seed]"),  # A1111, Forge
        ("[datetime<%Y-%m-%d>]-[model_name]", "{date}-{time} for [datetime<%Y-%m-%d>], {model} for [model_name]"),
        ("[Datetime<%H><Asia/Tokyo>]", "{date}-{time} for [Datetime<%H><Asia/Tokyo>]"),
        ("[prompt_words]", "{prompt} for [prompt_words]"),
        ("[cfg]_[sampler]", "{guidance} for [cfg], {scheduler} for [sampler]"),
        ("[generation_number]", "{index} for [generation_number]"),
        ("[clip_skip]", "[clip_skip] is another program's, and has nothing like it here"),
        ("[hasprompt<girl|boy>]", "has nothing like it here"),
        ("[seq]-[uuid]", "{index} for [seq], {id} for [uuid]"),  # SD.Next
        (
            "[year]-[month]/[prompt]-[seed]",
            "{date} for [year], {date} for [month], {prompt} for [prompt]",
        ),  # SwarmUI
        ("[time(%Y-%m-%d)]", "{time} for [time(%Y-%m-%d)]"),  # WAS suite
        ("%date%", "{date} for %date%"),  # ComfyUI
        ("%date:yyyy-MM-dd%/x", "{date} for %date:yyyy-MM-dd%"),
        ("%KSampler.seed%", "{seed} for %KSampler.seed%"),
        ("%Empty Latent Image.width%", "{width} for %Empty Latent Image.width%"),
        ("%width%x%height%", "{width} for %width%, {height} for %height%"),
        ("%date_%seed-%counter", "{date} for %date, {seed} for %seed, {index} for %counter"),  # savers of images
        ("{cfg}", "{cfg} is unknown; write {guidance}"),
        ("{model_name}", "write {model}"),
        ("{promt}", "did you mean 'prompt'?"),
    ],
)
def test_a_template_of_another_program_is_refused_with_ours(template, said):
    with pytest.raises(ValueError) as error:
        check_template(template)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "template",
    [
        "[x]-{seed}",
        "[day one]",
        "100%",
        "50%-{prompt}",
        "%%",
        "[final] {prompt}",
        "[seeds]",
        "[]",
        "%s",
        "a.%x.b%",
    ],
)
def test_what_is_text_stays_text(template):
    assert check_template(template) == template


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{prompt:0}", "write {prompt:40}, at most 150"),
        ("{prompt:151}", "at most 150"),
        ("{prompt:}", "write {prompt:40}"),
        ("{prompt:4 }", "write {prompt:40}"),
        ("{prompt:٣}", "write {prompt:40}"),
        ("{seed:3}", "{seed:3} cannot be cut to so many letters; {prompt:40}"),
        ("{extra.eta:3}", "cannot be cut"),
        ("{nothing:3}", "{nothing:3} is unknown"),
    ],
)
def test_a_cut_that_is_none_is_said(template, said):
    with pytest.raises(ValueError) as error:
        check_template(template)
    assert said in str(error.value)


def test_every_field_is_taken_and_every_text_cut():
    assert check_template("".join(f"{{{name}}}" for name in NAME_FIELDS))
    assert check_template("".join(f"{{{name}:150}}" for name in CUT_FIELDS))


def test_the_place_of_a_foreign_template_is_named(cli, manifest):
    path = manifest("grid: {model: demo, prompt: a}\noutput:\n  name: '[seed]'\n")
    outcome = cli("plan", path)
    assert (outcome.code, "job.yaml:3: output.name: it is written as" in outcome.err) == (2, True)


PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        "%",
        "<",
        ">",
        ":",
        "/",
        ".",
        "..",
        "-",
        " ",
        "seed",
        "date",
        "prompt",
        "index",
        "40",
        "KSampler",
    ]
    + [f"{{{name}}}" for name in NAME_FIELDS]
    + ["{prompt:7}", "{style:150}", "[x]", "\\", "\0", "é", "狐", "\ud800"]
)


@settings(max_examples=300, deadline=None)
@given(template=st.lists(PIECES, max_size=12).map("".join), prompt=st.text(max_size=30))
def test_any_template_is_refused_or_names_files_in_the_folder(template, prompt):
    try:
        check_template(template)
    except ValueError:
        return
    task = identify(replace(TASK, prompt=prompt))
    (named,) = assign([task], template, "2026-11-28T07:31:05+01:00")
    assert inside.is_below_images(f"images/{named.name}.png")
    assert all(len(part.encode()) < 200 and part.strip(". ") == part for part in named.name.split("/"))


def test_a_template_of_many_signs_is_read_at_once():
    for sign in ("%", "[", "[seed<", "%a.", "%seed:", "{", "[datetime("):
        begun = time.perf_counter()
        with suppress(ValueError):
            check_template((sign * 1000)[:1000])
        assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("../{seed}", "leave out . and .."),
        ("a/../../{seed}", "leave out . and .."),
        ("./{seed}", "leave out . and .."),
        ("/abs/{seed}", "pictures lie in the run folder, which --out names"),
        ("C:/abs/{seed}", "pictures lie in the run folder"),
        ("~/abs/{seed}", "pictures lie in the run folder"),
        ("a\\{seed}", "folders are parted by /"),
    ],
)
def test_a_template_that_leads_elsewhere_is_refused(template, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        check_template(template)


def test_the_suffix_of_the_format_is_left_out(manifest):
    text = "grid: {{model: demo, prompt: a fox, seed: 3}}\noutput: {{name: '{}', format: {}}}\n"
    for name, kind in {"{seed}.png": "png", "{seed}.JPG": "jpeg", "{seed}": "png"}.items():
        (task,) = plan(manifest(text.format(name, kind))).tasks
        assert task.name == f"3-{task.id[:8]}"
    (task,) = plan(manifest(text.format("{seed}.v2", "png"))).tasks
    assert task.name.startswith("3.v2-")
    with pytest.raises(ManifestError, match=r"the pictures are png; leave out \.jpg, or write format: jpeg"):
        plan(manifest(text.format("{seed}.jpg", "png")))
