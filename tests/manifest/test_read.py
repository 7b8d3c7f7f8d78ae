"""Reading is strict: YAML 1.2 meaning, all errors at once, each with file and line."""

import pytest

from batch.base.errors import ManifestError, UserError
from batch.manifest.document import parse
from batch.manifest.read import read_manifest
from batch.manifest.scalars import core_scalar
from batch.manifest.values import RandomSeeds, Size
from tests.helpers import plan

BASE = "grid:\n  model: demo\n  prompt: a fox\n"


def axis(manifest, name):
    return [entry.value for entry in manifest.grids[0].entries(name)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e-3", 0.001),
        ("12:30", "12:30"),
        ("true", True),
        ("~", None),
        ("", None),
        ("-.inf", float("-inf")),
        ("0..3", "0..3"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    assert core_scalar(text) == value


def test_every_axis_is_read(manifest):
    read = read_manifest(
        manifest(
            "grid:\n"
            "  model: [demo, demo-1k]\n"
            "  prompt: [1984, no, 'a: b', a | b .. c]\n"
            "  negative_prompt: ['', blurry]\n"
            "  seed: [3..5, 9, {random: 2}]\n"
            "  size: [512x512, 672×384]\n"
            "  steps: 1..3\n"
            "  guidance: [1, 4.5]\n"
            "  scheduler: [default, 'flow-euler(shift=2.5)']\n"
            "  memory: 'vae_tiling(512, 448)'\n"
            "  dtype: float32\n"
            "  lora: [none, 'a.safetensors(scale=0.5) + b c.safetensors']\n"
            "  extra.eta: 0.5\n"
            "  extra.timesteps: [[9, 5], [9, 6]]\n"
        )
    )
    assert axis(read, "prompt") == ["1984", "no", "a: b", "a | b .. c"]
    assert axis(read, "seed") == [3, 4, 5, 9, RandomSeeds(2)]
    assert axis(read, "size") == [Size(512, 512), Size(672, 384)]
    assert axis(read, "steps") == [1, 2, 3]
    assert axis(read, "guidance") == [1.0, 4.5]
    assert [str(value) for value in axis(read, "scheduler")] == ["None", "flow-euler(shift=2.5)"]
    assert axis(read, "lora") == [(), (("a.safetensors", 0.5), ("b c.safetensors", 1.0))]
    assert axis(read, "extra.timesteps") == [(9, 5), (9, 6)]


def test_prompts_come_from_a_text_file_with_their_lines(manifest, work):
    (work / "p.txt").write_bytes("\ufeff# note\r\na fox\r\n\r\nein Füchslein\r\n".encode())
    read = read_manifest(manifest("grid: {model: demo, prompt: {file: p.txt}}\n"))
    assert [(entry.value, entry.place.line) for entry in read.grids[0].entries("prompt")] == [
        ("a fox", 2),
        ("ein Füchslein", 4),
    ]


def test_set_wins_over_the_manifest(manifest):
    read = read_manifest(
        manifest(BASE + "  seed: 0\n"),
        ["seed=4..5", "prompt=a: b # c", "size=[512x512, 672x384]", "run.retries=7", "resize=true", "extra.eta=1"],
    )
    assert axis(read, "seed") == [4, 5]
    assert axis(read, "prompt") == ["a: b # c"]
    assert axis(read, "size") == [Size(512, 512), Size(672, 384)]
    assert read.run.retries == 7
    assert read.resize
    assert axis(read, "extra.eta") == [1]


WRONG = [
    ("", 0, "empty"),
    ("grid: [", 1, "not valid YAML"),
    ("- a\n", 1, "a manifest is a mapping"),
    ("grid:\n  model: demo\n", 1, "the grid needs 'prompt'"),
    ("name: x\n", 1, "the grid needs 'model'"),
    (BASE + "  seeds: 3\n", 4, "did you mean 'seed'?"),
    (BASE + "  seed: 1\n  seed: 2\n", 5, "given twice (first in line 4)"),
    (BASE + "seed: 3\n", 4, "is an axis; write it under grid:"),
    (BASE + "gird: 3\n", 4, "did you mean 'grid'?"),
    (BASE + "  seed: -1\n", 4, "{random: 1}"),
    (BASE + "  seed: -2\n", 4, "out of bounds"),
    (BASE + "  seed: 5..3\n", 4, "write 3..5"),
    (BASE + "  seed: many\n", 4, "nor a range such as 0..3"),
    (BASE + "  seed: {randm: 3}\n", 4, "{random: n}"),
    (BASE + "  seed: []\n", 4, "empty list"),
    (BASE + "  seed: 1.5\n", 4, "not a whole number"),
    (BASE + "  size: 512\n", 4, "write WIDTHxHEIGHT"),
    (BASE + "  size: 0x512\n", 4, "write WIDTHxHEIGHT"),
    (BASE + "  size: 512x99999\n", 4, "out of bounds"),
    (BASE + "  steps: 0\n", 4, "out of bounds"),
    (BASE + "  guidance: high\n", 4, "not a number"),
    (BASE + "  guidance: .nan\n", 4, "out of bounds"),
    (BASE + "  scheduler: dpm++(6)\n", 4, "named arguments only"),
    (BASE + "  memory: 3\n", 4, "not a memory setting"),
    (BASE + "  memory: 'tiled('\n", 4, "neither a name"),
    (BASE + "  lora: 'a.safetensors(scale=much)'\n", 4, "not a LoRA scale"),
    (BASE + "  extra.eta: {a: 1}\n", 4, "a mapping cannot be passed on"),
    ("grid: {model: demo, prompt: ''}\n", 1, "the prompt is empty"),
    ("grid: {model: demo, prompt: p.txt}\n", 1, "write prompt: {file: p.txt}"),
    ("grid: {model: demo, prompt: {file: nope.txt}}\n", 1, "there is no such file"),
    ("grid: {model: demo, prompt: {file: ../p.txt}}\n", 1, "outside the manifest's folder"),
    ("grid: {model: demo, prompt: {path: p.txt}}\n", 1, "a mapping is {file: prompts.txt}"),
    ("grid: {model: demo, prompt: {file: p.pdf}}\n", 1, "only .txt, .csv, .tsv, .jsonl, .xlsx files"),
    (BASE + "output: {format: bmp}\n", 4, "possible are png, jpeg"),
    (BASE + "output: {name: '{promt}'}\n", 4, "{promt} is unknown"),
    (BASE + "output: {name: '{prompt'}\n", 4, "brace is left open"),
    (BASE + "output: png\n", 4, "not a mapping"),
    (BASE + "run: {retries: 0}\n", 4, "greater than or equal to 1"),
    (BASE + "run: {min_free_disk: lots}\n", 4, "write for example 5GiB"),
    (BASE + "resize: no\n", 4, "true or false"),
    (BASE + "name: a/b\n", 4, "cannot name a folder"),
    (BASE + "kind: movie\n", 4, "'render' or 'measure' is"),
    (BASE + "exclude: [{seed: 3}]\n", 4, "no axis 'seed' in the grid"),
    (BASE + "exclude: [{}]\n", 4, "leave out everything"),
    (BASE + "name: !!python/object:os.system x\n", 4, "is not understood"),
    ("a: &a [*a]\n", 1, "an alias contains itself"),
    (BASE + "? [a, b]\n: c\n", 4, "a key must be a single word"),
]


@pytest.mark.parametrize(("text", "line", "says"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_what_is_wrong_is_said_with_its_line(manifest, cli, text, line, says):
    path = manifest(text or "\n")
    outcome = cli("plan", path)
    assert outcome.code == 2
    assert says in outcome.err
    assert f"{path}:{line}: " in outcome.err if line else f"{path}: " in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(("raw", "says"), [(b"\x00\x01grid", "binary"), (b"grid:\n  prompt: \xff\xff\n", "UTF-8")])
def test_bytes_that_are_not_text(cli, work, raw, says):
    (work / "job.yaml").write_bytes(raw)
    outcome = cli("plan", "job.yaml")
    assert (outcome.code, says in outcome.err) == (2, True)


def test_an_alias_bomb_is_refused(manifest):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ManifestError, match="too large"):
        read_manifest(manifest("\n".join(lines)))


def test_all_errors_come_at_once(manifest):
    with pytest.raises(ManifestError) as error:
        read_manifest(manifest("grid:\n  model: demo\n  seed: x\n  size: y\n  sted: 1\nrun: {retry: 1}\n"))
    assert len(error.value.problems) == 5


def test_a_missing_manifest_and_a_csv_are_said(cli, work):
    assert "no such file" in cli("plan", "nope.yaml").err
    (work / "a.csv").write_text("prompt\nx\n")
    with pytest.raises(UserError):
        read_manifest(work / "a.csv")


@pytest.mark.parametrize(
    "axis", ['steps: "20"', "steps: '20 '", 'seed: "20"', 'guidance: "20"', 'guidance: "20.0"']
)
def test_a_number_in_quotes_is_that_number(manifest, axis):
    found = read_manifest(manifest(f"grid: {{model: demo, prompt: a fox, {axis}}}\n"))
    assert [entry.value for entry in found.grids[0].entries(axis.partition(":")[0])] == [20]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("grid: {model: demo, prompt: a fox, steps: '0'}", "steps: 0 is out of bounds"),
        ("grid: {model: demo, prompt: a fox, guidance: '20x'}", "guidance: '20x' is not a number"),
        ("kind: measure\nrepeats: '3'\ngrid: {}", "repeats: '3' is not a whole number; leave out the quotes"),
    ],
)
def test_a_text_in_quotes_that_is_no_number_is_refused(manifest, text, says):
    with pytest.raises(ManifestError, match=says):
        read_manifest(manifest(text + "\n"))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("DPM++ 2M Karras", "write dpm++(use_karras_sigmas=true)"),
        ("Euler a", "write euler-a"),
        ("euler_a", "write euler-a"),
        ("dpmpp_2m", "write dpm++"),
        ("Euler", "write euler"),
        ("UniPC", "write unipc"),
        ("DPM fast", "'DPM fast' is unknown; possible are default, euler, euler-a"),
    ],
)
def test_a_sampler_of_another_program_is_refused_with_ours(manifest, work, written, says):
    with pytest.raises(ManifestError) as error:
        plan(manifest(f"grid: {{model: sdxl, prompt: a fox, scheduler: {written}}}\n"))
    assert f"job.yaml:1: scheduler: '{written}' is " in str(error.value)
    assert says in str(error.value)
    (work / "t.csv").write_text(f"model,prompt,scheduler\nsdxl,a fox,{written}\n")
    with pytest.raises(ManifestError) as error:
        plan(work / "t.csv")
    assert "t.csv:2: scheduler: " in str(error.value)
    assert says in str(error.value)


