"""Counts from a config.json against the models that Hugging Face's transformers builds from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from scalelab.counting import count_parameters
from scalelab.counting.architectures import ARCHITECTURES
from scalelab.counting.config import read_config
from scalelab.counting.described import describe

transformers = pytest.importorskip("transformers", reason="transformers (scalelab[hf]) is absent")

GPT = {"n_layer": 3, "n_embd": 48, "n_head": 4, "vocab_size": 90, "n_positions": 33}
OTHERS = {
    "num_hidden_layers": 6,
    "hidden_size": 48,
    "num_attention_heads": 4,
    "intermediate_size": 70,
    "vocab_size": 90,
    "max_position_embeddings": 33,
}
GROUPED = {**OTHERS, "num_key_value_heads": 2}
OWN_HEADS = {**GROUPED, "head_dim": 20}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 22}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", GPT),
    ("gpt2", {**GPT, "n_inner": 50, "tie_word_embeddings": False}),
    ("gpt_bigcode", GPT),
    ("gpt_bigcode", {**GPT, "multi_query": False, "num_key_value_heads": 4}),
    ("gptj", {**GPT, "rotary_dim": 8}),
    ("gpt_neox", OTHERS),
    ("gpt_neox", {**OTHERS, "attention_bias": False, "tie_word_embeddings": True}),
    ("opt", {**OTHERS, "ffn_dim": 70, "word_embed_proj_dim": 48}),
    ("bloom", {"n_layer": 3, "hidden_size": 48, "n_head": 4, "vocab_size": 90, "seq_length": 33}),
    ("llama", GROUPED),
    ("llama", {**OWN_HEADS, "attention_bias": True, "mlp_bias": True}),
    ("mistral", {**OWN_HEADS, "sliding_window": 7}),
    ("mixtral", {**OWN_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2}),
    ("granite", {**GROUPED, "attention_bias": True}),
    ("smollm3", {**GROUPED, "pad_token_id": 0}),
    ("phi3", {**GROUPED, "pad_token_id": 0}),
    ("qwen2", GROUPED),
    ("qwen2", {**GROUPED, "tie_word_embeddings": True}),
    (
        "qwen2_moe",
        {**GROUPED, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 31},
    ),
    ("qwen3", OWN_HEADS),
    ("qwen3", {**OWN_HEADS, "attention_bias": True}),
    ("qwen3_moe", {**OWN_HEADS, **EXPERTS, "num_experts": 4}),
    ("gemma", OWN_HEADS),
    ("gemma2", OWN_HEADS),
    ("gemma3_text", OWN_HEADS),
    ("olmo", GROUPED),
    ("olmo2", GROUPED),
    ("olmoe", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    ("stablelm", GROUPED),
    ("stablelm", {**GROUPED, "use_qkv_bias": True, "use_parallel_residual": True}),
    ("cohere", GROUPED),
    ("starcoder2", GROUPED),
    ("starcoder2", {**GROUPED, "use_bias": False}),
    ("phi", GROUPED),
]


@pytest.mark.parametrize(("model_type", "values"), CASES)
def test_count_equals_the_model_that_transformers_builds(
    model_type: str, values: dict[str, Any], tmp_path: Path
) -> None:
    config = transformers.AutoConfig.for_model(model_type, **values)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    said, assumed = read_config(tmp_path)
    count = count_parameters(describe(said, assumed).shape)
    assert count.total == sum(parameter.numel() for parameter in model.parameters())
    # A config.json has every key of such a model: nothing in it is left out.
    assert not [one for one in assumed if one.field == "keys"]
    output = sum(p.numel() for name, p in model.named_parameters() if name == "lm_head.weight")
    assert count.output == output


def test_every_architecture_of_transformers_is_built() -> None:
    built = {model_type.replace("_", "") for model_type, _ in CASES}
    assert built == set(ARCHITECTURES) - {"deepseek"}  # its code is not part of the library


def test_keys_that_are_not_understood_are_reported(tmp_path: Path) -> None:
    values = {**GROUPED, "model_type": "llama", "gate_rank": 3}
    (tmp_path / "config.json").write_text(json.dumps(values))
    _, assumed = read_config(tmp_path)
    assert [one.text for one in assumed] == ["not understood and left out: gate_rank"]
