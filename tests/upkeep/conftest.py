"""A finished run, rendered once for all tests of this room."""

import shutil
from pathlib import Path

import pytest

from batch.cli.main import main
from tests.conftest import SMALL


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Four images with latents, rendered once for all tests here."""
    place = tmp_path_factory.mktemp("rendered")
    (place / "job.yaml").write_text(SMALL)
    arguments = ["run", str(place / "job.yaml"), "--out", str(place / "run"), "--keep-latents", "--quiet"]
    assert main(arguments) == 0
    return place


@pytest.fixture
def run(rendered, work) -> Path:
    """A copy of the run, as ./run beside ./job.yaml."""
    shutil.copytree(rendered / "run", work / "run")
    shutil.copy(rendered / "job.yaml", work / "job.yaml")
    return Path("run")
