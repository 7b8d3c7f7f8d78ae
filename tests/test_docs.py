"""Every command, option, key and column stands in the docs; every command line of the README runs."""

import pkgutil
import re
import shlex

import click
import pytest
import yaml

from batch.base import errors
from batch.catalogue import families, scheduler_names
from batch.catalogue.models import known_models
from batch.cli.main import cli as command_line
from batch.manifest import formats
from batch.manifest.axes import AXES
from batch.manifest.naming import NAME_FIELDS
from batch.manifest.schema import Output, RunOptions, TopLevel
from batch.memory import profiles, steps
from batch.report import table
from batch.run.divided import COUNT, asked
from tests.checkpoints import SDXL, write
from tests.conftest import ROOT


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def missing(words, page):
    return [word for word in words if word not in text(page)]


def test_commands_and_options():
    words = [f"## {name}" for name in command_line.commands]
    groups = [item for item in command_line.commands.values() if isinstance(item, click.Group)]
    words += [f"`{group.name} {name}" for group in groups for name in group.commands]
    inner = [command for group in groups for command in group.commands.values()]
    for command in [*command_line.commands.values(), *inner]:
        words += [option for item in command.params if isinstance(item, click.Option) for option in item.opts]
        assert command.help
        assert all(item.help for item in command.params if isinstance(item, click.Option))
    assert missing(words, "docs/commands.md") == []


def test_manifest_keys():
    words = [f"`{name}`" for name in [*AXES, *TopLevel.model_fields]]
    words += [f"`{name}`" for name in formats.FORMATS]
    words += [f"`output.{name}`" for name in Output.model_fields]
    words += [f"`run.{name}`" for name in RunOptions.model_fields]
    words += [f"`{{{name}}}`" for name in NAME_FIELDS]
    words += [f"`{name}`" for name in families.FAMILIES["sana"].extra]
    assert missing(words, "docs/manifest.md") == []


def test_columns_models_and_settings():
    assert missing([f"`{name}`" for name in table.COLUMNS], "docs/run-folder.md") == []
    assert missing([f"`{name}`" for name in known_models()], "docs/models.md") == []
    assert missing([f"`{name}`" for name in scheduler_names.SCHEDULERS], "docs/models.md") == []
    assert missing([f"`{name}" for name in [*profiles.PROFILES, *steps.STEPS]], "docs/memory.md") == []


def test_tests_named_in_the_docs_exist():
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for page in (*PAGES, "CONTRIBUTING.md"):
        for name in re.findall(r"`(test_\w+)`", text(page)):
            assert f"def {name}(" in tests, page


def test_files_named_in_the_docs_exist():
    for page in (*PAGES, "CONTRIBUTING.md"):
        for name in re.findall(r"`((?:\w+/)+\w+\.py)`", text(page)):
            assert any((folder / name).is_file() for folder in (ROOT, ROOT / "batch")), f"{page}: {name}"


def test_what_docstrings_point_to_exists():
    for path in sorted((ROOT / "batch").rglob("*.py")):
        for name in re.findall(r":(?:class|func|mod|meth|attr|data):`~?(batch[.\w]*)`", path.read_text("utf-8")):
            pkgutil.resolve_name(name)  # raises, with the name


PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


@pytest.fixture
def examples(work):
    """The files that examples in the docs name."""
    (work / "prompts").mkdir()
    for name in ("landscapes", "forty"):
        (work / "prompts" / f"{name}.txt").write_text("".join(f"{name} {number}\n" for number in range(40)))
    (work / "prompts" / "parti.tsv").write_text('Prompt\tCategory\na fox\tAnimals\na "red" whale\tAnimals\n')
    (work / "prompts.txt").write_text("a {red|blue} (fox:1.2)\n--prompt a whale --steps 20\n")
    (work / "styles.csv").write_text("name,prompt,negative_prompt\ncinematic,film still of {prompt},cartoon\n")
    (work / "shots.csv").write_text("prompt,steps\na fox,\na whale,3\n")
    write(work / "models" / "juggernautXL.safetensors", SDXL)
    write(work / "vae" / "sdxl-vae-fp16-fix.safetensors", {"decoder.conv_in.weight": (512, 4, 3, 3)})
    return work


@pytest.mark.parametrize("page", PAGES)
def test_manifests_in_the_docs_are_planned(cli, examples, page):
    for kind, block in re.findall(r"```(yaml|csv)\n(.*?)```", text(page), re.DOTALL):
        if kind == "yaml" and not re.search(r"^(grid|rows|include):", block, re.MULTILINE):
            continue  # a part of one
        (examples / f"job.{kind}").write_text(block, encoding="utf-8")
        outcome = cli("plan", f"job.{kind}")
        assert outcome.code == 0, outcome.err + block


def test_every_page_that_promises_manifests_has_some():
    for page in ("README.md", "docs/manifest.md", "docs/cookbook.md", "docs/coming-from.md"):
        assert re.search(r"```yaml\n", text(page)), page


@pytest.mark.parametrize("page", PAGES)
def test_yaml_in_the_docs_is_yaml(page):
    for block in re.findall(r"```yaml\n(.*?)```", text(page), re.DOTALL):
        assert list(yaml.safe_load_all(block)), block


def test_the_job_of_kubernetes_says_the_same_twice():
    blocks = re.findall(r"```yaml\n(.*?)```", text("docs/scaling.md"), re.DOTALL)
    (job,) = (found for found in map(yaml.safe_load, blocks) if found.get("kind") == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": COUNT, "value": str(job["spec"]["completions"])} in container["env"]
    (rule,) = (item["onExitCodes"] for item in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in item)
    assert (rule["containerName"], rule["values"]) == (container["name"], [errors.EXIT_FAILED, errors.EXIT_USER])
    program, name, *words = container["command"]
    assert program == "run-batch"
    environment = {"JOB_COMPLETION_INDEX": "7", **{item["name"]: item["value"] for item in container["env"]}}
    command_line.commands[name].make_context(name, [word for word in words if word not in ("--shard", "auto")])
    assert str(asked("auto", environment)) == "8/8"


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_in_the_docs_are_understood(page):
    """Every command and every option that an example uses exists."""
    for line in re.findall(r"^(?:python )?run_batch\.py (.*)$", text(page), re.MULTILINE):
        words = shlex.split(line, comments=True)
        command = command_line.commands.get(words[0], command_line.commands["run"])
        while isinstance(command, click.Group):
            words = words[1:]
            command = command.commands[words[0]]
        known = {option for item in command.params for option in item.opts}
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= known, line


def test_command_lines_of_the_readme_plan_and_report(cli, monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = re.findall(r"^python run_batch.py plan (\S+)", text("README.md"), re.MULTILINE)
    assert lines
    for manifest in lines:
        assert cli("plan", manifest).code == 0


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), (page, target)
