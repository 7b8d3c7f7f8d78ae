"""Every command and every key of a manifest, used once through the command line."""

import pytest

from batch.cli.main import cli as command_line
from batch.manifest.axes import AXES
from batch.manifest.schema import Output, RunOptions, TopLevel
from batch.report import table

JOB = """\
name: night
kind: render
grid:
  model: demo
  prompt:
    - a fox
    - {file: prompts.txt}
    - {file: prompts.tsv, column: caption}
    - {text: a whale, negative_prompt: fog, seed: 9}
  negative_prompt: ""
  style: none
  seed: [0, 3..4]
  size: 512x512
  scheduler: default
  memory: auto
  dtype: float32
  vae: default
  lora: none
  extra.eta: 0.0
zip:
  - {steps: [1, 2], guidance: [1.0, 4.5]}
exclude:
  - {seed: [3, 4], steps: 2}
include:
  - {prompt: a lighthouse, seed: 7, size: 300x200, steps: 1, guidance: 4.5, style: ink}
styles: {ink: "{prompt}, ink"}
prompt_prefix: ""
prompt_suffix: ", at dusk"
variants: off
wildcards: {}
resize: true
long_prompts: cut
prompt_syntax: plain
allow_pickle: []
trust_remote_code: []
output: {format: png, metadata: full, keep_latents: true, name: "{prompt}-{seed}-{size}"}
run:
  {on_oom: fallback, retries: 2, min_free_disk: 1MB, max_consecutive_failures: 5, recycle_after: 0,
   compile: auto, batch: 1, stop: finish}
notify: []
"""


@pytest.fixture
def night(cli, manifest, work):
    (work / "prompts.txt").write_text("a harbour\n")
    (work / "prompts.tsv").write_text("id\tcaption\n1\ta market\n")
    return manifest(JOB, "night.yaml")


def test_a_manifest_with_every_key_renders(cli, night, work):
    keys = {line.partition(":")[0] for line in JOB.splitlines() if line[:1].isalpha()}
    assert keys == set(TopLevel.model_fields) - {
        "rows",
        "repeats",
    }  # tests/manifest/test_grids.py, tests/run/test_measure.py
    for section, model in (("output", Output), ("run", RunOptions)):
        text = JOB.partition(f"\n{section}:")[2].partition("}\n")[0]
        assert all(f"{name}: " in text for name in model.model_fields)
    assert all(f"{name}: " in JOB for name in AXES)

    outcome = cli("run", night, "--quiet")
    assert outcome.code == 0, outcome.err
    frame = table.read(work / "outputs" / "night" / "results.csv")
    # 3 prompts with 3 seeds and 1 with its own, in 2 pairs, less the excluded ones, and the included one
    assert len(frame) == (3 * 3 + 1) * 2 - 3 * 2 + 1
    assert set(frame.status) == {"done"}
    assert frame.prompt.str.contains("at dusk").all()
    assert set(frame[frame.prompt == "a whale, at dusk"].negative_prompt) == {"fog"}
    lighthouse = frame[frame.prompt == "a lighthouse, at dusk, ink"].iloc[0]
    assert (lighthouse.width, lighthouse.height, lighthouse.rendered_width) == (300, 200, 608)


COMMANDS = {
    "plan": (["plan", "night.yaml"], "done 15, to render 0"),
    "run": (["run", "night.yaml", "--out", "outputs/night"], "0 images rendered"),
    "status": (["status", "outputs/night"], "15 of 15 done"),
    "report": (["report", "outputs/night"], "report.html"),
    "redecode": (
        ["redecode", "outputs/night", "--memory", "vae_tiling(256, 192)", "--out", "tiled"],
        "15 images rendered",
    ),
    "compare": (["compare", "outputs/night", "tiled"], "PSNR"),
    "verify": (["verify", "outputs/night", "--reproduce", "1"], "identical"),
    "prune": (["prune", "outputs/night", "--dry-run"], "nothing"),
    "fetch": (["fetch", "night.yaml"], "nothing to download"),
    "models": (["models"], "demo-4k"),
    "doctor": (["doctor"], "ready to render"),
    "manifest": (["manifest", "from", "outputs/night", "--only", "done"], "a lighthouse, at dusk, ink"),
    "completion": (["completion", "bash"], "run-batch"),
}


STEERED = {"stop", "pause", "resume"}
"""Of a run that goes on: tests/engines/test_steering.py."""


def test_every_command_does_its_work(cli, night):
    assert set(COMMANDS) | STEERED == set(command_line.commands)
    assert cli("run", night, "--quiet").code == 0
    for name, (arguments, says) in COMMANDS.items():
        outcome = cli(*arguments)
        assert outcome.code == 0, (name, outcome.err)
        assert says in outcome.out, (name, outcome.out)


@pytest.mark.parametrize(
    "command", [["run", "job.yaml"], ["plan", "job.yaml"], ["redecode", "run"], ["compare", "run"]]
)
def test_an_empty_folder_name_is_not_the_current_folder(cli, manifest, work, command):
    manifest()
    before = sorted(work.rglob("*"))
    refused = cli(*command, "--out", "")
    assert (refused.code, "it is empty" in refused.err, sorted(work.rglob("*"))) == (2, True, before)
