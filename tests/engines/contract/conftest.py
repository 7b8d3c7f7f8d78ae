"""Every test of the contract for every engine.

For one: ``pytest tests/engines/contract -m "engine(name='two')"``.
"""

from pathlib import Path

import pytest

from tests.engines.contract.contract import Contract
from tests.engines.contract.promises import KINDS


def pytest_generate_tests(metafunc):
    if "kind" in metafunc.fixturenames:
        asked = {promise for mark in metafunc.definition.iter_markers("promises") for promise in mark.args}
        short = metafunc.module.__name__ in SHORT
        metafunc.parametrize("kind", [_with_marks(kind, asked, short) for kind in KINDS], scope="session")


SHORT = {"tests.engines.contract.test_outcomes"}
"""What is always tried on a cluster, too."""


def _with_marks(kind, asked, short):
    why = kind.absent or "; ".join(kind.lacks[promise] for promise in sorted(asked & kind.lacks.keys()))
    skips = [pytest.mark.skip(reason=f"{kind.name}: {why}")] if why else []
    together = [pytest.mark.xdist_group("ray")] if kind.engine == "ray" else []
    cluster = [pytest.mark.cluster] if kind.engine == "ray" and not short else []
    return pytest.param(
        kind, id=kind.name, marks=[pytest.mark.engine(name=kind.name), *together, *cluster, *skips]
    )


@pytest.fixture
def contract(request, kind, work, own_cache, tmp_path) -> Contract:
    """Runs through one engine, in a folder and with a cache of embeddings of their own."""
    (tmp_path / "memo").mkdir()
    address = request.getfixturevalue("two_gpus") if kind.engine == "ray" else ""
    return Contract(kind, Path(work), tmp_path, address=address)
