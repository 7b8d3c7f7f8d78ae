"""The wheel holds every file of the package, with what is no Python: tables, templates, schema, the demo model."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT

PARTS = ("batch", "run_batch.py", "pyproject.toml", "README.md", "LICENSE")


def test_every_file_of_the_package_is_in_the_wheel(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    source.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, source / part)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    there = {path.relative_to(source).as_posix() for path in (source / "batch").rglob("*") if path.is_file()}
    wanted = {"batch/py.typed", "batch/manifest/manifest.schema.json", "batch/catalogue/models.yaml"}
    wanted |= {f"batch/report/fonts/{name}" for name in ("DejaVuSansCondensed.ttf", "LICENSE-DejaVu.txt")}
    assert wanted <= there
    assert there - set(zipfile.ZipFile(wheel).namelist()) == set()
