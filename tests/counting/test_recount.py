"""The same runs recounted: every convention against counting by hand."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from scalelab.counting import RecurrentShape, TransformerShape, count_parameters, flops_per_token
from scalelab.counting.recount import PARAMS, available, recount
from scalelab.errors import TableError
from scalelab.table import RunTable, read_runs

# n_layer, d_model, n_head, d_ff, context, vocabulary
SHAPES = [(2, 16, 2, 64, 32, 100), (4, 24, 3, 90, 32, 100), (12, 768, 12, 3072, 1024, 50257)]
TOKENS = [1e6, 2e6, 3e9]
GIVEN = [1e4, 2e4, 3e7]
"""N, as nobody counted it."""
NAMES = ("n_layer", "d_model", "n_head", "d_ff", "context", "vocabulary")
PARTS = ("attention", "feed_forward", "norm", "output", "embedding")


def shapes(*, tied: bool = True) -> list[TransformerShape]:
    """As a table's shapes are taken: GPT-2's, with learned positions and biases."""
    return [TransformerShape(*row, tied=tied, positions="learned", bias=True) for row in SHAPES]


COUNTS = [count_parameters(one) for one in shapes()]


def by_shape() -> RunTable:
    columns = {name: [row[i] for row in SHAPES] for i, name in enumerate(NAMES)}
    return read_runs({**columns, "N": GIVEN, "D": TOKENS, "loss": [3.0, 2.9, 2.0]})


def by_parts(*, tied: bool, shape: bool = False, bias: bool = True) -> RunTable:
    """A table that tells its parameters by part, in nothing like its shapes' proportions."""
    counts = [count_parameters(one).to_dict() for one in shapes(tied=tied)]
    columns = {f"params_{part}": [count[part] for count in counts] for part in PARTS}
    if bias:
        columns["params_bias"] = [count["bias"] for count in counts]
    if shape:
        columns |= {"vocabulary": [row[5] for row in SHAPES], "d_model": [row[1] for row in SHAPES]}
    return read_runs({**columns, "N": GIVEN, "D": TOKENS, "loss": [3.0, 2.9, 2.0]})


def by_hand(name: str) -> list[float]:
    """Each convention from the dimensions alone, written out once more."""
    found = []
    for layers, d, _, d_ff, context, vocabulary in SHAPES:
        matrices = layers * (4 * d * d + 2 * d * d_ff)
        norms = (2 * layers + 1) * 2 * d
        biases = layers * (4 * d + d_ff + d)
        found.append(
            {
                "matrices": matrices,
                "with-norms": matrices + norms + biases,
                "with-output": matrices + norms + biases + vocabulary * d,
                "total": matrices + norms + biases + (vocabulary + context) * d,
            }[name]
        )
    return [float(number) for number in found]


# --- N ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PARAMS)
def test_from_shapes_every_convention_is_that_of_counting_by_hand(name: str) -> None:
    counted = recount(by_shape(), name).frame
    assert counted["params"].to_list() == by_hand(name)
    assert counted["params"].dtype == pl.Float64


def test_non_embedding_is_the_n_of_scalelab_s_own_runs() -> None:
    """One name, one number: neither norms nor biases, wherever the name stands."""
    for table in (by_shape(), by_parts(tied=True, shape=True), by_parts(tied=False, bias=False)):
        counted = recount(table, "non-embedding")
        assert counted.frame["params"].to_list() == [one.non_embedding for one in COUNTS]
        assert counted.conventions["params"].startswith("matrices: non-embedding, the matrices")


def test_gpt_2_has_124_million_parameters_in_all() -> None:
    """12 layers of width 768 over 50,257 tokens and 1,024 places: 124,439,808, as released."""
    assert recount(by_shape(), "total").frame["params"][2] == 124_439_808
    assert recount(by_shape(), "matrices").frame["params"][2] == 12 * 12 * 768**2


@pytest.mark.parametrize("name", PARAMS)
@pytest.mark.parametrize("tied", [True, False])
def test_from_parts_every_convention_is_a_sum(name: str, tied: bool) -> None:
    counted = recount(by_parts(tied=tied, shape=True), name).frame["params"].to_list()
    for number, one, hand in zip(counted, shapes(tied=tied), by_hand(name), strict=True):
        count = count_parameters(one)
        if name == "total":
            assert number == count.total
            continue
        # A tied output layer costs its product, whoever owns the matrix.
        assert number == hand
    untied_matrix = [one.vocabulary * one.d_model for one in shapes()]
    total = recount(by_parts(tied=False, shape=True), "total").frame["params"]
    assert total.to_list() == [a + b for a, b in zip(by_hand("total"), untied_matrix, strict=True)]


