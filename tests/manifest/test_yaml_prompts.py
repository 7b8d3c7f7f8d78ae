"""Prompts that YAML would read as something else, without a word: now there is one."""

import pytest

from batch.manifest.quotes import in_quotes, why_not_text
from batch.manifest.read import read_manifest

HEAD = "grid:\n  model: demo\n  prompt:\n"


@pytest.mark.parametrize(
    ("written", "read", "says"),
    [
        ("- a fox # red", "a fox", "# red is a comment, and no part of the prompt; put the prompt in quotes"),
        ("- a fox #red", "a fox", "put the prompt in quotes: - 'a fox #red'"),
        ("- a fox  #1", "a fox", "put the prompt in quotes: - 'a fox  #1'"),
        ("- a fox\n      in snow", "a fox in snow", "several lines are one prompt: 'a fox in snow'; put"),
        ("- {text: a fox\n      in snow}", "a fox in snow", "several lines are one prompt"),
    ],
)  # fmt: skip
def test_what_yaml_takes_or_adds_is_told(manifest, written, read, says):
    found = read_manifest(manifest(f"{HEAD}    {written}\n"))
    assert [entry.value for entry in found.grids[0].entries("prompt")] == [read]
    (warning,) = found.warnings
    assert "job.yaml:4: " in warning
    assert says in warning


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("- a fox  # the first one", "a fox"),
        ("- 'a fox # red'", "a fox # red"),
        ("- a fox#red", "a fox#red"),
        ("- |\n      a fox\n      in snow", "a fox\nin snow"),
        ("- |+\n      a fox\n\n", "a fox"),
        ("- >\n      a fox\n      in snow\n", "a fox in snow"),
        ("- &p a fox\n    - *p", "a fox"),
        ("- \"a fox,\n      in snow\"", "a fox, in snow"),
        ("- yes", "yes"),
    ],
)  # fmt: skip
def test_what_is_written_on_purpose_is_left_alone(manifest, written, read):
    found = read_manifest(manifest(f"{HEAD}    {written}\n"))
    assert {entry.value for entry in found.grids[0].entries("prompt")} == {read}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("- a fox: at night", "a ': ' makes a mapping of it; put the prompt in quotes: - 'a fox: at night'"),
        ("- yes: no", "put the prompt in quotes: - 'yes: no'"),
        ("- &fox in snow", "* stands, and none does, or put the prompt in quotes: - '&fox in snow'"),
        ("- *fox* jumps", "* stands for a value that & has named; put the prompt in quotes: - '*fox* jumps'"),
        ("- !fox jumps", "remove it, or put the prompt in quotes: - '!fox jumps'"),
        ("- %fox", "% begins no text; put the prompt in quotes: - '%fox'"),
        ("- @fox's den", "@ begins no text; put the prompt in quotes: - '@fox''s den'"),
        ("- `fox`", "` begins no text; put the prompt in quotes: - '`fox`'"),
        ("- {red|blue} car", "{ begins a mapping; put the prompt in quotes: - '{red|blue} car'"),
        ("- {red|blue}", "{ begins a mapping; put the prompt in quotes: - '{red|blue}'"),
        ("- [fox] in a box", "[ begins a list; put the prompt in quotes: - '[fox] in a box'"),
        ("- [fox]", "[ begins a list; put the prompt in quotes: - '[fox]'"),
        ("- - a fox", "two dashes make a list inside the list; keep one"),
        ('- "The Fox" in snow', "where it is closed; put the prompt in quotes: - '\"The Fox\" in snow'"),
        ("- 'tis a fox", "put the prompt in quotes: - '''tis a fox'"),
        ('- "a \\(fox\\)"', "a backslash in double quotes begins a sign; use single ones: - 'a \\(fox\\)'"),
        ("- ? a fox", "'? ' begins a key; put the prompt in quotes: - '? a fox'"),
        ("- >a fox", "> begins a text on the lines below; put the prompt in quotes: - '>a fox'"),
        ("-\ta fox", "a tab indents here; YAML takes spaces alone"),
        ("- # red fox", "the prompt is empty"),
    ],
)  # fmt: skip
def test_what_yaml_reads_as_no_text_is_shown_in_quotes(manifest, cli, written, says):
    outcome = cli("plan", manifest(f"{HEAD}    {written}\n"))
    assert outcome.code == 2
    assert "job.yaml:4: " in outcome.err
    assert says in outcome.err


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("prompt: a fox  #1", "put the prompt in quotes: prompt: 'a fox  #1'"),
        ("prompt: a fox: at night", "put the prompt in quotes: prompt: 'a fox: at night'"),
        ("prompt: @fox", "put the prompt in quotes: prompt: '@fox'"),
        ("prompt: {text: a, negative_prompt: b: c}", "not valid YAML"),
    ],
)
def test_a_prompt_behind_its_key_is_shown_with_it(manifest, cli, written, says):
    outcome = cli("plan", manifest(f"grid:\n  model: demo\n  {written}\n"))
    assert "job.yaml:3: " in outcome.err
    assert says in outcome.err


def test_styles_and_wildcards_lose_nothing_in_silence(manifest, cli):
    text = (
        "styles:\n  oil: oil #5\nwildcards:\n  a:\n    - red # dark\ngrid: {model: demo, prompt: a, style: oil}\n"
    )
    said = cli("plan", manifest(text)).err
    assert "job.yaml:2: #5 is a comment" in said
    assert "job.yaml:5: # dark is a comment" in said


@pytest.mark.parametrize(
    "line", ["[" + " " * 200_000 + "x", "- [" * 70_000, "a" + " " * 200_000 + ": ", "'" * 200_001]
)
def test_a_long_line_is_gone_over_once(line):
    assert len(in_quotes(line) + why_not_text(line)) < 2_000
