"""The names of a shape's fields: of a table's columns, of a config.json and of `scalelab count`.

This is the one list of them. A name is compared by `normalized`, so that ``num_kv_heads`` and
``NumKVHeads`` are one. The six dimensions take the names that the run table's schema has for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scalelab.errors import SpecError
from scalelab.table.cells import NULLS
from scalelab.table.schema import RUN_COLUMNS, names_of, normalized

DIMENSIONS = ("n_layer", "d_model", "n_head", "d_ff", "context", "vocabulary")
"""What every shape must have."""

Kind = Literal["whole", "flag", "word", "list"]


@dataclass(frozen=True)
class Field:
    """One fact of a shape. keys: the names that it goes by, beside its own."""

    name: str
    kind: Kind
    meaning: str
    keys: tuple[str, ...] = ()


def _dimension(name: str) -> Field:
    column = next(column for column in RUN_COLUMNS if column.name == name)
    return Field(name, "whole", column.meaning, column.aliases)


FIELDS: tuple[Field, ...] = (
    *map(_dimension, DIMENSIONS),
    Field(
        "max_positions",
        "whole",
        "learned positions; the context where the shape has none",
        ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"),
    ),
    Field(
        "n_kv_head",
        "whole",
        "heads of keys and values",
        (
            *("num_key_value_heads", "n_kv_heads", "num_kv_heads", "kv_heads", "n_head_kv"),
            *("n_query_groups", "num_query_groups"),
        ),
    ),
    Field("attention", "word", "mha, gqa or mqa", ("attention_type", "attn_type")),
    Field("head_dim", "whole", "width of a head", ("d_head", "head_size", "kv_channels", "d_kv")),
    Field(
        "activation",
        "word",
        "gelu, relu, silu, or a gated one: swiglu, geglu, reglu",
        (
            *("hidden_act", "hidden_activation", "activation_function", "act_fn"),
            *("mlp_activation", "ffn_activation"),
        ),
    ),
    Field(
        "gated",
        "flag",
        "three feed-forward matrices, not two",
        ("gated_mlp", "glu", "use_glu", "swiglu", "use_swiglu", "gated_linear_unit"),
    ),
    Field(
        "positions",
        "word",
        "learned, rotary, alibi, sinusoidal or none",
        (
            *("position_embedding_type", "position_embedding", "position_embeddings"),
            *("positional_encoding", "position_encoding", "pos_emb", "pos_embed", "pos_encoding"),
        ),
    ),
    Field("norm", "word", "layernorm, rmsnorm or none", ("norm_type", "normalization")),
    Field(
        "bias",
        "word",
        "all, none, attention, qkv or feed-forward",
        ("use_bias", "add_bias_linear", "linear_bias", "biases", "enable_bias"),
    ),
    Field("attention_bias", "flag", "biases of the attention maps"),
    Field(
        "qkv_bias",
        "flag",
        "biases of queries, keys and values",
        ("use_qkv_bias", "add_qkv_bias"),
    ),
    Field("mlp_bias", "flag", "biases of the feed-forward maps", ("ffn_bias",)),
    Field(
        "tied",
        "flag",
        "the output layer is the embedding transposed",
        (
            *("tie_word_embeddings", "tie_embeddings", "tied_embeddings", "weight_tying"),
            *("tie_weights", "tied_weights", "tie_embedding", "share_embeddings"),
        ),
    ),
    Field(
        "untied",
        "flag",
        "the output layer has a matrix of its own",
        ("untie_embeddings_and_output_weights", "untied_embeddings", "untie_embeddings"),
    ),
    Field(
        "parallel",
        "flag",
        "attention and feed-forward layer run in parallel",
        ("use_parallel_residual", "parallel_residual", "parallel_attn"),
    ),
    Field("pre_norm", "flag", "norms stand before the maps", ("do_layer_norm_before",)),
    Field("qk_norm", "flag", "norms of queries and keys", ("use_qk_norm", "qk_layernorm")),
    Field(
        "sliding_window",
        "whole",
        "positions that a layer with sliding attention sees",
        ("sliding_window_size", "window_size", "attention_window"),
    ),
    Field("use_sliding_window", "flag", "whether the window is in use"),
    Field("full_every", "whole", "every such layer sees all", ("sliding_window_pattern",)),
    Field("max_window_layers", "whole", "first layers without a window (Qwen2)"),
    Field("layer_types", "list", "full_attention or sliding_attention, by layer"),
    Field(
        "n_expert",
        "whole",
        "experts of a layer",
        (
            *("num_experts", "num_local_experts", "n_routed_experts", "n_experts"),
            *("num_routed_experts", "moe_num_experts"),
        ),
    ),
    Field(
        "n_expert_active",
        "whole",
        "experts that a token uses",
        (
            *("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_top_k"),
            *("num_selected_experts", "n_active_experts", "num_active_experts", "moe_router_topk"),
            *("active_experts", "top_k_experts", "router_topk", "n_experts_per_token"),
            "n_experts_active",
        ),
    ),
    Field(
        "d_expert",
        "whole",
        "width of an expert",
        (
            *("moe_intermediate_size", "expert_intermediate_size", "moe_ffn_hidden_size"),
            *("moe_d_ff", "expert_ffn_dim", "d_ff_expert"),
        ),
    ),
    Field(
        "n_shared_expert",
        "whole",
        "experts that every token uses",
        ("n_shared_experts", "num_shared_experts", "shared_experts"),
    ),
    Field(
        "d_shared_expert",
        "whole",
        "width of all shared experts together",
        ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"),
    ),
    Field("n_dense_layer", "whole", "first layers without experts", ("first_k_dense_replace",)),
    Field("model_type", "word", "an architecture whose rules fill in the rest"),
    Field("architectures", "word", "the model's class, where it has no model_type"),
)

_SIGNS: Mapping[str, tuple[str, Any]] = {
    **dict.fromkeys(
        (
            *("rope_theta", "rope_parameters", "rope_scaling", "rotary_pct", "rotary_dim"),
            *("rotary_emb_base", "partial_rotary_factor", "rotary_percentage", "use_rope", "rope"),
            *("rotary", "rotary_base", "use_rotary", "rope_base", "use_rotary_embeddings"),
        ),
        ("positions", "rotary"),
    ),
    **dict.fromkeys(("alibi", "use_alibi"), ("positions", "alibi")),
    **dict.fromkeys(("rms_norm_eps", "rms_norm", "use_rms_norm", "rmsnorm"), ("norm", "rmsnorm")),
    **dict.fromkeys(
        ("layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon"), ("norm", "layernorm")
    ),
    "multi_query": ("n_kv_head", 1),
}
"""Keys that, where they are filled and not false, say something about another field."""

_UNSUPPORTED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"),
            *("attention_latent_dim", "d_latent", "kv_latent_dim"),
        ),
        "latent attention (low-rank keys and values)",
    ),
    **dict.fromkeys(
        (
            *("is_encoder_decoder", "encoder_layers", "num_encoder_layers", "n_encoder_layers"),
            *("num_decoder_layers", "n_decoder_layers", "encoder_ffn_dim"),
        ),
        "an encoder and a decoder",
    ),
    **dict.fromkeys(
        ("add_cross_attention", "cross_attention", "cross_attention_layers"),
        "cross attention",
    ),
    **dict.fromkeys(
        (
            *("state_size", "ssm_state_size", "d_state", "ssm_state", "mamba_d_state", "d_conv"),
            *("mamba_expand", "mamba_d_conv", "mamba_n_heads", "ssm_cfg", "ssm_layers", "ssm_dim"),
            *("attn_layer_period", "attention_hidden_size", "lru_width", "layers_block_type"),
            *("linear_num_key_heads", "linear_key_head_dim", "hybrid_override_pattern"),
            *("block_types", "linear_attention", "full_attention_interval"),
        ),
        "layers that are recurrent or of a state space",
    ),
    **dict.fromkeys(
        ("num_nextn_predict_layers", "mtp_num_layers", "n_mtp_layers", "num_mtp_layers"),
        "layers that predict further tokens",
    ),
    **dict.fromkeys(
        (
            *("vision_config", "audio_config", "text_config", "thinker_config"),
            *("attn_config", "ffn_config"),
        ),
        "a configuration within the configuration",
    ),
    **dict.fromkeys(
        (
            *("num_kv_shared_layers", "num_hidden_groups", "shared_layers", "share_layers"),
            "n_loops",
        ),
        "layers that share parameters",
    ),
    **dict.fromkeys(
        ("hidden_size_per_layer_input", "altup_num_inputs", "laurel_rank"),
        "embeddings of every layer",
    ),
    **dict.fromkeys(
        ("mlp_only_layers", "moe_layers_enum", "expert_layer_period", "moe_layers"),
        "experts in some layers",
    ),
}
"""Keys that name what is not counted, where they are filled and not false."""

_ZERO_IS_NONE = ("sliding_window", "full_every")
_ONE_ALONE = ("decoder_sparse_step", "moe_layer_freq", "interleave_moe_layer_step", "moe_every")
"""Experts in every such layer: counted for 1."""
_FACTORED = ("word_embed_proj_dim", "embedding_size", "embedding_rank")
"""Widths of the embedding: counted where they are d_model."""

_GATED = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu", "glu": "sigmoid"}
_WORDS: Mapping[str, Mapping[str, str]] = {
    "activation": {
        **dict.fromkeys(("gelu", "gelunew", "gelufast", "gelupytorchtanh", "quickgelu"), "gelu"),
        **dict.fromkeys(("gelutanh", "gelupython", "geluaccurate"), "gelu"),
        **dict.fromkeys(("relu2", "relusquared", "squaredrelu", "sqrelu"), "relu2"),
        **{word: word for word in ("relu", "silu", "tanh", "sigmoid", *_GATED)},
        "swish": "silu",
    },
    "positions": {
        **dict.fromkeys(("learned", "absolute", "learnedabsolute", "gpt2", "wpe"), "learned"),
        **dict.fromkeys(("rotary", "rope", "rotaryembedding"), "rotary"),
        **dict.fromkeys(("sinusoidal", "sincos", "fixed"), "sinusoidal"),
        **dict.fromkeys(("none", "nope", "no"), "none"),
        "alibi": "alibi",
    },
    "norm": {
        **dict.fromkeys(("layernorm", "ln", "layernorm1p"), "layernorm"),
        **dict.fromkeys(("rmsnorm", "rms"), "rmsnorm"),
        **dict.fromkeys(("none", "nonparametric", "nonparametriclayernorm"), "none"),
    },
    "bias": {
        **dict.fromkeys(("all", "true", "yes", "1", "10"), "all"),
        **dict.fromkeys(("none", "false", "no", "0", "00"), "none"),
        **dict.fromkeys(("feedforward", "mlp", "ffn"), "feed-forward"),
        "qkv": "qkv",
        "attention": "attention",
    },
}
"""Values of the fields that are words, normalized, and what each is."""
_ATTENTION = {
    **dict.fromkeys(("mha", "multihead", "multiheadattention"), "mha"),
    **dict.fromkeys(("gqa", "groupedquery", "groupedqueryattention"), "gqa"),
    **dict.fromkeys(("mqa", "multiquery", "multiqueryattention"), "mqa"),
    **dict.fromkeys(("mla", "multiheadlatentattention", "latent"), "mla"),
    **dict.fromkeys(("linear", "linearattention", "retention", "mamba", "hybrid"), "linear"),
}
"""Kinds of attention; other words, such as flash, are about how it is computed."""
_FLAGS = {
    **dict.fromkeys(("true", "yes", "1", "1.0", "t", "y"), True),
    **dict.fromkeys(("false", "no", "0", "0.0", "f", "n"), False),
}


@dataclass(frozen=True)
class Said:
    """A value, and the name under which it stands in the table, file or command line."""

    value: Any
    key: str


def _keys() -> Mapping[str, Field]:
    found = {normalized(key): field for field in FIELDS for key in (field.name, *field.keys)}
    for column in RUN_COLUMNS:
        if column.name in DIMENSIONS:
            found |= dict.fromkeys(names_of(column), found[normalized(column.name)])
    return found


_FIELD_OF = _keys()
_SIGN_OF = {normalized(key): sign for key, sign in _SIGNS.items()}
_REFUSED = {normalized(key): what for key, what in _UNSUPPORTED.items()}
_SPECIAL = {normalized(key): key for key in (*_ONE_ALONE, *_FACTORED)}


def field_of(name: str) -> str | None:
    """The field that a normalized name stands for, or None."""
    return _FIELD_OF[name].name if name in _FIELD_OF else None


def understood(name: str) -> bool:
    """Whether a name, normalized, says something about a shape."""
    return any(name in names for names in (_FIELD_OF, _SIGN_OF, _REFUSED, _SPECIAL))


def read_fields(items: Iterable[tuple[str, str, object]]) -> dict[str, Said]:
    """What names and values say about a shape, by field.

    items: a name, normalized; the name as it stands in the source; its value. Empty values are
    passed over. Raises SpecError, with the names, where two contradict each other, where a value is
    not understood, and where a name says that the shape is of a kind that is not counted.
    """
    found: dict[str, Said] = {}
    widths: list[Said] = []
    for name, key, value in items:
        field = _FIELD_OF.get(name)
        if _empty(value, word=field is not None and field.kind == "word"):
            continue
        if name in _REFUSED:
            if not _false(value):
                raise SpecError(
                    f"{key} is {_shown(value)}: a shape with {_REFUSED[name]} is not counted; "
                    "a table may give its parameters by part instead (params_attention, ...)."
                )
        elif name in _SPECIAL:
            if _SPECIAL[name] in _FACTORED:
                widths.append(Said(_whole(key, value), key))
            elif _whole(key, value) > 1:
                raise SpecError(f"{key} is {value}: experts in some of the layers are not counted.")
        elif name in _SIGN_OF:
            if not _false(value):
                told, meaning = _SIGN_OF[name]
                _add(found, told, Said(meaning, key))
        elif field is not None:
            for told, meaning in _parsed(field, key, value):
                _add(found, told, Said(meaning, key))
    if "model_type" not in found and "architectures" in found:
        found["model_type"] = found["architectures"]
    found.pop("architectures", None)
    for width in widths:
        model = found.get("d_model")
        if model and width.value != model.value:
            raise SpecError(
                f"{width.key} is {width.value} and {model.key} is {model.value}: an embedding of "
                "another width than the model is not counted."
            )
    return found


def _add(found: dict[str, Said], field: str, said: Said) -> None:
    before = found.setdefault(field, said)
    if before.value != said.value:
        raise SpecError(
            f"{before.key} says that {field} is {before.value}, and {said.key} that it is "
            f"{said.value}: they contradict each other. Correct one of them."
        )


def _parsed(field: Field, key: str, value: object) -> list[tuple[str, Any]]:
    """What a field's value says, about this field or, as swiglu does, about two."""
    if field.kind == "whole":
        number = _whole(key, value)
        return [] if number == 0 and field.name in _ZERO_IS_NONE else [(field.name, number)]
    if field.kind == "list":
        return [(field.name, tuple(_listed(key, value)))]
    if field.kind == "flag":
        flag = _FLAGS.get(str(value).strip().lower())
        if flag is None:
            raise SpecError(f"{key} is {_shown(value)}; true or false is expected.")
        return [("tied", not flag)] if field.name == "untied" else [(field.name, flag)]
    if field.name in ("model_type", "architectures"):
        return [(field.name, architecture_name(value))]
    if field.name == "attention":
        kind = _ATTENTION.get(normalized(str(value)), "")
        if kind in ("mla", "linear"):
            raise SpecError(f"{key} is {_shown(value)}: such attention is not counted.")
        return [("n_kv_head", 1)] if kind == "mqa" else [(field.name, kind)] if kind else []
    if field.name != "bias" and isinstance(value, int | float):
        return []  # a number is no kind of norm: a column of gradient norms, say
    word = _WORDS[field.name].get(normalized(str(value)))
    if word is None:
        known = ", ".join(dict.fromkeys(_WORDS[field.name].values()))
        raise SpecError(f"{key} is {_shown(value)}; one of {known} is expected.")
    if word in _GATED:
        return [(field.name, _GATED[word]), ("gated", True)]
    return [(field.name, word)]


def _whole(key: str, value: object) -> int:
    try:
        number = float(str(value)) if value is not False else 0.0
    except ValueError:
        number = -1.0
    if not (0 <= number < math.inf) or number != int(number):
        raise SpecError(f"{key} is {_shown(value)}; a whole number is expected.")
    return int(number)


def _listed(key: str, value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise SpecError(f"{key} is {_shown(value)}; a list with a word for each layer is expected.")
    return [str(word) for word in value]


def architecture_name(value: object) -> str:
    """LlamaForCausalLM, of a list or alone, as llama."""
    word = value[0] if isinstance(value, list | tuple) else value
    plain = normalized(str(word))
    for ending in ("forcausallm", "lmheadmodel", "model"):
        plain = plain.removesuffix(ending)
    return plain


def _empty(value: object, *, word: bool) -> bool:
    """word: whether `none` is a value, such as that of positions."""
    if isinstance(value, str):
        return value.strip() in NULLS and not (word and value.strip() == "none")
    return value is None or (isinstance(value, float) and math.isnan(value))


def _false(value: object) -> bool:
    return not value or str(value).strip().lower() in ("false", "0", "0.0", "no", "none", "[]")


def _shown(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # numbers of a table are floats
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