def test_the_table_s_own_parts_come_before_its_shapes() -> None:
    table = by_parts(tied=True, shape=True).frame.with_columns(params_attention=pl.lit(7.0))
    frame = table.join(
        by_shape().frame.select("run", "n_layer", "n_head", "d_ff", "context"), "run"
    )
    counted = recount(RunTable(frame, {}, (), "t"), "matrices").frame
    expected = (7.0 + frame["params_feed_forward"]).to_list()
    assert counted["params"].to_list() == expected


def test_biases_count_where_a_table_tells_them_though_no_column_of_the_schema(
    tmp_path: Path,
) -> None:
    path = tmp_path / "runs.csv"
    by_parts(tied=True, shape=True).frame.write_csv(path)
    table = read_runs(path)
    assert table.frame["params_bias"].dtype == pl.Float64
    assert recount(table, "total").frame["params"].to_list() == by_hand("total")
    without = recount(by_parts(tied=True, shape=True, bias=False), "total").frame["params"]
    biases = [count_parameters(one).bias for one in shapes()]
    assert without.to_list() == [n - b for n, b in zip(by_hand("total"), biases, strict=True)]


def test_a_tied_output_layer_of_unknown_size_is_not_taken_for_none() -> None:
    table = by_parts(tied=True)
    with pytest.raises(TableError, match=r"output layer is tied .* needs vocabulary and d_model"):
        recount(table, "with-output")
    assert available(table.frame) == ("matrices", "with-norms", "total")
    untied = by_parts(tied=False)
    assert available(untied.frame) == PARAMS
    assert recount(untied, "with-output").frame["params"].to_list() == by_hand("with-output")


# --- C ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kaplan", "chinchilla", "exact"])
def test_compute_by_every_convention_is_that_of_the_shape(name: str) -> None:
    counted = recount(by_shape(), flops=name).frame
    expected = [
        flops_per_token(one, name) * tokens for one, tokens in zip(shapes(), TOKENS, strict=True)
    ]
    assert counted["flops"].to_list() == pytest.approx(expected, rel=1e-12)
    assert counted["params"].to_list() == GIVEN


def test_kaplan_s_and_exact_compute_by_hand() -> None:
    matrices = by_hand("matrices")
    for name in ("kaplan", "exact"):
        counted = recount(by_shape(), flops=name).frame["flops"].to_list()
        for i, (layers, d, _, _, context, vocabulary) in enumerate(SHAPES):
            attention = 6 * layers * context * d
            per_token = {
                "kaplan": 6 * matrices[i] + attention,
                "exact": 6 * (matrices[i] + vocabulary * d) + 2 * attention,
            }[name]
            assert counted[i] == pytest.approx(per_token * TOKENS[i], rel=1e-12)


def test_six_n_d_follows_the_n_that_stands_there() -> None:
    table = by_shape()
    plain = recount(table, flops="6N").frame["flops"].to_list()
    assert plain == [6 * N * D for N, D in zip(GIVEN, TOKENS, strict=True)]
    both = recount(table, "total", "6N").frame["flops"].to_list()
    assert both == [6 * N * D for N, D in zip(by_hand("total"), TOKENS, strict=True)]


def test_compute_that_the_table_holds_is_taken_as_it_is() -> None:
    frame = by_shape().frame.with_columns(flops_exact=pl.Series([5.0, 6.0, 7.0]))
    table = RunTable(frame, {}, (), "t")
    assert recount(table, flops="exact").frame["flops"].to_list() == [5.0, 6.0, 7.0]
    holes = RunTable(frame.with_columns(flops_exact=pl.Series([5.0, None, 7.0])), {}, (), "t")
    expected = recount(by_shape(), flops="exact").frame["flops"].to_list()
    assert recount(holes, flops="exact").frame["flops"].to_list() == expected


# --- recurrent networks beside a Transformer ------------------------------------------------------


def families() -> tuple[pl.DataFrame, list[RecurrentShape | TransformerShape]]:
    built = [
        RecurrentShape("lstm", 2, 16, 32, 100),
        RecurrentShape("gru", 2, 16, 32, 100),
        TransformerShape(*SHAPES[0], positions="learned", bias=True),
    ]
    columns = {
        "family": ["lstm", "gru", "transformer"],
        **{name: [getattr(one, name, None) for one in built] for name in NAMES},
        "N": GIVEN,
        "D": TOKENS,
        "loss": [3.0, 2.9, 2.8],
    }
    return read_runs(columns).frame, built


