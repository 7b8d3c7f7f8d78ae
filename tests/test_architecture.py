"""The arrows of imports point down; torch stays in its room."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "batch"

# What each room may import from, besides itself.
ALLOWED = {
    "errors": set(),
    "bulk": set(),
    "records": set(),
    "manifest": {"records", "errors"},
    "signatures": set(),
    "plan": {"bulk", "signatures", "manifest", "records", "errors"},
    "configs": {"signatures", "plan", "manifest", "records", "errors"},
    "hub": {"configs", "plan", "manifest", "records", "errors"},
    "machine": set(),
    "render": {"machine", "plan", "manifest", "records", "errors"},
    "store": {"bulk", "plan", "manifest", "records", "errors", ""},
    "engines": {"limits", "render", "store", "plan", "manifest", "records", "errors"},
    "report": {"store", "plan", "records", "errors", ""},
    "words": set(),
    "limits": {"words", "store", "plan", "records", "errors"},
    "progress": {"words", "records", "plan", "standing"},
    "forecast": {"predictions", "hub", "plan", "manifest", "records", "errors", ""},
    "predictions": {"store", "plan"},
    "show": {"words", "plan", "standing", "summary", "forecast", "show_memory"},
    "show_memory": {"words", "forecast"},
    "summary": {"store", "plan", "records", "errors"},
    "desk": {"drift", "drive", "limits", "notify", "words", "store", "plan", "records", "errors"},
    "drive": {"hub", "engines", "store", "plan", "records", "errors"},
    "drift": {"words", "plan", "records"},
    "measure": {"desk", "drive", "words", "store", "plan", "records", "errors"},
    "notify": {"doctor", "errors"},
    "awake": set(),
    "standing": {"hub", "limits", "store", "plan", "records"},
    "runner": {
        "desk",
        "measure",
        "standing",
        "drive",
        "engines",
        "words",
        "limits",
        "notify",
        "awake",
        "machine",
        "hub",
        "report",
        "store",
        "plan",
        "manifest",
        "records",
        "errors",
    },
    "remake": {"store", "manifest", "records", "errors"},
    "show_upkeep": {"words", "progress", "upkeep"},
    "show_machine": {"words", "doctor", "plan"},
    "upkeep": {
        "runner",
        "standing",
        "drive",
        "limits",
        "hub",
        "report",
        "store",
        "plan",
        "manifest",
        "records",
        "errors",
    },
    "doctor": {"hub", "machine", "render", "store", "manifest", ""},
    "commands": {
        "remake",
        "manifest",
        "report",
        "runner",
        "upkeep",
        "doctor",
        "hub",
        "show_upkeep",
        "show_machine",
        "progress",
        "plan",
        "errors",
    },
    "cli": {
        "engines",
        "standing",
        "summary",
        "commands",
        "words",
        "limits",
        "runner",
        "upkeep",
        "show",
        "forecast",
        "progress",
        "errors",
        "",
    },
    "__main__": {"cli"},
    "__init__": set(),
}
TORCH_ROOM = "render"
TYPES_ONLY = {
    ("progress", "plan"),
    ("progress", "standing"),
    ("show", "plan"),
    ("show", "standing"),
    ("show", "summary"),
}
TYPES_ONLY |= {("show", "forecast"), ("show_memory", "forecast")}
TYPES_ONLY |= {("show_upkeep", "upkeep"), ("show_machine", "doctor")}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "batch":
                yield from (f"batch.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_every_import_points_down():
    wrong = []
    for path in ROOT.rglob("*.py"):
        for name in imports(path):
            top, _, rest = name.partition(".")
            if top != "batch":
                continue
            target = rest.split(".")[0]
            target = "" if target in ("", "__version__") else target
            if target != room(path) and target not in ALLOWED[room(path)]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_torch_and_diffusers_are_imported_in_render_only():
    heavy = {"torch", "diffusers", "transformers", "accelerate"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in ROOT.rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] in heavy and room(path) != TORCH_ROOM
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plan", "jobs/quickstart.yaml"], ["plan", "jobs/sana_4k_overnight.yaml"], ["run", "--help"]],
)
def test_planning_and_help_start_without_torch(arguments):
    code = (
        "import sys; from batch.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'diffusers', 'transformers', 'pandas'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