def test_what_is_set_has_no_line(manifest, cli):
    said = cli("plan", manifest("grid: {model: demo, prompt: x}\n"), "--set", "prompt=(fox:1.2)").err
    assert "--set prompt: (fox:1.2): weights are not" in said


def test_places_of_what_has_no_row(manifest, work, cli):
    (work / "p.jsonl").write_text('\n{"text": "a fox", "prmpt": 3}\n{"text": "a fox", "sed": 3}\n')
    said = cli("plan", manifest("grid: {model: demo, prompt: {file: p.jsonl}}\n")).err
    assert "p.jsonl:2: there is no column 'prompt'" in said
    said = cli("plan", manifest("grid: {model: demo, prompt: x}\nrows: {file: p.jsonl}\n")).err
    assert "p.jsonl:3: the column 'sed' is no axis; did you mean 'seed'?" in said
    (work / "p.txt").write_text("--prompt x --step 3\n")
    said = cli("plan", manifest("grid: {model: demo, prompt: {file: p.txt}}\n")).err
    assert "did you mean 'steps'? Other axes take a table" in said
    said = cli(
        "plan", manifest("prompt_syntax: a1111\ngrid:\n  model: demo\n  prompt:\n    - a\n    - (b:1.2)\n")
    ).err
    assert "job.yaml:6: " in said
    assert "has weights" in said