def test_families_side_by_side_are_counted_each_by_its_own_shape() -> None:
    frame, built = families()
    table = RunTable(frame, {}, (), "t")
    counted = recount(table, "matrices").frame["params"].to_list()
    assert counted == [count_parameters(one).non_embedding for one in built]
    exact = recount(table, flops="exact").frame["flops"].to_list()
    assert exact == [flops_per_token(one) * D for one, D in zip(built, TOKENS, strict=True)]


def test_recurrent_networks_alone_need_neither_heads_nor_d_ff() -> None:
    frame, built = families()
    table = RunTable(frame.head(2).drop("n_head", "d_ff"), {}, (), "t")
    assert recount(table, "total").frame["params"].to_list() == [
        count_parameters(one).total for one in built[:2]
    ]
    with pytest.raises(TableError, match="context is missing"):
        recount(RunTable(table.frame.drop("context"), {}, (), "t"), "total")


def test_parts_of_a_transformer_count_where_only_recurrent_rows_tell_theirs() -> None:
    _, built = families()
    parts = [count_parameters(one).to_dict() for one in built]
    columns = {f"params_{part}": [float(count[part]) for count in parts] for part in PARTS}
    recurrent = [float(parts[0]["recurrent"]), float(parts[1]["recurrent"]), None]
    columns |= {"params_recurrent": recurrent, "N": GIVEN, "D": TOKENS, "loss": [3.0, 2.9, 2.8]}
    table = read_runs(columns)
    counted = recount(table, "matrices").frame["params"].to_list()
    assert counted == [count_parameters(one).non_embedding for one in built]


# --- words, and what is refused ---------------------------------------------------------------


def test_a_recount_leaves_the_table_as_it_was() -> None:
    table = by_shape()
    before = table.frame.clone()
    recount(table, "total", "6N")
    assert table.frame.equals(before)
    assert recount(table).frame.equals(before)


def test_how_n_and_c_were_counted_is_told_in_words() -> None:
    table = by_shape()
    assert table.conventions == {"params": "column N", "flops": "derived, 6ND"}
    counted = recount(table, "total", "exact").conventions
    assert counted == {"params": "total: every parameter", "flops": "exact"}
    assert recount(table, "with-output").conventions == {
        "params": "with-output: with-norms and the output layer (Porian et al. 2024)",
        "flops": "derived, 6ND",
    }
    given = read_runs({"Model Size": [1e6], "C": [6e15], "loss": [3.0]})
    assert given.conventions == {"params": "column Model Size", "flops": "column C"}
    by_data = read_runs({"D": [1e9, 2e9], "C": [6e15, 6e16], "loss": [3.0, 2.9]})
    assert by_data.conventions == {"params": "derived, 6ND", "flops": "column C"}


def test_a_table_that_does_not_tell_is_refused_with_what_is_missing() -> None:
    bare = read_runs({"N": [1e6, 2e6], "D": [1e9, 1e9], "loss": [3.0, 2.9]})
    assert available(bare.frame) == ()
    for name in PARAMS:
        with pytest.raises(TableError, match="needs parameters by part, or shapes: n_layer"):
            recount(bare, name)
    for name in ("kaplan", "chinchilla", "exact"):
        with pytest.raises(TableError, match="or shapes"):
            recount(bare, flops=name)
    assert recount(bare, flops="6N").frame["flops"].to_list() == [6e15, 12e15]
    part = RunTable(by_shape().frame.drop("n_head", "context"), {}, (), "t")
    with pytest.raises(TableError, match="n_head, context is missing"):
        recount(part, "total")


def test_all_ways_are_available_where_shapes_or_parts_are() -> None:
    assert available(by_shape().frame) == PARAMS
    assert available(by_parts(tied=True, shape=True).frame) == PARAMS


def test_unknown_conventions_are_refused_with_the_known_ones() -> None:
    with pytest.raises(
        TableError, match="with-norms, with-output, total, non-embedding, not 'all'"
    ):
        recount(by_shape(), "all")
    with pytest.raises(TableError, match="6N, kaplan, chinchilla, exact, not '6ND'"):
        recount(by_shape(), flops="6ND")


def test_rows_that_do_not_tell_are_counted_and_shapes_that_cannot_be_are_named() -> None:
    parts = by_parts(tied=False, shape=True).frame
    holes = parts.with_columns(params_norm=pl.Series([1.0, None, 1.0]))
    with pytest.raises(TableError, match="1 runs do not tell their parameters by part"):
        recount(RunTable(holes, {}, (), "t"), "total")
    odd = by_shape().frame.with_columns(n_head=pl.Series([5, 3, 12]))
    with pytest.raises(TableError, match="built: d_model 16 is not divisible by n_head 5"):
        recount(RunTable(odd, {}, (), "t"), "total")


