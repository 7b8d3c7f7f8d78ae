"""A picture that no format likes."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def noise():
    """The hardest picture for an encoder, with odd sides."""
    return np.random.default_rng(0).integers(0, 256, (301, 353, 3), dtype=np.uint8)