@pytest.mark.parametrize(
    ("written", "prompt"),
    [
        (r"a \ud83e\udd8a\uD83D\uDC33", "a \U0001f98a\U0001f433"),
        (r"a \\ud83e\\udd8a", r"a \ud83e\udd8a"),
        (r"a \\\ud83e\udd8a", "a \\\U0001f98a"),
    ],
)
def test_json_has_surrogate_pairs(written, prompt):
    text = f'{{\n "grid": {{"model": "demo",\n  "prompt": "{written}"}}}}'
    document = parse(text, "job.json")
    assert document.sections["grid"]["prompt"] == prompt
    assert document.place(("grid", "prompt")).line == 3


def test_what_is_no_json_has_none():
    with pytest.raises(ManifestError) as error:
        parse('grid: {model: demo, prompt: ["a\\ud83e\\udd8a"]}', "job.yaml")
    assert r"\ud83e\udd8a is how JSON writes a letter; write the letter itself, 🦊, or \U0001F98A" in str(
        error.value
    )
    with pytest.raises(ManifestError, match="is half of a letter"):
        parse('prompt: "\\ud83e"', "job.yaml")
    assert parse("prompt: \\ud83e\\udd8a", "job.yaml").sections == {"prompt": "\\ud83e\\udd8a"}