def test_a_count_that_is_not_positive_is_refused() -> None:
    parts = by_parts(tied=False).frame
    none = parts.with_columns(params_attention=pl.lit(0.0), params_feed_forward=pl.lit(0.0))
    with pytest.raises(TableError, match="counted as matrices, N is 0 for some runs"):
        recount(RunTable(none, {}, (), "t"), "matrices")


# --- shapes that are not GPT-2's ------------------------------------------------------------------

LLAMAS = {
    "n_layers": [8, 12, 16],
    "hidden_size": [256, 384, 512],
    "num_attention_heads": [4, 6, 8],
    "num_key_value_heads": [2, 2, 2],
    "intermediate_size": [704, 1024, 1408],
    "hidden_act": ["silu"] * 3,
    "seq_len": [1024] * 3,
    "vocab_size": [32000] * 3,
    "tie_word_embeddings": ["false"] * 3,
    "D": TOKENS,
    "loss": [3.0, 2.9, 2.0],
}


def llamas_by_hand() -> list[tuple[int, int]]:
    """Matrices, and all parameters: heads of 64, three feed-forward matrices, two embeddings."""
    found = []
    for n_layer, d, d_ff in zip(
        *(LLAMAS[name] for name in ("n_layers", "hidden_size")),
        LLAMAS["intermediate_size"],
        strict=True,
    ):
        matrices = n_layer * (2 * d * d + 2 * d * 2 * 64 + 3 * d * d_ff)
        found.append((matrices, matrices + (2 * n_layer + 1) * d + 2 * 32000 * d))
    return found


def notices(table: RunTable) -> dict[str, str]:
    return {notice.code: notice.message for notice in table.notices}


@pytest.mark.parametrize("prefix", ["", "config."])
@pytest.mark.parametrize("as_text", [False, True])
def test_llama_shapes_are_counted_as_such(prefix: str, as_text: bool, tmp_path: Path) -> None:
    source: object = {f"{prefix}{name}": values for name, values in LLAMAS.items()}
    if as_text:
        source = tmp_path / "runs.csv"
        pl.DataFrame({f"{prefix}{name}": values for name, values in LLAMAS.items()}).write_csv(
            source
        )
    table = read_runs(source, columns={"tokens": f"{prefix}D", "loss": f"{prefix}loss"})
    matrices, total = zip(*llamas_by_hand(), strict=True)
    assert recount(table, "matrices").frame["params"].to_list() == list(matrices)
    counted = recount(table, "total")
    assert counted.frame["params"].to_list() == list(total)
    assert counted.mapping["n_kv_head"] == f"{prefix}num_key_value_heads"
    assert counted.mapping["tied"] == f"{prefix}tie_word_embeddings"


def test_what_was_assumed_is_said_as_far_as_the_count_depends_on_it() -> None:
    table = read_runs(LLAMAS)
    assert notices(recount(table, "matrices")) == {
        "shape-assumed": "what the table does not say is assumed, as in Llama: hidden_act silu is "
        "SwiGLU, three feed-forward matrices; head_dim is d_model / n_head. To change it, add "
        "columns gated, head_dim.",
    }
    said = notices(recount(table, "total"))["shape-assumed"]
    for words in ("RMSNorm", "no biases in attention", "rotary positions"):
        assert words in said
    assert "tied" not in said  # the table has it
    gpt = notices(recount(by_shape(), "total"))["shape-assumed"]
    assert "as in GPT-2: two feed-forward matrices; LayerNorm; biases in" in gpt
    assert "learned positions; tied output layer. To change it, add columns gated" in gpt
    assert "positions" not in notices(recount(by_shape(), flops="exact"))["shape-assumed"]
    assert "shape-assumed" not in notices(recount(by_shape(), flops="6N"))
    assert "shape-assumed" not in notices(recount(by_parts(tied=True, shape=True), "total"))


def test_one_table_has_one_set_of_rules() -> None:
    """Full attention in the first run says nothing: the others are not GPT-2's."""
    mixed = {**LLAMAS, "num_key_value_heads": [4, 2, 2], "hidden_act": ["swiglu"] * 3}
    counted = recount(read_runs(mixed), "total").frame["params"][0]
    assert counted == 8 * (4 * 256**2 + 3 * 256 * 704) + 17 * 256 + 2 * 32000 * 256
    relu = {**LLAMAS, "num_key_value_heads": [4, 2, 2], "hidden_act": ["relu"] * 3}
    assert (
        "as in Llama: relu is not gated"
        in notices(recount(read_runs(relu), "total"))["shape-assumed"]
    )


