"""zlib's format for pixels: level 1 with run-length strategy, through zlib-ng where it is installed.

Behind a predictor, pixels with grain hold no longer matches worth their distance: runs and Huffman codes alone
pack them smaller than level 6 does, in a fraction of its time. With this strategy zlib-ng and Python's own zlib
give the same bytes, so a file does not depend on which of them wrote it: only the time does, by half.
"""

from __future__ import annotations

import zlib as plain
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

library: Any = plain
with suppress(ImportError):  # a machine that has no wheel of it
    from zlib_ng import zlib_ng as library

crc32 = library.crc32


class Packer(Protocol):
    """Makes a zlib stream, checksum included, of what it is given; lets go of the interpreter meanwhile."""

    def compress(self, data: NDArray[np.uint8] | memoryview, /) -> bytes:
        """What of the stream is ready; often nothing."""

    def flush(self) -> bytes:
        """The rest."""


def packer() -> Packer:
    """For one stream."""
    made: Packer = library.compressobj(1, plain.DEFLATED, plain.MAX_WBITS, plain.DEF_MEM_LEVEL, plain.Z_RLE)
    return made
