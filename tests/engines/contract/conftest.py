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
        metafunc.parametrize("kind", [_with_marks(kind, asked) for kind in KINDS], scope="session")


def _with_marks(kind, asked):
    why = kind.absent or "; ".join(kind.lacks[promise] for promise in sorted(asked & kind.lacks.keys()))
    skips = [pytest.mark.skip(reason=f"{kind.name}: {why}")] if why else []
    return pytest.param(kind, id=kind.name, marks=[pytest.mark.engine(name=kind.name), *skips])


@pytest.fixture(scope="package")
def cluster():
    """The address of a Ray on this machine with two GPUs that are none; runs of this process are in it."""
    import ray

    from tests.engines.ray.conftest import STORE, quiet_ray

    with quiet_ray():
        ray.init(
            address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False,
            configure_logging=False, object_store_memory=STORE,
        )  # fmt: skip
        yield ray.get_runtime_context().gcs_address


@pytest.fixture
def contract(request, kind, work, own_cache, tmp_path) -> Contract:
    """Runs through one engine, in a folder and with a cache of embeddings of their own."""
    (tmp_path / "memo").mkdir()
    address = request.getfixturevalue("cluster") if kind.engine == "ray" else ""
    return Contract(kind, Path(work), tmp_path, address=address)
