"""What scripts import beyond the program's needs is declared, and said in one line where it is missing."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires

import pytest

from tests.conftest import ROOT
from tools.extras import extra

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS = sorted([*(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")])
LOCAL = {path.stem for path in SCRIPTS} | {"batch", "benchmarks", "tools", "tests"}


def named(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


OWN = {named(line) for line in PROJECT["dependencies"]}
BELOW = {named(line) for name in OWN for line in requires(name) or () if "extra ==" not in line}
"""What the program's needs come with."""


def imported(node, within=""):
    """Each package that is imported, with the extra around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name.split(".")[0], within) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module.split(".")[0], within
        elif isinstance(child, ast.With) and ast.unparse(child.items[0]).startswith("extra("):
            yield from imported(child, child.items[0].context_expr.args[0].value)
        else:
            yield from imported(child, within)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_script_imports_is_declared(script):
    for package, within in imported(ast.parse(script.read_text(encoding="utf-8"))):
        if package in sys.stdlib_module_names | LOCAL:
            continue
        distributions = {
            name.lower().replace("_", "-") for name in packages_distributions().get(package, [package])
        }
        declared = {named(line) for line in PROJECT["optional-dependencies"][within]} if within else OWN | BELOW
        assert distributions & declared, f"{package} is in no dependency; import it with extra(...)"


def test_what_is_missing_is_said_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/paint.py"])
    with pytest.raises(SystemExit) as ended, extra("tools"):
        import no_such_package  # noqa: F401
    assert ended.value.code == 2
    said = 'paint.py: no_such_package is not installed; pip install -e ".[tools]"\n'
    assert capsys.readouterr().err == said
