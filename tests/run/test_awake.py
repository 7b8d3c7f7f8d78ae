"""The machine stays awake while a run goes on, where that can be asked for."""

import logging
import sys
import warnings

import pytest

from batch.run import awake


def night():
    """What a run does under it, as far as it matters here."""
    with awake.awake():
        return "rendered"


@pytest.mark.parametrize("outcome", ["", "WAKEPY_FAKE_SUCCESS", "WAKEPY_FORCE_FAILURE"])
def test_awake_says_nothing_whether_or_not_it_can(outcome, monkeypatch, capfd, caplog):
    if outcome:
        monkeypatch.setenv(outcome, "1")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        assert night() == "rendered"
    assert caught == []
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_awake_holds_the_system_within_the_block_only(monkeypatch):
    import wakepy

    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "1")
    before = wakepy.modecount()
    with pytest.raises(KeyError), awake.awake():
        (mode,) = wakepy.global_modes()[before:]
        assert (mode.active, mode.name) == (True, "keep.running")
        raise KeyError
    assert not mode.active
    assert wakepy.modecount() == before


def test_awake_without_wakepy(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "wakepy", None)
    assert night() == "rendered"
    with pytest.raises(KeyError), awake.awake():
        raise KeyError
    assert capfd.readouterr() == ("", "")
