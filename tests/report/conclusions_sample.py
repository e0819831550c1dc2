"""Conclusions as designs would draw them, from planted laws: every kind of picture, no training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from scalelab.errors import Notice
from scalelab.fitting import Estimate
from scalelab.studies.conclusion import Axis, Check, Conclusion, Finding, Number, Picture, Series

N = Axis("Parameters N (non-embedding)", kind="count")
D = Axis("Tokens processed", kind="count")
C = Axis("Training compute C (FLOP)", kind="power")
LOSS = Axis("Held-out loss (nats per token)", kind="loss")
SIZES = np.geomspace(6e3, 7e5, 8)
GRID = np.geomspace(4e3, 4e6, 300)
TEXTS = (
    "news",
    "poems",
    "python",
    "law",
    "recipes",
    "wikipedia in French",
    "C source",
    "plays",
    "maths",
)


def estimate(value: float, half: float, level: float = 0.9) -> Estimate:
    return Estimate(value, value - half, value + half, level, half / 1.64)


def number(value: float, half: float, unit: str, meaning: str) -> Number:
    return Number(estimate(value, half), unit, meaning)


def noise(size: int, sd: float = 0.004, seed: int = 0) -> Any:
    return np.exp(sd * np.random.default_rng(seed).standard_normal(size))


def ladder() -> Conclusion:
    loss = (2e7 / SIZES) ** 0.08 * noise(8)
    law = (2e7 / GRID) ** 0.08
    curves = [
        Series(
            tokens := np.geomspace(2e4, 4e6 * (1 + seed / 3), 900),
            (2e7 / size) ** 0.08 + (6e4 / tokens) ** 0.6 * noise(900, 0.01, seed),
            mark="line",
            label=f"n{size:.0f}-seed{seed}",
            level=float(size),
        )
        for seed in range(5)
        for size in SIZES
    ]
    return Conclusion(
        "parameters-data-compute",
        "Parameters, data, compute",
        "Agrees with the paper: loss falls as N^-0.080 [0.07, 0.09] when data are not the "
        "bottleneck; the paper's exponent is 0.076.",
        (
            Finding(
                Check.about("alpha_N", 0.076, 0.02, "section 3.2, figure 5", "L(N) is a power law"),
                estimate(0.0803, 0.0091),
            ),
            Finding(
                Check.about("alpha_D", 0.095, 0.02, "section 3.3, figure 1", "L(D) is a power law"),
                None,
                "three subsets turned before the others: no exponent.",
            ),
        ),
        {
            "alpha_N": number(0.0803, 0.0091, "", "exponent of L(N)"),
            "N_c": number(2.1e7, 4e6, "parameters", "scale of L(N); belongs to this tokenizer"),
            "alpha_D": Number(
                Estimate(0.12, -math.inf, math.inf, 0.9), "", "exponent of L(D): nothing sets ends"
            ),
        },
        (
            Picture(
                "loss-by-size",
                "Loss against parameters",
                "Points: best loss of every size, with 90% intervals. Line: the power law. Dashed: "
                "the paper's exponent through the middle size.",
                N,
                LOSS,
                (
                    Series(
                        SIZES,
                        loss,
                        label="this study",
                        low=loss * 0.985,
                        high=loss * 1.015,
                        tips=[
                            f"{size:.0f} parameters: {v:.3f} nats"
                            for size, v in zip(SIZES, loss, strict=True)
                        ],
                    ),
                    Series(
                        GRID, law, mark="line", label="this study", low=law * 0.99, high=law * 1.01
                    ),
                    Series(
                        GRID,
                        loss[4] * (SIZES[4] / GRID) ** 0.076,
                        mark="dashed",
                        label="Kaplan et al. 2020, exponent 0.076",
                    ),
                ),
                paper="figure 1, figure 6",
            ),
            Picture(
                "all-learning-curves",
                "Learning curves of all sizes and seeds",
                "Held-out loss along training, coloured by N.",
                D,
                LOSS,
                curves,
                paper="figure 2",
            ),
        ),
        left_out=("L(D) beyond 4M tokens: the corpus has no more.",),
    )


def overfitting() -> Conclusion:
    ratio = np.geomspace(1e-4, 3e-1, 9)
    series = [
        Series(
            ratio * (1 + 0.1 * i),
            (1 + ratio * (3 + 0.2 * i)) ** 0.1 - 1,
            mark="hollow" if i > 4 else "point",
            level=float(size),
            label="held out" if i > 4 else "fitted",
        )
        for i, size in enumerate(SIZES)
    ]
    return Conclusion(
        "overfitting",
        "Joint L(N, D) and over-fitting",
        "Differs from the paper: a model 8 times as large needs 7.9 [7.1, 8.8] times the data; the "
        "paper's is about 5.",
        (
            Finding(
                Check(
                    "data for 8 times the size",
                    4.7,
                    3.5,
                    6.5,
                    "section 4.2, eq. 4.4",
                    "8 times the model needs about 5 times the data",
                ),
                estimate(7.9, 0.8),
            ),
            Finding(
                Check.at_most("scatter about one curve", 0.02, "figure 9", "the extent collapses"),
                Estimate(0.013, 0.011, 0.016, 0.9),
            ),
        ),
        {"data factor": number(7.9, 0.8, "times", "data needed when N grows 8 times")},
        (
            Picture(
                "overfit-collapse",
                "Extent of over-fitting",
                "dL against N^(a_N/a_D)/D. Dashed: the law of L(N, D).",
                Axis("N^(a_N/a_D) / D"),
                Axis("L(N, D) / L(N, infinity) - 1", log=False, kind="percent"),
                (
                    *series,
                    Series(ratio, (1 + ratio * 3.7) ** 0.1 - 1, mark="dashed", label="L(N, D)"),
                ),
                paper="figure 9",
            ),
            Picture(
                "early-stopping",
                "When over-fitting begins",
                "The bound of equation 5.7.",
                Axis("Bound on S_stop (steps)", kind="count"),
                Axis("Steps to the lowest loss", kind="count"),
                (
                    Series([1200.0], [2900.0], low=[1500.0], high=[math.inf], label="this study"),
                    Series([100, 1e6], [100, 1e6], mark="dashed"),
                    Series([1e9, 2e9], [1e3, 1e3], mark="dashed", label="the paper's runs"),
                ),
                paper="figure 16",
            ),
        ),
        (Notice("few-clusters", "Seven sizes set seven facts; intervals are those of seven."),),
    )


def shape() -> Conclusion:
    names = (
        "2 layers",
        "4 layers",
        "6 layers",
        "8 layers, narrow",
        "4 heads",
        "8 heads",
        "16 heads",
    )
    loss = np.array([1.62, 1.585, 1.58, 1.60, 1.583, 1.584, 1.592])
    return Conclusion(
        "shape",
        "Shape at fixed size",
        "Cannot tell at this scale: the aspect ratio costs 2.5% [0.8, 4.2] over 8x; the paper's "
        "bound is 3%.",
        (
            Finding(
                Check.at_most(
                    "penalty of the aspect ratio", 0.03, "figure 5", "shape hardly matters"
                ),
                estimate(0.025, 0.017),
            ),
        ),
        {"penalty": number(0.025, 0.017, "", "excess loss of the worst aspect ratio")},
        (
            Picture(
                "shape-steps",
                "Loss of every shape",
                "One N of 150k, three seeds of each shape.",
                Axis("Shape", log=False),
                LOSS,
                (
                    Series(
                        range(7), loss, low=loss - 0.01, high=loss + 0.01, label="mean of seeds"
                    ),
                    Series([-0.4, 6.4], [1.628, 1.628], mark="dashed", label="3% above the best"),
                ),
                paper="figure 5",
                steps=names,
            ),
            Picture(
                "shape-ratio",
                "Loss increase against aspect ratio",
                "Increase over the best shape.",
                Axis("d_model / n_layer"),
                Axis("Loss increase", log=False, kind="percent"),
                (
                    Series(
                        [4, 8, 16, 32, 64, 128],
                        [0.022, 0.009, 0.0, 0.003, 0.011, 0.025],
                        label="this study",
                    ),
                    Series(
                        [4, 128],
                        [0.03, 0.03],
                        mark="dashed",
                        label="tolerance",
                        low=[0, 0],
                        high=[0.03, 0.03],
                    ),
                ),
                paper="figure 5",
            ),
        ),
        left_out=(
            "Feed-forward ratios above 8.",
            "Depth beyond 8 layers: a longer budget shows it.",
        ),
    )


def transfer() -> Conclusion:
    loss = np.linspace(1.5, 2.2, 8)
    return Conclusion(
        "transfer",
        "Transfer to other texts",
        "Agrees with the paper: on all nine texts the loss is that on the training text plus a "
        "nearly constant offset.",
        (
            Finding(
                Check.about(
                    "slope", 1.0, 0.15, "section 3.2.2, figure 8", "the offset is constant"
                ),
                estimate(1.04, 0.06),
            ),
        ),
        {},
        (
            Picture(
                "transfer-loss",
                "Loss on other texts",
                "Loss on each text against loss on the training text.",
                Axis("Loss on the training text (nats per token)", log=False, kind="loss"),
                LOSS,
                [
                    Series(loss, loss * 1.04 + 0.15 * i * noise(8, 0.05, i), label=text)
                    for i, text in enumerate(TEXTS)
                ]
                + [
                    Series(loss, loss * 1.04 + 0.15 * i, mark="line", label=text)
                    for i, text in enumerate(TEXTS)
                ],
                paper="figure 8",
            ),
        ),
    )


def batch() -> Conclusion:
    nothing = Check.at_least("alpha_B", 0.1, "figure 10", "B_crit is a power law of the loss")
    return Conclusion(
        "critical-batch",
        "Critical batch",
        "Cannot tell at this scale: no loss was reached by three batch sizes.",
        (Finding(nothing, None, "no loss was reached by three batch sizes."),),
        pictures=(
            Picture(
                "critical-batch",
                "Critical batch against loss",
                "All measurements on one picture.",
                LOSS,
                Axis("Critical batch (tokens)", kind="count"),
                (Series([math.nan], [1e3], label="sweep"), Series([], [], mark="line")),
                paper="figure 10",
            ),
        ),
        left_out=("The sweep of batch sizes needs 12 minutes on this machine.",),
    )


def conclusions() -> tuple[Conclusion, ...]:
    return (ladder(), overfitting(), batch(), shape(), transfer())
