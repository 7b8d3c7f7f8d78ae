"""zlib's format for pixels: level 1 with run-length strategy, through zlib-ng where it is installed.

Behind a predictor, pixels with grain hold no longer matches worth their distance: runs and Huffman codes alone
pack them smaller than level 6 does, in a fraction of its time. With this strategy zlib-ng and Python's own zlib
give the same bytes, so a file does not depend on which of them wrote it: only the time does, by half.
"""

from __future__ import annotations

import zlib as plain
from contextlib import suppress
from typing import Any

library: Any = plain
with suppress(ImportError):  # a machine that has no wheel of it
    from zlib_ng import zlib_ng as library

crc32 = library.crc32


def packer() -> Any:
    """``compress`` and ``flush`` of it give a zlib stream, checksum included, and let go of the interpreter."""
    return library.compressobj(1, plain.DEFLATED, plain.MAX_WBITS, plain.DEF_MEM_LEVEL, plain.Z_RLE)
