"""What is said of a shape is read, what is not is assumed and named, what is wrong is refused."""

from __future__ import annotations

from typing import Any

import pytest

from scalelab.counting import Experts, ModelShape, count_parameters
from scalelab.counting.described import Described, MissingFieldError, describe
from scalelab.counting.fields import FIELDS, read_fields
from scalelab.errors import SpecError
from scalelab.table.schema import normalized

SIX = {
    "n_layer": 4,
    "d_model": 48,
    "n_head": 6,
    "d_ff": 100,
    "context": 32,
    "vocabulary": 90,
}


def described(values: dict[str, Any]) -> Described:
    merged = {**SIX, **values}
    return describe(read_fields((normalized(k), k, v) for k, v in merged.items() if v != "absent"))


def shape(**values: Any) -> ModelShape:
    return described(values).shape


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"num_key_value_heads": 2, "activation": "swiglu"}, "n_kv_head", 2),
        ({"num_key_value_heads": "3", "hidden_act": "swish"}, "n_kv_head", 3),
        ({"multi_query": "true", "activation": "gelu"}, "n_kv_head", 1),
        ({"attention_type": "MQA", "activation": "gelu"}, "n_kv_head", 1),
        ({"attention": "multi-head"}, "n_kv_head", 6),
        ({"attn_type": "flash"}, "n_kv_head", 6),
        ({"head_dim": 20}, "head_dim", 20),
        ({"hidden_act": "silu"}, "gated", True),
        ({"activation": "geglu"}, "gated", True),
        ({"activation_function": "gelu_new"}, "gated", False),
        ({"hidden_act": "silu", "gated": False}, "gated", False),
        ({"swiglu": True}, "gated", True),
        ({"tie_word_embeddings": "False"}, "tied", False),
        ({"tie_word_embeddings": 0}, "tied", False),
        ({"untie_embeddings_and_output_weights": True}, "tied", False),
        ({"position_embedding_type": "learned_absolute"}, "learned_positions", 32),
        ({"max_position_embeddings": 64}, "learned_positions", 64),
        ({"position_embedding_type": "rope", "activation": "gelu"}, "learned_positions", 0),
        ({"rope_theta": 1e4, "activation": "gelu"}, "learned_positions", 0),
        ({"rope_theta": None}, "learned_positions", 32),
        ({"alibi": True, "activation": "gelu"}, "learned_positions", 0),
        ({"positions": "none", "activation": "relu"}, "learned_positions", 0),
        ({"rms_norm_eps": 1e-6, "activation": "gelu"}, "norm", "rmsnorm"),
        ({"normalization": "RMSNorm", "activation": "gelu"}, "norm_shift", False),
        ({"bias": False}, "norm_shift", False),
        ({"bias": "none"}, "biases", frozenset()),
        ({"bias": "qkv"}, "biases", frozenset({"qkv"})),
        ({"attention_bias": False}, "biases", frozenset({"feed_forward"})),
        ({"mlp_bias": "false"}, "biases", frozenset({"qkv", "attention_output"})),
        ({"attention_bias": True, "hidden_act": "silu"}, "biases", {"qkv", "attention_output"}),
        ({"qkv_bias": True, "hidden_act": "silu"}, "biases", {"qkv"}),
        ({"use_qk_norm": True, "activation": "swiglu"}, "qk_norm", "head"),
        ({"sliding_window": 8, "activation": "swiglu"}, "window_layers", 4),
        ({"sliding_window": 8, "sliding_window_pattern": 2, "hidden_act": "silu"}, "attended", 80),
        (
            {
                "sliding_window": 8,
                "activation": "swiglu",
                "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
            },
            "attended",
            56,
        ),
        ({"sliding_window": 8, "use_sliding_window": False}, "window", None),
        ({"context": "absent", "n_positions": 77}, "context", 77),
        ({"norm": 1.37}, "norm", "layernorm"),  # a column of gradient norms says nothing
        ({"num_experts": 1}, "experts", None),
        ({"num_experts": 0, "moe_intermediate_size": 0}, "experts", None),
        (
            {"num_local_experts": 8, "num_experts_per_tok": 2, "hidden_act": "silu"},
            "experts",
            Experts(8, 2, 100),
        ),
        (
            {
                "n_routed_experts": 8,
                "num_experts_per_tok": 2,
                "moe_intermediate_size": 30,
                "n_shared_experts": 2,
                "first_k_dense_replace": 1,
                "hidden_act": "silu",
            },
            "experts",
            Experts(8, 2, 30, d_shared=60, dense_layers=1),
        ),
    ],
)
def test_a_column_that_says_something_is_counted_with(
    values: dict[str, Any], field: str, expected: object
) -> None:
    found = getattr(shape(**values), field)
    assert found == expected
    assert type(found) is type(expected) or isinstance(expected, set)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_name_of_a_field_is_its_own_alone(field: Any) -> None:
    for other in FIELDS:
        if other is not field:
            mine = {normalized(name) for name in (field.name, *field.keys)}
            assert mine.isdisjoint(normalized(name) for name in (other.name, *other.keys))


