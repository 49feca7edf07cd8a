"""Operations of training, and what accelerators could do: what a plan reckons with and what the
engine reports are the same.
"""

from __future__ import annotations

# Dense products in 16 bit with sums in 32, FLOP/s of one device, from the makers' data sheets, by
# a part of the name that the driver gives it. V100 has no bfloat16: its figure is float16's.
PEAK = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "V100": 125e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def peak_flops(device_name: str, devices: int) -> float | None:
    """What `devices` devices of this name could do in a second; None where it is not known."""
    known = (peak for name, peak in PEAK.items() if name in device_name)
    return next((peak * devices for peak in known), None)


def attention_flops(width: int, mean_document: float) -> float:
    """Causal attention of one token, forward; backward costs twice that.

    Args:
        width: layers x query heads x head width.
        mean_document: tokens of the document that a token stands in, as its mean over tokens.
    """
    return 2 * width * mean_document


def token_flops(matmul: float, learning: float, width: int, mean_document: float) -> float:
    """One token's forward pass, gradients of activations, and gradients of what learns:
    recomputation is not counted, so this is what MFU means.

    A product with N weights costs 2 N a token forward, 2 N for the gradient of its input and, where
    the weights learn, 2 N for theirs.

    Args:
        matmul: weights that every token is multiplied with: all matrices but the input embedding.
        learning: those of them that learn.
        width, mean_document: see `attention_flops`.
    """
    return 4 * matmul + 2 * learning + 3 * attention_flops(width, mean_document)
