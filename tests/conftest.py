"""What the tests share: a folder of their own, a cache of their own, and the command line as a function."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock
from packaging.version import Version

from batch.base import nvml
from batch.base.collector import importing
from batch.cli.main import main

# Tiny models gain nothing from more threads, and lose much where the cores are busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A worker process a run would start torch anew for each test; tests/engines is about that process.
os.environ.setdefault("RUN_BATCH_ENGINE", "local")

# Nor does every plan load it for its memory; tests/render/test_foresight.py is about that.
os.environ.setdefault("RUN_BATCH_PREDICT", "0")

# It is noon whenever they run: "in an hour" is today, here as in child processes and browsers.
if hasattr(time, "tzset"):
    os.environ["TZ"] = f"Etc/GMT{time.gmtime().tm_hour - 12:+d}"  # Etc/GMT-5 is five hours ahead of UTC
    time.tzset()

ROOT = Path(__file__).parent.parent

# The `demo` of the tests has random weights, a few thousand of them (tools/make_tiny_demo.py). Child processes
# inherit the variable.
DEMO = ROOT / "tests" / "models" / "demo"
os.environ.setdefault("RUN_BATCH_SHIPPED", str(DEMO.parent))


def pytest_runtest_setup(item):
    # What is left then stays for good. To look through it again and again is a fifth of the time of the tests that
    # render.
    gc.collect()
    gc.freeze()
    if item.get_closest_marker("gpu") and not nvml.cards():
        pytest.skip("there is no NVIDIA card")


@pytest.fixture(scope="session", autouse=True, name="cache")
def own_cache(tmp_path_factory):
    """Never the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["RUN_BATCH_CACHE"] = str(folder)
    (folder / "models.yaml").write_text("# none\n")
    os.environ["RUN_BATCH_MODELS"] = str(folder / "models.yaml")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_CACHE"] = str(folder / "hub")
    return folder


@pytest.fixture(scope="session", autouse=True)
def exact_attention():
    """Pipelines that tests call themselves bound Gemma-2's scores, too: see batch/render/attention.py."""
    if Version(metadata.version("transformers")) < Version("5.22"):
        with importing():
            from transformers import Gemma2Model

            import batch.render.session  # noqa: F401 - half the tests need it

        Gemma2Model._supports_sdpa = False


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self):
        return json.loads(self.out)

    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="module")
def one_thread():
    """Convolutions as small as those of tiny models only wait for each other's threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folders of tiny pipelines by name, built when first asked for, by one of the processes that test at once."""
    from tests import tiny_models

    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tiny"
    root.mkdir(exist_ok=True)

    def folder(name: str) -> Path:
        built = root / f"{name}.built"
        with FileLock(root / f"{name}.lock"):
            if not built.exists():
                shutil.rmtree(root / name, ignore_errors=True)
                tiny_models.build(name, root / name)
                built.touch()
        return root / name

    return cache(folder)


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """The current folder, with spaces and quotes in its name."""
    folder = tmp_path / 'it\'s a "work" folder'
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(name="own_cache")
def cache_of_its_own(work, monkeypatch) -> Path:
    """A cache that this test alone writes to."""
    folder = work / "cache"
    monkeypatch.setenv("RUN_BATCH_CACHE", str(folder))
    return folder


@pytest.fixture
def small_disk(work):
    """A file system of 6 MB, and how to make it another size (``size=200m``)."""
    place = work / "small"
    place.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    if sys.platform != "linux" or not mount("size=6m"):
        pytest.skip("file systems cannot be mounted here")
    yield place, lambda size: mount(f"remount,{size}")
    subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture
def cli(work, capsys) -> Callable[..., Outcome]:
    def call(*arguments: str) -> Outcome:
        code = main([str(item) for item in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def manifest(work) -> Callable[..., Path]:
    """Write a manifest; the smallest renders one demo image of one step."""

    def write(text: str = "", name: str = "job.yaml") -> Path:
        path = work / name
        path.write_text(text or SMALL, encoding="utf-8")
        return path

    return write


SMALL = """\
grid:
  model: demo
  prompt: [a fox, a whale]
  seed: 0..1
  steps: 1
  size: 512x512
"""