# --- what is assumed ------------------------------------------------------------------------------


def test_six_dimensions_alone_are_gpt_2_and_every_rule_is_named() -> None:
    found = described({})
    assert found.style == "GPT-2"
    assert [one.text for one in found.assumed] == [
        "two feed-forward matrices",
        "LayerNorm",
        "biases in attention and feed-forward maps",
        "full attention (a key-value head for every query head)",
        "learned positions",
        "tied output layer",
    ]


def test_signs_of_llama_bring_its_rules_and_these_are_named() -> None:
    found = described({"num_key_value_heads": 2, "hidden_act": "silu"})
    assert found.style == "Llama"
    assert [one.text for one in found.assumed] == [
        "hidden_act silu is SwiGLU, three feed-forward matrices",
        "head_dim is d_model / n_head",
        "RMSNorm",
        "no biases in attention and feed-forward maps",
        "rotary positions",
        "untied output layer",
    ]


def test_a_shape_that_says_all_assumes_nothing() -> None:
    found = described(
        {
            "n_kv_head": 2,
            "head_dim": 8,
            "activation": "swiglu",
            "positions": "rotary",
            "norm": "rmsnorm",
            "bias": "none",
            "tied": True,
        }
    )
    assert found.assumed == ()
    # By hand: 2 x 48 x (48 + 16) of attention, 3 x 48 x 100 of the feed-forward layer.
    assert count_parameters(found.shape).non_embedding == 4 * (6144 + 14_400)
    assert count_parameters(found.shape).total == 4 * (6144 + 14_400) + 9 * 48 + 90 * 48


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ({"kv_lora_rank": 512}, "kv_lora_rank is 512: a shape with latent attention"),
        ({"attention": "MLA"}, "attention is 'MLA': such attention is not counted"),
        ({"attention": "mha", "n_kv_head": 2, "activation": "gelu"}, "2, and attention is mha"),
        ({"add_cross_attention": True}, "add_cross_attention is True: a shape with cross"),
        ({"is_encoder_decoder": "true"}, "an encoder and a decoder"),
        ({"ssm_state_size": 16}, "ssm_state_size is 16: .* state space"),
        ({"num_nextn_predict_layers": 1}, "further tokens"),
        ({"text_config": {"hidden_size": 8}}, "configuration within"),
        ({"word_embed_proj_dim": 24}, "word_embed_proj_dim is 24 and d_model is 48"),
        ({"decoder_sparse_step": 2}, "decoder_sparse_step is 2: experts in some"),
        ({"model_type": "mamba"}, "mamba, which is not counted"),
        ({"model_type": "deepseek_v3"}, "deepseekv3, which is not counted"),
        ({"model_type": "novel"}, "model_type 'novel' is not known; known are .*llama"),
        ({"architectures": ["T5Model"]}, "t5, which is not counted"),
        ({"num_key_value_heads": 2}, "no activation beside num_key_value_heads: .*gated"),
        ({"num_key_value_heads": 2, "hidden_act": "gelu"}, "hidden_act is gelu beside num_key"),
        ({"rope_theta": 1e4}, "no activation beside rope_theta"),
        ({"rms_norm_eps": 1e-5, "hidden_act": "gelu_tanh"}, "beside rms_norm_eps"),
        ({"num_key_value_heads": 4, "activation": "swiglu"}, "6 is not divisible by n_kv_head 4"),
        ({"num_key_value_heads": 12, "activation": "swiglu"}, "not divisible by n_kv_head 12"),
        ({"positions": "rotary", "head_dim": 5, "gated": True}, "the head dimension 5 is odd"),
        ({"n_head": 5}, "d_model 48 is not divisible by n_head 5"),
        ({"rms_norm_eps": 1e-5, "layer_norm_eps": 1e-5}, "rms_norm_eps .* layer_norm_eps .*contra"),
        ({"positions": "learned", "rope_theta": 1e4}, "positions .*rope_theta .*contradict"),
        ({"activation": "swiglu", "gated": False}, "activation says .*gated.*contradict"),
        ({"activation": "swiglu", "hidden_act": "gelu"}, "activation .*silu.*hidden_act .*gelu"),
        ({"tied": True, "untied": True}, "tied .*untied .*contradict"),
        ({"bias": "none", "attention_bias": True}, "attention_bias is True, and bias is none"),
        ({"n_kv_head": 2, "model_type": "gpt2"}, "GPT-2 has no grouped queries"),
        ({"activation": "swiglu", "model_type": "gpt2"}, "layers of GPT-2 are plain"),
        ({"positions": "learned", "model_type": "llama"}, "positions of Llama are rotary"),
        ({"norm": "layernorm", "model_type": "llama"}, "the norm of Llama is rmsnorm"),
        ({"qk_layernorm": True, "model_type": "phi"}, "qk_layernorm is true: .*Phi are not"),
        ({"do_layer_norm_before": False}, "do_layer_norm_before is false"),
        ({"num_experts": 8, "hidden_act": "silu"}, "num_experts is 8, .*n_expert_active"),
        ({"num_experts_per_tok": 2}, "num_experts_per_tok is given and n_expert is not"),
        (
            {"num_experts": 2, "num_experts_per_tok": 4, "hidden_act": "silu"},
            "a token uses 4 experts, and a layer has 2",
        ),
        (
            {
                "num_experts": 8,
                "num_experts_per_tok": 2,
                "first_k_dense_replace": 4,
                "hidden_act": "silu",
            },
            "4 of 4 layers are dense",
        ),
        (
            {"num_experts": 8, "num_experts_per_tok": 2, "hidden_act": "silu", "bias": "all"},
            "biases of experts",
        ),
        ({"hidden_act": "softsign"}, "hidden_act is 'softsign'; one of gelu"),
        ({"position_embedding_type": "relative_key"}, "one of learned, rotary"),
        ({"tie_word_embeddings": "maybe"}, "true or false is expected"),
        ({"num_key_value_heads": 2.5}, "num_key_value_heads is 2.5; a whole number"),
        ({"n_kv_head": -1}, "a whole number"),
        ({"n_kv_head": 0, "activation": "swiglu"}, "n_kv_head is 0; a whole number of at least 1"),
        ({"sliding_window": 4, "hidden_act": "silu", "layer_types": "all"}, "a list with a word"),
        (
            {"sliding_window": 4, "hidden_act": "silu", "layer_types": ["linear_attention"] * 4},
            "also of linear_attention",
        ),
    ],
)
def test_what_is_contradictory_open_or_of_another_kind_is_refused_by_name(
    values: dict[str, Any], seen: str
) -> None:
    with pytest.raises(SpecError, match=seen):
        described(values)


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"n_layer": "absent", "d_ff": "absent"}, ("n_layer", "d_ff")),
        ({"attention": "GQA"}, ("n_kv_head",)),
        ({"model_type": "qwen3"}, ("head_dim",)),
        ({"model_type": "mixtral"}, ("n_expert", "n_expert_active")),
    ],
)
def test_what_no_rule_fills_in_is_missing(values: dict[str, Any], missing: tuple[str, ...]) -> None:
    with pytest.raises(MissingFieldError) as error:
        described(values)
    assert error.value.names == missing


def test_a_class_names_the_architecture_where_no_model_type_does() -> None:
    rules = {"num_key_value_heads": 2, "architectures": ["LlamaForCausalLM"]}
    assert shape(**rules) == shape(num_key_value_heads=2, model_type="llama")
    tuned = {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}
    assert shape(**tuned) == shape(model_type="llama")


def test_empty_and_false_values_refuse_nothing() -> None:
    values = {
        "kv_lora_rank": None,
        "q_lora_rank": "",
        "add_cross_attention": False,
        "is_encoder_decoder": "false",
        "num_nextn_predict_layers": 0,
        "mlp_only_layers": [],
        "sliding_window": None,
        "rope_scaling": float("nan"),
        "word_embed_proj_dim": 48,
        "decoder_sparse_step": 1,
    }
    assert shape(**values) == shape()
