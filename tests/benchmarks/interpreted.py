"""Run in a process of its own by test_fused_kernels.py: kernels in Triton's interpreter, as lines of JSON.

The interpreter has to be chosen before Triton is imported, and holds for all of a process.
"""

import json
import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch
from diffusers import SanaTransformer2DModel
from torch._dynamo.utils import counters

from benchmarks import card_kinds
from benchmarks.fused_kernels import TOKENS, gated_depthwise, in_place, linear_attention


def told(name, **what):
    sys.stdout.write(json.dumps({"name": name, **what}) + "\n")


def off(made, exact):
    """The largest difference as a part of the largest number."""
    return float((made.double() - exact).abs().max() / exact.abs().max())


def exact_gate(read, bias_in, weight, bias):
    """In float64, tap by tap and with no convolution of torch's."""
    read, bias_in, weight, bias = (item.double() for item in (read, bias_in, weight, bias))
    rows, columns = read.shape[1:3]
    before = torch.nn.functional.pad(torch.nn.functional.silu(read + bias_in), (0, 0, 1, 1, 1, 1))
    made = bias.expand(read.shape).clone()
    for down in range(3):
        for right in range(3):
            made += before[:, down : down + rows, right : right + columns] * weight[:, 0, down, right]
    value, gate = made.chunk(2, dim=-1)
    return value * torch.nn.functional.silu(gate)


def exact_attention(query, key, value, heads):
    """In float64, token by token: the weights of a query are its products with all keys."""
    query, key, value = (item.double().unflatten(2, (heads, -1)) for item in (query, key, value))
    weights = torch.einsum("bnhd,bmhd->bhnm", query.relu(), key.relu())
    made = torch.einsum("bhnm,bmhd->bnhd", weights, value) / (weights.sum(-1).transpose(1, 2)[..., None] + 1e-15)
    return made.flatten(2)


def gates():
    # Columns that four do not divide, channels that fill no program, rows beyond a strip.
    shapes = {"odd": (1, 3, 5, 40), "one pixel": (1, 1, 1, 16), "two strips": (2, 5, 2, 24)}
    for name, (images, rows, columns, channels) in shapes.items():
        both = 2 * channels
        sides = (images, rows, columns, both), (both,), (both, 1, 3, 3), (both,)
        given = [torch.randn(side).half() for side in sides]
        exact = exact_gate(*given)
        wides = (2, 8) if name == "odd" else (4,)
        made = [off(gated_depthwise(*given, wide, 4), exact) for wide in wides]
        told(f"gate: {name}", kernel=max(made), plain=off(card_kinds._gated(*given), exact))


def attentions():
    for name, (tokens, heads, head) in {"odd": (5 * TOKENS + 3, 3, 32), "few": (5, 1, 16)}.items():
        given = [torch.randn(2, tokens, heads * head).half() for _ in range(3)]
        exact = exact_attention(*given, heads)
        told(
            f"attention: {name}",
            kernel=off(linear_attention(*given, heads), exact),
            plain=off(card_kinds._attended(*given, heads), exact),
        )


def refusals():
    single, turned = torch.randn(1, 4, 4, 16), torch.randn(1, 16, 4, 4).half().permute(0, 2, 3, 1)
    tokens = torch.randn(1, 8, 24).half()
    for name, call in {
        "float32": lambda: gated_depthwise(single, *[torch.randn(16)] * 3),
        "turned": lambda: gated_depthwise(turned, *[torch.randn(16).half()] * 3),
        "heads of 24": lambda: linear_attention(tokens, tokens, tokens, 1),
        "attention in float32": lambda: linear_attention(*[tokens.float()] * 3, 1),
    }.items():
        try:
            call()
            told(f"refused: {name}", error="")
        except ValueError as error:
            told(f"refused: {name}", error=str(error))


def model():
    """A small transformer of SANA's kind with the kernels in place, compiled too, and afterwards."""
    made = SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=3,
        num_cross_attention_heads=2, cross_attention_head_dim=16, cross_attention_dim=32, caption_channels=8,
        sample_size=8,
    ).eval().half()  # fmt: skip
    given = {
        "hidden_states": torch.randn(2, 4, 5, 4).half(), "encoder_hidden_states": torch.randn(2, 5, 8).half(),
        "timestep": torch.tensor([500, 500]), "return_dict": False,
    }  # fmt: skip
    plain = made(**given)[0].double()
    for part in (("attention",), ("feed-forward",), ("attention", "feed-forward")):
        with in_place(made, *part):
            told(f"model: {' and '.join(part)}", apart=off(made(**given)[0], plain))
    with in_place(made, "attention", "feed-forward"):
        for block in made.transformer_blocks:
            block.compile(backend="aot_eager", fullgraph=True, dynamic=False)
        told("model: compiled", apart=off(made(**given)[0], plain), graphs=counters["stats"]["unique_graphs"])
        for block in made.transformer_blocks:
            block._compiled_call_impl = None
    told("model: afterwards", apart=off(made(**given)[0], plain))


if __name__ == "__main__":
    torch.manual_seed(0)
    with torch.no_grad():
        gates()
        attentions()
        refusals()
        model()
