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


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            "prompt: [a fox, a whale",
            "[ begins a list; close it with ], or put the prompt in quotes: prompt: '[a fox, ",
        ),
        (
            "prompt: {red|blue",
            "{ begins a mapping; close it with }, or put the prompt in quotes: prompt: '{red|blue'",
        ),
        ("prompt: [a fox, [b, c]", "[ begins a list; close it with ], or put the prompt in quotes: "),
        ("prompt: [a fox,\n    a whale", "[ begins a list; close it with ]"),
        ("prompt: [\n    a fox,\n    a whale", "[ begins a list; close it with ]"),
        ("prompt: {text: a fox", "{ begins a mapping; close it with }"),
        ("steps: [1, 2", "[ begins a list; close it with ]"),
    ],
)
@pytest.mark.parametrize("below", ["", "  guidance: 1\n"])
def test_a_bracket_that_is_never_closed_is_named(manifest, cli, written, says, below):
    said = cli("plan", manifest(f"grid:\n  model: demo\n  {written}\n{below}")).err
    assert f"job.yaml:3: not valid YAML: {says}" in said
    assert ("quotes" in said) == ("quotes" in says)


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


PLACEHOLDERS = [
    ("output:\n  name: {index}-{prompt:40}", "3: ", "name: '{index}-{prompt:40}'"),
    ("output:\n  name: {seed}", "3: ", "a text; braces begin a mapping; put the text in quotes: name: '{seed"),
    ("output: {format: png, name: {seed}-{size}}", "2: ", "quotes: name: '{seed}-{size}'"),
    ("styles:\n  oil: {prompt} as oil, thick", "3: ", "quotes: oil: '{prompt} as oil, thick'"),
    ("styles: {ink: ink, oil: oil of {prompt}}", "2: ", "quotes: oil: 'oil of {prompt}'"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "line", "says"), PLACEHOLDERS)
def test_braces_of_a_style_or_template_are_shown_in_quotes(manifest, cli, written, line, says):
    outcome = cli("plan", manifest(f"grid: {{model: demo, prompt: {{text: a fox}}}}\n{written}\n"))
    assert outcome.code == 2
    assert f"job.yaml:{line}" in outcome.err
    assert says in outcome.err


def test_a_mapping_that_is_meant_is_not_put_in_quotes(manifest, cli):
    text = "grid:\n  model: demo\n  prompt: {file: prompts.txt}\nstyles: {oil: oil of {prompt}}\n"
    said = cli("plan", manifest(text)).err
    assert "job.yaml:4: " in said
    assert "{file" not in said
    said = cli("plan", manifest("grid:\n  model: demo\n  prompt: {file: prompts.txt}\n")).err
    assert "there is no such file" in said
    assert "If this is a text" not in said
    said = cli("plan", manifest(HEAD + "    - {text: a fox, seed: 3}\n    - {text: a: b, seed: [}\n")).err
    assert "job.yaml:5: not valid YAML: while parsing" in said
    assert "quotes: -" not in said


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("- a fox\n    -a bear", "job.yaml:5: not valid YAML: the '-' of a list wants a blank behind it: - a b"),
        ("- prompt: a fox", "with values of its own is 'text'; write text: a fox"),
    ],
)  # fmt: skip
def test_a_slip_in_a_list_of_prompts_is_named(manifest, cli, written, says):
    assert says in cli("plan", manifest(f"{HEAD}    {written}\n")).err


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("|\n    a fox\n    a wolf", "several lines are one prompt; put '- ' before each and leave out the '|'"),
        ("|-\n    a fox\n\n    a wolf", "several lines are one prompt; put"),
        (
            "|\n    - a fox,\n    - a wolf",
            "several lines are one prompt; leave out the '|' where each is a prompt",
        ),
        (">\n    - a fox\n    - a wolf", "several lines are one prompt; leave out the '>'"),
        ("|\n    - a fox", "the '- ' is part of the prompt; leave out the '|'"),
        ("\n  - |\n    - a fox\n    - a wolf", "several lines are one prompt; leave out the '|'"),
        ("|\n    a fox", ""),
        ("|\n    a fox,\n    in snow", ""),
        ("|\n    a fox\n    BREAK\n    in snow", ""),
        ("|\n    a {red\n    fox} in snow", ""),
        (">\n    a fox\n    a wolf", ""),
    ],
)
@pytest.mark.parametrize("behind", ["", "\n", "\n  seed: 1\n"])
def test_a_block_of_several_prompts_is_told(manifest, block, says, behind):
    found = read_manifest(manifest(f"grid:\n  model: demo\n  prompt: {block}{behind}"))
    warnings = [warning for warning in found.warnings if "one prompt" in warning or "part of" in warning]
    assert len(warnings) == bool(says)
    assert says in "".join(warnings)
