"""Pipelines that scale every size to one area: planning knows what their call makes of it."""

import pytest

from batch.catalogue import areas
from batch.manifest.values import Size


@pytest.mark.parametrize("pipeline", areas.SCALES)
def test_a_size_of_one_area_is_what_the_call_makes_of_it(pipeline):
    for asked in (Size(width, height) for width in range(64, 4096, 208) for height in range(64, 4096, 176)):
        rendered = areas.scaled(pipeline, asked)
        assert areas.SCALES[pipeline](rendered) == rendered
        assert 0.9 * areas.AREA < rendered.width * rendered.height <= areas.AREA
