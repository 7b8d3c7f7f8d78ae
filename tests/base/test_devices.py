"""How devices are named."""

import pytest

from batch.base import devices
from batch.base.errors import UserError


@pytest.mark.parametrize("asked", [None, "all", " ALL ", "first"])
def test_these_name_none_by_itself(asked):
    assert devices.listed(asked) == ()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("0", ("cuda:0",)),
        ("0, cuda:2 ,01", ("cuda:0", "cuda:2", "cuda:1")),
        ("cpu,CPU", ("cpu", "cpu")),
        ("mps", ("mps",)),
        ("gpu-AB12,1", ("GPU-ab12", "cuda:1")),
        ("cuda:MIG-4f,mig-5e", ("MIG-4f", "MIG-5e")),
        ("MIG-GPU-20be/3/0", ("MIG-GPU-20be/3/0",)),
    ],
)
def test_a_list(asked, found):
    assert devices.listed(asked) == found


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("", "nothing between two commas"),
        ("0,,1", "nothing between two commas"),
        (",", "nothing between two commas"),
        ("0,", "nothing between two commas"),
        ("cuda", "'cuda' is no device: write all, first or a number"),
        ("cpu:0", "'cpu:0' is no device: write cpu"),
        ("٠", "is no device"),
        ("-1", "'-1' is no device"),
        ("0,all", "'all' stands alone"),
        ("gpu-zebra", "is no device"),
        ("1,0,cuda:1", "cuda:1 is named twice"),
        ("mps,mps", "mps is named twice"),
        ("MIG-4f,MIG-4f", "MIG-4f is named twice"),
        ("0,cpu", "differ from a card's in the low bits"),
        ("MIG-4f,cpu", "differ from a card's in the low bits"),
        ("mps,cpu", "do not render one run together"),
    ],
)
def test_what_is_no_list_says_why(asked, why):
    with pytest.raises(UserError, match=why):
        devices.listed(asked)


def test_one_device():
    assert [devices.one(asked) for asked in (None, "all", "first", "1", "cpu")] == [
        "first", "first", "first", "1", "cpu",
    ]  # fmt: skip
    devices.refuse_several("1", "x")
    devices.refuse_several("all", "x")
    with pytest.raises(UserError, match=r"--devices 0,1: it is small; name one"):
        devices.refuse_several("0,1", "it is small")
