"""Run in a process of its own by test_fused_kernels.py: kernels compiled for cards, as lines of JSON.

Nothing is cached, and no card is asked for anything.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from benchmarks import fused_kernels
from benchmarks.fused_kernels import CHANNELS, STRIP, TOKENS, WARPS, WIDE

HALF, SINGLE, NUMBER = "*bf16", "*fp32", "i32"
SPAN = 16 * TOKENS

KERNELS = {
    "gate": (
        fused_kernels._gated_depthwise,
        {"read": HALF, "bias_in": HALF, "taps": HALF, "bias": HALF, "write": HALF}
        | dict.fromkeys(("rows", "columns", "channels"), NUMBER),
        {"STRIP": STRIP, "WIDE": WIDE, "BLOCK": CHANNELS},
        WARPS,
    ),
    "sums": (
        fused_kernels._summed,
        {"key": HALF, "value": HALF, "products": SINGLE, "totals": SINGLE}
        | dict.fromkeys(("tokens", "heads", "width"), NUMBER),
        {"SPAN": SPAN, "BLOCK": TOKENS, "HEAD": 32},
        4,
    ),
    "weights": (
        fused_kernels._weighted,
        {"query": HALF, "products": SINGLE, "totals": SINGLE, "write": HALF}
        | dict.fromkeys(("tokens", "heads", "width"), NUMBER),
        {"BLOCK": TOKENS, "HEAD": 32},
        4,
    ),
}

EVEN = {"tokens", "width", "columns", "channels", "rows"}
"""Numbers that 16 divides at 5376x3072, as Triton finds out itself where it launches a kernel."""


def compiled(kernel, types, constants, warps, capability):
    signature = types | dict.fromkeys(constants, "constexpr")
    sixteens = {
        (place,): [["tt.divisibility", 16]]
        for place, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name in EVEN
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=sixteens)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps}).asm


def used(cubin):
    """Registers of a thread, and bytes of its stack, where what has no register goes."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(cubin)
        said = subprocess.run([tool, "--dump-resource-usage", file], capture_output=True, text=True, check=True)
    return {name.lower(): int(re.search(rf"\b{name}:(\d+)", said.stdout)[1]) for name in ("REG", "STACK")}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRITON_CACHE_DIR"] = cache
        for name, given in KERNELS.items():
            for capability in map(int, sys.argv[1:]):
                made = compiled(*given, capability)
                line = {
                    "name": f"{name} {capability}",
                    "tensor_cores": "mma" in made["ptx"],
                    **used(made["cubin"]),
                }
                sys.stdout.write(json.dumps(line) + "\n")
