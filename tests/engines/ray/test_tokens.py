"""Which token is shown to which cluster."""

import os

import pytest

from batch.base.errors import UserError

pytest.importorskip("ray")
from batch.engines.ray import tokens
from batch.engines.ray.tokens import MODE, TOKEN, Tokens

MINE = "the one of ~/.ray"


class There:
    """A cluster that takes one token, or none, and a machine that has one, or none."""

    def __init__(self, monkeypatch, *, takes, has, mode=None):
        for name in (TOKEN, MODE):
            monkeypatch.setenv(name, "")  # so that it is set back
            monkeypatch.delenv(name)
        if mode:
            monkeypatch.setenv(MODE, mode)
        shown = {"disabled": None, "token": has}
        monkeypatch.setattr(tokens, "_found", lambda _: "10.0.0.1:6379")
        monkeypatch.setattr(tokens, "_is_there", lambda: has is not None)
        monkeypatch.setattr(tokens, "_refuses", lambda _, mode: takes is not None and shown[mode] != takes)
        monkeypatch.setattr(tokens, "_read_anew", lambda: None)


@pytest.mark.parametrize(
    ("takes", "has", "mode"), [(None, None, "disabled"), (None, MINE, "disabled"), (MINE, MINE, "token")]
)
def test_a_cluster_is_shown_what_it_asks_for_and_nothing_else(monkeypatch, takes, has, mode):
    There(monkeypatch, takes=takes, has=has)
    made = Tokens()
    made.join("auto")
    assert os.environ[MODE] == mode
    made.forget()
    assert MODE not in os.environ


@pytest.mark.parametrize(
    ("has", "mode", "said"),
    [
        (None, None, "10.0.0.1:6379 asks for a token, and this machine has none: copy the file ~/.ray/auth_token"),
        ("another", None, "does not accept the token of this machine"),
        ("another", "token", "does not accept the token of this machine"),
        (MINE, "disabled", "asks for a token, and RAY_AUTH_MODE is disabled here"),
    ],
)
def test_what_keeps_a_machine_out_is_said_before_ray_is_joined(monkeypatch, has, mode, said):
    There(monkeypatch, takes=MINE, has=has, mode=mode)
    with pytest.raises(UserError, match=said):
        Tokens().join("10.0.0.1:6379")


@pytest.mark.parametrize(("has", "own"), [(None, True), (MINE, False)])
def test_a_ray_of_its_own_needs_no_token_in_the_home_folder(monkeypatch, has, own):
    There(monkeypatch, takes=None, has=has)
    made = Tokens()
    made.own()
    assert (TOKEN in os.environ) == own
    os.environ[MODE] = "token"  # as Ray does
    made.forget()
    assert not {TOKEN, MODE} & os.environ.keys()
