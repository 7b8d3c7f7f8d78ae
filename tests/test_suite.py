"""The tests themselves."""

import pytest


@pytest.mark.xdist_group("together")
def test_what_belongs_together_runs_in_one_process(request):
    """pytest 9.2 and pytest-xdist 3.8 pass over groups without a word: then each process has a Ray of its own."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@together")