def test_a_family_or_model_type_brings_its_rules() -> None:
    del_act = {name: values for name, values in LLAMAS.items() if name != "hidden_act"}
    for column in ("model_type", "architecture"):
        table = read_runs({**del_act, column: ["llama"] * 3})
        counted = recount(table, "total").frame["params"].to_list()
        assert counted == [total for _, total in llamas_by_hand()]
    ours = read_runs({**LLAMAS, "architecture": ["ours"] * 3})
    assert recount(ours, "total").frame["params"].to_list() == [n for _, n in llamas_by_hand()]
    with pytest.raises(TableError, match=r"family is mamba, which is not counted"):
        recount(read_runs({**LLAMAS, "architecture": ["mamba"] * 3}), "total")


@pytest.mark.parametrize(
    ("columns", "seen"),
    [
        ({"kv_lora_rank": [512, 512, 512]}, "kv_lora_rank is 512: .*latent.*run row-1"),
        ({"ssm_state_size": [None, 16, 16]}, "ssm_state_size is 16.*run row-2"),
        ({"hidden_act": ["gelu"] * 3}, "hidden_act is gelu beside num_key_value_heads"),
        ({"num_key_value_heads": [3, 3, 3]}, "n_head 4 is not divisible by n_kv_head 3"),
        ({"positions": ["learned"] * 3, "rope_theta": [1e4] * 3}, "positions.*rope_theta"),
        ({"num_experts": [8] * 3}, "n_expert_active"),
    ],
)
def test_shapes_that_are_not_counted_are_refused_by_the_column(
    columns: dict[str, list[object]], seen: str
) -> None:
    table = read_runs({**LLAMAS, **columns})
    for ask in (
        lambda: recount(table, "total"),
        lambda: recount(table, flops="exact"),
        lambda: available(table.frame),
    ):
        with pytest.raises(TableError, match=seen):
            ask()


def test_a_mixture_of_experts_has_two_counts_and_says_which_is_taken() -> None:
    mixture = {**LLAMAS, "num_local_experts": [8] * 3, "num_experts_per_tok": [2] * 3}
    table = read_runs(mixture)
    assert available(table.frame) == (*PARAMS, "active", "active-matrices")
    all_of_them, active = (recount(table, way, "6N") for way in ("total", "active"))
    d, d_ff = 256, 704
    assert all_of_them.frame["params"][0] - active.frame["params"][0] == 8 * 6 * 3 * d * d_ff
    said = notices(all_of_them)["experts-counted"]
    assert said.startswith("a token uses 2 of 8 experts, and N counts them all, so that C = 6 N D")
    assert "experts-counted" not in notices(active)
    assert active.conventions["params"] == "active: every parameter that a token uses"
    matrices = recount(table, "active-matrices").frame["params"][0]
    dense = llamas_by_hand()[0][0]
    assert matrices == dense + 8 * (3 * d * d_ff + 8 * d)  # a second expert, and the router
    exact = recount(table, flops="exact").frame["flops"][0] / TOKENS[0]
    assert exact == 6 * (matrices + 32000 * d) + 12 * 8 * 1024 * d
    with pytest.raises(TableError, match="active counts a mixture of experts, and no run has"):
        recount(read_runs(LLAMAS), "active")


def test_an_n_of_the_table_that_no_count_comes_near_to_is_said() -> None:
    matrices, total = zip(*llamas_by_hand(), strict=True)
    for near in (matrices, total, [1.01 * n for n in total]):
        assert "count-differs" not in notices(recount(read_runs({**LLAMAS, "N": near}), "total"))
    far = read_runs({**LLAMAS, "N": [1.5 * n for n in total]})
    assert "off by 33%" in notices(recount(far, "matrices"))["count-differs"]
    derived = read_runs({**LLAMAS, "C": [1e16, 1e17, 1e20]})
    assert "count-differs" not in notices(recount(derived, "total"))


@pytest.mark.shared
def test_published_llama_shapes(shared: Path) -> None:
    folder = shared / "cases" / "F1-llama-shapes-recounted"
    if not folder.is_dir():
        pytest.skip("the case is absent")
    table = read_runs(folder / "runs.csv")
    matrices = recount(table, "non-embedding").frame["params"].to_numpy()
    total = recount(table, "total").frame["params"].to_numpy()
    assert [matrices.min(), matrices.max()] == pytest.approx([2.254e7, 1.082e9], rel=1e-3)
    assert [total.min(), total.max()] == pytest.approx([5.53e7, 1.213e9], rel=1e-3)
