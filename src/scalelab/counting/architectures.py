"""What an architecture fixes and its config.json does not say.

Source of every entry: the model of that name in Hugging Face's transformers, configuration and
modeling files. tests/counting/test_released_models.py holds the counts of released models, and
tests/counting/test_transformers.py builds each where the library is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from scalelab.counting.shape import EVERY_LAYER_BIAS, BiasPlace

NO_BIAS: frozenset[BiasPlace] = frozenset()
QKV_BIAS: frozenset[BiasPlace] = frozenset(("qkv",))
ATTENTION_BIAS: frozenset[BiasPlace] = frozenset(("qkv", "attention_output"))
FEED_FORWARD_BIAS: frozenset[BiasPlace] = frozenset(("feed_forward",))
OUTPUT_BIAS: frozenset[BiasPlace] = frozenset(("output",))
BIASES: Mapping[str, frozenset[BiasPlace]] = {
    "all": EVERY_LAYER_BIAS,
    "none": NO_BIAS,
    "qkv": QKV_BIAS,
    "attention": ATTENTION_BIAS,
    "feed-forward": FEED_FORWARD_BIAS,
}
"""By the words of the field `bias`."""


@dataclass(frozen=True)
class Architecture:
    """The rules by which a shape is filled in.

    title: of the rules, for people. gated: three feed-forward matrices. grouped: whether there may
    be fewer heads of keys and values. positions, norm, biases, tied: where nothing else is said.
    d_ff_ratio: of d_ff to d_model where d_ff is empty. needs: the fields that must be given,
    because no rule has them. position_offset: learned positions beyond the context.
    parallel_norms: norms of a layer whose attention and feed-forward layer are said to run in
    parallel. window: the layers with sliding attention where a window is given: none, all, those
    of a switch (``use_sliding_window``), or all but every second or sixth. The rest is as in
    `ModelShape`.
    """

    title: str
    gated: bool = True
    grouped: bool = True
    positions: Literal["learned", "rotary", "alibi"] = "rotary"
    norm: Literal["layernorm", "rmsnorm", "none"] = "rmsnorm"
    norm_shift: bool = True
    biases: frozenset[BiasPlace] = NO_BIAS
    tied: bool = False
    d_ff_ratio: int | None = None
    needs: tuple[str, ...] = ()
    position_offset: int = 0
    norms_per_layer: int = 2
    parallel_norms: int = 2
    embedding_norm: bool = False
    qk_norm: Literal["none", "head", "width"] = "none"
    shared_gate: bool = False
    window: Literal["none", "all", "switch", "second", "sixth"] = "none"


GPT_2 = Architecture(
    "GPT-2",
    gated=False,
    grouped=False,
    positions="learned",
    norm="layernorm",
    biases=EVERY_LAYER_BIAS,
    tied=True,
    d_ff_ratio=4,
)
LLAMA = Architecture("Llama")
_EXPERTS = ("n_expert", "n_expert_active")
_FINE_EXPERTS = (*_EXPERTS, "d_expert")
_NEOX = replace(GPT_2, title="GPT-NeoX", positions="rotary", tied=False, d_ff_ratio=None)
_QWEN_2 = replace(LLAMA, title="Qwen2", biases=QKV_BIAS, window="switch")
_QWEN_3 = replace(LLAMA, title="Qwen3", needs=("head_dim",), qk_norm="head", window="switch")
_GEMMA = replace(LLAMA, title="Gemma", needs=("head_dim",), tied=True)
_GEMMA_2 = replace(_GEMMA, title="Gemma 2", norms_per_layer=4, window="second")

ARCHITECTURES: Mapping[str, Architecture] = {
    "gpt2": GPT_2,
    "gptbigcode": replace(GPT_2, title="GPT-BigCode", grouped=True),
    "gptneox": _NEOX,
    "gptj": replace(
        _NEOX,
        title="GPT-J",
        biases=FEED_FORWARD_BIAS | OUTPUT_BIAS,
        d_ff_ratio=4,
        norms_per_layer=1,
    ),
    "opt": replace(GPT_2, title="OPT", d_ff_ratio=None, position_offset=2),
    "bloom": replace(GPT_2, title="BLOOM", positions="alibi", embedding_norm=True),
    "llama": LLAMA,
    "mistral": replace(LLAMA, title="Mistral", window="all"),
    "mixtral": replace(LLAMA, title="Mixtral", needs=_EXPERTS, window="all"),
    "deepseek": replace(LLAMA, title="DeepSeek (first version)", needs=_FINE_EXPERTS),
    "granite": replace(LLAMA, title="Granite"),
    "smollm3": replace(LLAMA, title="SmolLM3", tied=True, window="switch"),
    "phi3": replace(LLAMA, title="Phi-3", window="all"),
    "qwen2": _QWEN_2,
    "qwen2moe": replace(_QWEN_2, title="Qwen2-MoE", needs=_FINE_EXPERTS, shared_gate=True),
    "qwen3": _QWEN_3,
    "qwen3moe": replace(_QWEN_3, title="Qwen3-MoE", needs=("head_dim", *_FINE_EXPERTS)),
    "gemma": _GEMMA,
    "gemma2": _GEMMA_2,
    "gemma3text": replace(_GEMMA_2, title="Gemma 3", qk_norm="head", window="sixth"),
    "olmo": replace(LLAMA, title="OLMo", norm="none"),
    "olmo2": replace(LLAMA, title="OLMo 2", qk_norm="width"),
    "olmoe": replace(LLAMA, title="OLMoE", needs=_EXPERTS, qk_norm="width"),
    "stablelm": replace(LLAMA, title="StableLM", norm="layernorm", parallel_norms=1),
    "cohere": replace(
        LLAMA, title="Cohere", norm="layernorm", norm_shift=False, norms_per_layer=1, tied=True
    ),
    "starcoder2": replace(
        LLAMA,
        title="StarCoder2",
        gated=False,
        norm="layernorm",
        biases=EVERY_LAYER_BIAS,
        tied=True,
        window="all",
    ),
    "phi": replace(
        LLAMA,
        title="Phi",
        gated=False,
        norm="layernorm",
        biases=EVERY_LAYER_BIAS | OUTPUT_BIAS,
        norms_per_layer=1,
    ),
}
"""By ``model_type``, normalized."""

ALSO: Mapping[str, str] = {
    **dict.fromkeys(("pythia", "neox"), "gptneox"),
    **dict.fromkeys(("llama2", "llama3", "llama31", "llama32", "tinyllama", "smollm"), "llama"),
    **dict.fromkeys(("cerebrasgpt",), "gpt2"),
    **dict.fromkeys(("qwen15", "qwen25"), "qwen2"),
}
"""Names of families that follow an architecture of another name."""

NOT_COUNTED = frozenset(
    (
        *("mamba", "mamba2", "jamba", "zamba", "zamba2", "rwkv", "rwkv4", "rwkv5", "rwkv6"),
        *("recurrentgemma", "griffin", "hawk", "retnet", "hyena", "xlstm", "s4", "bamba", "rwkv7"),
        *("falconmamba", "nemotronh", "qwen3next", "t5", "mt5", "ul2", "bart", "pegasus"),
        *("switchtransformers", "deepseekv2", "deepseekv3", "bert", "roberta"),
    )
)
"""Architectures that are known to be of another kind."""


def find(name: str) -> Architecture | None:
    """The architecture of a normalized name, or None."""
    return ARCHITECTURES.get(ALSO.get(name, name))
