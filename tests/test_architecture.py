"""The arrows of imports point down; torch stays in its room."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "batch"

ROOMS = {
    "__main__": "cli",
    "cli": "upkeep run engines report store plan memory hub catalogue manifest records base",
    "upkeep": "run report store plan memory hub catalogue manifest records base",
    "run": "engines report render store plan memory hub catalogue manifest records base",
    "engines": "render store plan memory hub catalogue records base",
    "report": "store plan memory manifest records base",
    "render": "plan memory catalogue manifest records base",
    "store": "plan memory catalogue manifest records base",
    "plan": "memory catalogue manifest records base",
    "memory": "catalogue manifest records base",
    "hub": "catalogue records base",
    "catalogue": "manifest records base",
    "manifest": "records base",
    "records": "",
    "base": "",
}
"""From the street to the cellar, with the rooms below that each one uses."""

TORCH_ROOM = "render"


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


def arrows() -> dict[tuple[str, str], list[str]]:
    """Rooms that use one another, inside functions and for types too, with the imports that say so."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in ROOT.rglob("*.py"):
        for name in imports(path):
            top, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if top == "batch" and target not in (room(path), "__version__"):
                found.setdefault((room(path), target), []).append(f"{path.relative_to(ROOT)} imports {name}")
    return found


def test_every_import_points_down():
    allowed = {(name, below) for name, used in ROOMS.items() for below in used.split()}
    assert {key: lines for key, lines in arrows().items() if key not in allowed} == {}
    assert allowed - arrows().keys() == set(), "arrows that nothing uses"
    order = list(ROOMS)
    assert all(order.index(upper) < order.index(lower) for upper, lower in allowed)


def test_every_module_lies_in_a_room():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == ROOMS.keys() - {"__main__"}


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
        "import sys; from batch.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'diffusers', 'transformers', 'pandas'} & set(sys.modules);"
        "heavy |= {'rich'} & set(sys.modules) if '--help' in sys.argv else set();"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
