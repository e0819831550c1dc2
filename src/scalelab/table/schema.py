"""The one typed schema of the run table and of learning curves.

Readers, writers, JSON answers and documentation follow these tuples; nothing else lists columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Dtype = Literal["str", "int", "float", "bool"]

STATUSES = ("finished", "diverged", "running", "failed")
"""Only finished rows are fitted."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    name: as scalelab writes it. dtype: of its cells. unit: empty where it has none.
    meaning: one line. aliases: names the field uses, compared by `normalized`.
    positive: a cell must be above zero. count: a cell may be typed like ``124M``.
    """

    name: str
    dtype: Dtype
    unit: str
    meaning: str
    aliases: tuple[str, ...] = ()
    positive: bool = False
    count: bool = False


def _count(name: str, unit: str, meaning: str, *aliases: str) -> Column:
    # Float64, because 6 N D overflows 64-bit integers above 9.2e18 FLOP.
    return Column(name, "float", unit, meaning, aliases, positive=True, count=True)


def _whole(name: str, unit: str, meaning: str, *aliases: str) -> Column:
    return Column(name, "int", unit, meaning, aliases, positive=True)


def _component(name: str, meaning: str) -> Column:
    return Column(name, "float", "parameters", meaning)  # zero where a model has none


STEPS = frozenset(("step", "globalstep", "iteration", "iter", "trainstep", "trainerglobalstep"))
"""Normalized names of a column that counts along training: rows of one run, if it has it."""

WEAK_IDS = ("name", "run_name", "experiment", "trial", "trial_id")
"""Names that are often those of a model or a group: taken for ids only where they are unique."""

DATA_SETS = ("dataset_size", "data_size", "dataset_tokens")
"""D of a table of single epochs; where epochs are told, the distinct tokens."""

NAMESPACES = (
    *("config", "summary", "summary_metrics", "hparams", "hyperparameters", "params", "args"),
    *("metrics", "result", "results", "final", "model", "model_config", "data"),
    "throughput",
)
"""First parts of names such as ``config.n_params`` and ``Summary/val_loss`` that say only where a
tool keeps the value. ``train``, ``training`` and ``eval`` are none: they say which loss it is."""

RUN_COLUMNS: tuple[Column, ...] = (
    Column(
        "run",
        "str",
        "",
        "id, unique in the table",
        ("id", "run_id", *WEAK_IDS),
    ),
    Column("status", "str", "", "finished, diverged, running or failed", ("state",)),
    Column("family", "str", "", "transformer, lstm, ...", ("model_family", "architecture", "arch")),
    _count(
        "params",
        "parameters",
        "N by the table's convention (scalelab's own runs: non-embedding)",
        *("N", "n_params", "num_params", "n_parameters", "num_parameters", "parameters"),
        *("parameter_count", "param_count", "model_size", "model_params", "total_params"),
        *("non_embedding_params", "params_non_embedding", "n_non_embedding", "n_nonembd"),
        *("N_no_embed", "non_embedding_parameters", "number of parameters", "n_total_params"),
        *("total_parameters", "params_total", "non_embedding_param_count", "model_parameters"),
        *("active_params", "active_parameters", "n_active_params", "params_active", "n_active"),
        "model_num_parameters",
    ),
    _component("params_embedding", "token (and position) embedding"),
    _component("params_attention", "query, key, value and output maps"),
    _component("params_feed_forward", "feed-forward maps"),
    _component("params_recurrent", "matrices of recurrent cells"),
    _component("params_norm", "normalisation layers"),
    _component("params_output", "output layer (zero when tied to the embedding)"),
    _whole(
        "n_layer",
        "",
        "layers",
        *("n_layers", "num_layers", "layers", "depth", "num_hidden_layers"),
    ),
    _whole("d_model", "", "width", "width", "hidden_size", "n_embd"),
    _whole(
        "d_ff",
        "",
        "feed-forward width",
        *("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "feed_forward_size"),
    ),
    _whole(
        "n_head",
        "",
        "attention heads",
        *("n_heads", "num_heads", "heads", "num_attention_heads", "n_attention_heads"),
    ),
    _whole(
        "context",
        "tokens",
        "context length",
        *("n_ctx", "seq_len", "sequence_length", "context_length", "block_size"),
        "seq_length",
    ),
    _whole("vocabulary", "tokens", "vocabulary size", "vocab", "vocab_size", "n_vocab"),
    _count(
        "tokens",
        "tokens",
        "D: tokens processed in training",
        *("D", "T", "n_tokens", "num_tokens", "tokens_seen", "train_tokens", "training_tokens"),
        *("total_tokens", "tokens_processed", "number of tokens", "num_train_tokens"),
        *("n_train_tokens", "total_train_tokens", "num_tokens_seen", "n_tokens_seen"),
        *("num_input_tokens_seen", "tokens_trained", "token_count", "tokens_total"),
        *DATA_SETS,
    ),
    _count(
        "unique_tokens",
        "tokens",
        "distinct tokens in the training set (equal to tokens in one epoch)",
        *("U", "n_unique_tokens", "tokens_unique", "num_unique_tokens"),
    ),
    Column(
        "epochs",
        "float",
        "",
        "passes over the training set",
        ("n_epochs", "num_epochs", "train_epochs", "num_train_epochs"),
        positive=True,
    ),
    _count(
        "flops",
        "FLOP",
        "C: training compute by the named convention",
        *("C", "flop", "compute", "compute_budget", "training_flop", "training_flops"),
        *("train_flop", "train_flops", "total_flops", "budget_flops", "flop_budget", "n_flops"),
        *("training_compute", "train_compute", "total_flos", "compute_flops", "compute_flop"),
        *("total_flop", "total_compute", "model_flops"),
    ),
    _count("flops_6n", "FLOP", "training compute counted as 6 N D"),
    _count("flops_kaplan", "FLOP", "training compute as in Kaplan et al. 2020, table 1"),
    _count("flops_chinchilla", "FLOP", "training compute as in Hoffmann et al. 2022, appendix F"),
    _count("flops_exact", "FLOP", "training compute, every matrix product as executed"),
    _count(
        "batch_tokens",
        "tokens/step",
        "batch",
        *("batch_size_tokens", "tokens_per_batch", "tokens_per_step"),
    ),
    _whole(
        "steps",
        "steps",
        "optimizer steps",
        *("n_steps", "num_steps", "train_steps", "training_steps", "iterations"),
    ),
    Column(
        "lr",
        "float",
        "",
        "peak learning rate",
        ("learning_rate", "max_lr", "peak_lr"),
        positive=True,
    ),
    Column("schedule", "str", "", "learning-rate schedule", ("lr_schedule",)),
    Column("seed", "int", "", "random seed", ("random_seed",)),
    Column("trunk", "str", "", "runs that branch off one trunk share its id: not independent"),
    Column("held_out", "bool", "", "not fitted; its loss is predicted"),
    Column(
        "loss",
        "float",
        "nats/token",
        "final loss on held-out text",
        (
            *("L", "val_loss", "valid_loss", "validation_loss", "final_loss", "eval_loss"),
            *("test_loss", "heldout_loss", "held_out_loss", "final_val_loss", "loss_val"),
            *("loss_test", "loss_eval", "final_eval_loss", "final_test_loss", "dev_loss"),
            *("last_val_loss", "best_val_loss", "min_val_loss", "lm_loss", "val_lm_loss"),
            *("cross_entropy", "cross_entropy_loss", "ce_loss", "xent", "val_xent", "test_xent"),
            *("val_cross_entropy", "eval_cross_entropy", "test_cross_entropy", "val_nll"),
            *("loss_nats", "val_loss_nats", "nats_per_token"),
        ),
        positive=True,
    ),
    Column(
        "bytes_per_token",
        "float",
        "bytes/token",
        "mean length of a token of the held-out text",
        positive=True,
    ),
    Column("tokenizer", "str", "", "losses of different tokenizers are not comparable"),
    Column("seconds", "float", "s", "wall time of the run"),
)
"""The run table, in the order in which it is written. ``loss.NAME`` columns may follow."""

CURVE_COLUMNS: tuple[Column, ...] = (
    Column("run", "str", "", "id of the run"),
    Column("trunk", "str", "", "id of the trunk that it branched off"),
    Column("step", "int", "steps", "optimizer step"),
    _count("tokens", "tokens", "tokens processed so far"),
    _count("flops", "FLOP", "training compute so far"),
    Column("loss", "float", "nats/token", "held-out loss at this step", positive=True),
    Column("lr", "float", "", "learning rate at this step"),
    Column("grad_norm", "float", "", "norm of the gradient before clipping"),
    Column("noise_scale", "float", "tokens", "gradient noise scale, tr(Sigma)/|G|^2"),
)
"""Learning curves: the held-out loss along training."""


def normalized(name: str) -> str:
    """Lower case without spaces and punctuation: ``Training FLOP`` and ``training_flop`` agree."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def run_column(name: str) -> Column | None:
    """The schema's column of that name (``loss.NAME`` is a loss on NAME), or None."""
    if name.startswith("loss.") and len(name) > len("loss."):
        return Column(
            name, "float", "nats/token", f"loss on {name.removeprefix('loss.')}", positive=True
        )
    return next((column for column in RUN_COLUMNS if column.name == name), None)


def is_known(name: str) -> bool:
    """Whether some column of the run table goes by that name."""
    return normalized(name) in {n for column in RUN_COLUMNS for n in names_of(column)}


def names_of(column: Column) -> frozenset[str]:
    """Every name of a column, normalized."""
    return frozenset(normalized(name) for name in (column.name, *column.aliases))
