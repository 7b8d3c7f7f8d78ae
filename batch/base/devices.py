"""How devices are named on the command line, whatever machine they are on.

``all`` (and nothing) is every card of the first one's kind, ``first`` the first of these alone. A list names cards
by their number in torch, or by the UUID that ``nvidia-smi -L`` prints; a CPU may be named several times.
"""

from __future__ import annotations

import re

from batch.base.errors import UserError

ALL, FIRST = "all", "first"
CARD, INSTANCE = "GPU-", "MIG-"
"""How UUIDs of cards begin, and those of parts of a card that runs in MIG mode."""

_FORMS = "write numbers of GPUs (0,1), UUIDs (GPU-…, MIG-…), all, first, mps, cpu, or cpu,cpu for two workers"


def listed(asked: str | None) -> tuple[str, ...]:
    """The devices that are named one by one: ``cuda:1``, ``GPU-…``, ``MIG-…``, ``mps``, ``cpu``; () where none is.

    Raises :class:`~batch.base.errors.UserError` for what is no list of devices that can render together.
    """
    if asked is None or asked.strip().lower() in (ALL, FIRST):
        return ()
    found = tuple(_named(asked, piece.strip()) for piece in asked.split(","))
    kinds = {"card" if name.startswith(("cuda:", CARD, INSTANCE)) else name for name in found}
    if len(kinds) > 1:
        raise UserError(
            f"--devices {asked}: {' and '.join(sorted(kinds))} do not render one run together. Pictures and "
            "prompt embeddings made on a CPU differ from a card's in the low bits, so none are shared; start a "
            "run for each, in folders of their own"
        )
    check_distinct(asked, found)
    return found


def check_distinct(asked: str | None, found: tuple[str, ...]) -> None:
    """Raise :class:`~batch.base.errors.UserError` where a card is named twice."""
    twice = next((name for name in found if name != "cpu" and found.count(name) > 1), "")
    if twice:
        raise UserError(f"--devices {asked}: {twice} is named twice; a card has one worker")


def is_first(asked: str | None) -> bool:
    """Whether one device is wanted, whichever it is."""
    return asked is not None and asked.strip().lower() == FIRST


def refuse_several(asked: str | None, why: str) -> None:
    """Raise :class:`~batch.base.errors.UserError` where several devices are named, with why one is enough."""
    if len(listed(asked)) > 1:
        raise UserError(f"--devices {asked}: {why}; name one")


def one(asked: str | None) -> str:
    """The device asked for, where one alone renders."""
    return asked if asked is not None and listed(asked) else FIRST


def instance_of(device: str) -> str:
    """The UUID of the part of a card that a device is, in MIG mode; "" of any other device."""
    name = device.removeprefix("cuda:")
    return name if name.startswith(INSTANCE) else ""


def _named(asked: str, piece: str) -> str:
    """One device of a list."""
    word = piece.lower()
    if word in ("cpu", "mps"):
        return word
    if found := re.fullmatch(r"(?:cuda:)?([0-9]{1,4})", word):
        return f"cuda:{int(found[1])}"
    if found := re.fullmatch(r"gpu-([0-9a-f][0-9a-f-]*)", word):
        return f"{CARD}{found[1]}"
    # Before 2021 an instance was called by the card's UUID and two numbers.
    if found := re.fullmatch(r"(?:cuda:)?mig-((?:gpu-)?[0-9a-f][0-9a-f/-]*)", word):
        return INSTANCE + found[1].replace("gpu-", CARD)
    what = f"'{piece[:60]}' is no device" if piece else "there is nothing between two commas, or at an end"
    if word in (ALL, FIRST):
        what = f"'{word}' stands alone"
    elif word == "cuda" or re.fullmatch(r"cpu:[0-9]+", word):
        what += f": write {'all, first or a number' if word == 'cuda' else 'cpu'}"
    raise UserError(f"--devices {asked}: {what}; {_FORMS}")
