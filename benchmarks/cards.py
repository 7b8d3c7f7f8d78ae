"""What cards can do by their makers' data sheets. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a card can do."""

    name: str
    device: str
    """Its name as the driver gives it."""
    bandwidth: float
    """Bytes a second of its memory."""
    matrix: float
    """FLOP/s of dense bfloat16 products that are summed in float32."""
    float32: float
    """FLOP/s of its CUDA cores in float32."""
    source: str


CARDS = {
    "h100": Card(
        name="H100 SXM", device="NVIDIA H100 80GB HBM3", bandwidth=3.35e12, matrix=9.89e14, float32=6.7e13,
        source="NVIDIA H100 Tensor Core GPU data sheet",
    ),
    "h200": Card(
        name="H200 SXM", device="NVIDIA H200", bandwidth=4.8e12, matrix=9.89e14, float32=6.7e13,
        source="NVIDIA H200 Tensor Core GPU data sheet",
    ),
    "a100": Card(
        name="A100 SXM 80GB", device="NVIDIA A100-SXM4-80GB", bandwidth=2.039e12, matrix=3.12e14, float32=1.95e13,
        source="NVIDIA A100 Tensor Core GPU data sheet",
    ),
    "4090": Card(
        name="RTX 4090", device="NVIDIA GeForce RTX 4090", bandwidth=1.008e12, matrix=1.652e14, float32=8.26e13,
        source="NVIDIA Ada GPU Architecture whitepaper",
    ),
    "4070": Card(
        name="RTX 4070", device="NVIDIA GeForce RTX 4070", bandwidth=5.04e11, matrix=5.83e13, float32=2.915e13,
        source="NVIDIA GeForce RTX 4070 specifications: 5,888 cores and 184 tensor cores at 2.475 GHz",
    ),
}  # fmt: skip
"""Where NVIDIA gives the rate of matrices with sparsity, half of it is dense. A GeForce multiplies half precision
at half its rate where the sum is in float32, as torch has it: that is what stands here."""


def of_device(name: str) -> Card | None:
    """The card of a driver's name; None of one that is not in the table."""
    return next((card for card in CARDS.values() if card.device == name), None)
