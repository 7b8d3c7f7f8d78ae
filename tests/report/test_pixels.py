"""How pictures differ: SSIM, PSNR, and where."""

import numpy as np

from batch.report.compare.pixels import difference


def test_difference_of_pictures():
    one = np.zeros((300, 4, 3), np.uint8)
    other = one.copy()
    assert difference(one, other).psnr_db == float("inf")
    other[299, 0] = (3, 0, 0)
    gap = difference(one, other)
    assert (gap.max_difference, gap.changed_share) == (3, 1 / 1200)
    assert difference(one, other[:1]) is None
