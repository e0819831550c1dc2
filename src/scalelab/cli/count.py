"""``scalelab count``: what a model costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from scalelab.cli.common import print_json, print_lines
from scalelab.errors import SpecError

if TYPE_CHECKING:
    from scalelab.counting.described import Assumed, Described
    from scalelab.counting.fields import Said


@dataclass(frozen=True)
class Count:
    """Count a Transformer's parameters by part and its training FLOP per token by convention.

    What is not given is assumed, and every assumption is printed: with --n-layer and --d-model
    alone the model is GPT-2.
    """

    config: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG")] = None
    """A model's config.json, as on the Hugging Face hub, or the folder that has it. Options
    replace what it says."""
    n_layer: int | None = None
    """Layers."""
    d_model: int | None = None
    """Width."""
    n_head: int | None = None
    """Attention heads (default: 1)."""
    n_kv_head: int | None = None
    """Heads of keys and values, where queries are grouped (default: as many as heads)."""
    head_dim: int | None = None
    """Width of a head (default: width / heads)."""
    d_ff: int | None = None
    """Feed-forward width (default: four times the width, unless gated)."""
    activation: Literal["gelu", "relu", "silu", "swiglu", "geglu", "reglu"] | None = None
    """Of the feed-forward layer; the gated ones (swiglu, geglu, reglu) have three matrices."""
    context: int | None = None
    """Tokens seen at once (default: 1024)."""
    vocabulary: int | None = None
    """Distinct tokens (default: 50257)."""
    positions: Literal["learned", "rotary", "alibi", "sinusoidal", "none"] | None = None
    """Positions; only learned ones have parameters."""
    norm: Literal["layernorm", "rmsnorm", "none"] | None = None
    """Normalisation layers: with scale and shift, with scale, without parameters."""
    bias: Literal["all", "none", "attention", "qkv", "feed-forward"] | None = None
    """Linear maps with a bias. With none, LayerNorm has no shift either."""
    untied: bool = False
    """The output layer has a matrix of its own, not the embedding transposed."""
    qk_norm: bool = False
    """Norms of queries and keys."""
    sliding_window: int | None = None
    """Positions that attention looks back, where it does not see the whole context."""
    n_expert: int | None = None
    """Experts of a layer, in a mixture of experts."""
    n_expert_active: int | None = None
    """Experts that a token uses."""
    d_expert: int | None = None
    """Width of an expert (default: the feed-forward width)."""
    n_shared_expert: int | None = None
    """Experts that every token uses, beside those."""
    n_dense_layer: int | None = None
    """First layers without experts."""
    model_type: str | None = None
    """An architecture whose rules fill in the rest: gpt2, llama, qwen2, ..."""
    json: bool = False
    """Print one JSON object."""


def count(command: Count) -> int:
    """`scalelab count`."""
    from scalelab.counting import CONVENTIONS, count_parameters, flops_per_token
    from scalelab.counting.described import MissingFieldError

    try:
        found = _described(command)
    except MissingFieldError as error:
        options = ", ".join("--" + name.replace("_", "-") for name in error.names)
        raise SpecError(f"the shape has no {', '.join(error.names)}; give {options}.") from error
    parts = count_parameters(found.shape).to_dict()
    flops = {name: flops_per_token(found.shape, name) for name in CONVENTIONS}
    assumed = [one.text for one in found.assumed]
    if command.json:
        print_json({"parameters": parts, "flops_per_token": flops, "assumed": assumed})
        return 0
    del parts["recurrent"]  # of LSTM and GRU, which have no verb
    print_lines(
        [f"{name:<16}{number:>16,}" for name, number in parts.items()]
        + [f"FLOP/token {name:<12}{number:>9.3e}" for name, number in flops.items()]
        + [f"assumed: {text}" for text in assumed]
    )
    return 0


def _described(command: Count) -> Described:
    from scalelab.counting.config import read_config
    from scalelab.counting.described import describe

    said, assumed = read_config(Path(command.config)) if command.config else ({}, [])
    said = {**said, **_options(command)}
    if not command.config:
        _defaults(said, assumed)
    return describe(said, assumed)


def _options(command: Count) -> dict[str, Said]:
    """What the options say, in the same words as a table's columns."""
    from scalelab.counting.fields import Said, read_fields
    from scalelab.table.schema import normalized

    given: dict[str, Any] = {
        name: value
        for name, value in vars(command).items()
        if name not in ("config", "json", "untied") and value is not None and value is not False
    }
    if command.untied:
        given["tied"] = False
    said = read_fields(
        (normalized(name), f"--{name.replace('_', '-')}", value) for name, value in given.items()
    )
    if command.activation:  # an option names the gated ones, so that the others are plain
        gated = command.activation in ("swiglu", "geglu", "reglu")
        said["gated"] = Said(gated, "--activation")
    return said


def _defaults(said: dict[str, Said], assumed: list[Assumed]) -> None:
    """Fill in the dimensions that a command line may leave out."""
    from scalelab.counting.described import Assumed
    from scalelab.counting.fields import Said

    if missing := [name for name in ("n_layer", "d_model") if name not in said]:
        options = " and ".join("--" + name.replace("_", "-") for name in missing)
        raise SpecError(f"nothing says how large the model is: give {options}, or a config.json.")
    others = {"context": 1024, "vocabulary": 50_257}
    if "n_kv_head" not in said and "head_dim" not in said:
        others["n_head"] = 1
    if "d_ff" not in said and not ("gated" in said and said["gated"].value):
        others["d_ff"] = 4 * said["d_model"].value
    for name, value in others.items():
        if name not in said:
            said[name] = Said(value, f"--{name.replace('_', '-')}")
            assumed.append(Assumed(name, f"{name} is {value}"))
