"""The pictures of what counting does: figure 6 of Kaplan et al. 2020, exponents by convention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scalelab.fitting import Estimate
from scalelab.studies.analysis.conventions import Growth
from scalelab.studies.analysis.depths import LEAST_ASPECT, columns_of, slender
from scalelab.studies.analysis.porian import STEPS
from scalelab.studies.conclusion import Axis, Picture, Series
from scalelab.studies.evidence import Run

NAME = "embedding"

WORDS = {
    "matrices": "without embeddings",
    "with-output": "with the output layer",
    "total": "all parameters",
    "6N": "6 N D",
    "kaplan": "6 N D and attention",
    "exact": "every product",
}


def pictures(
    deep: Sequence[Run],
    grown: Mapping[tuple[str, str], Growth],
    steps: Mapping[str, Growth],
) -> list[Picture]:
    """Those that the runs allow.

    deep: runs of several depths. grown: exponents by (N, C) as counted. steps: those of the walk.
    """
    found = [_depth_picture(deep, with_embedding) for with_embedding in (True, False) if deep]
    if grown:
        names = [f"{WORDS[params]}, {WORDS[flops]}" for params, flops in grown]
        found.append(
            Picture(
                f"{NAME}-conventions",
                "The exponent of N_opt by what is counted",
                "One ladder, one law; N is counted as the first words say, C as the last.",
                Axis("Counted", log=False),
                Axis("a in N_opt ~ C^a", log=False),
                [_bars("this ladder", [one.exponent for one in grown.values()])],
                steps=names,
            )
        )
    if steps:
        kept = [step for step in STEPS if step.name in steps]
        found.append(
            Picture(
                f"{NAME}-walk",
                "From Kaplan's exponent to Chinchilla's",
                "Each step mends one thing and keeps the mends before it.",
                Axis("Step", log=False),
                Axis("a in N_opt ~ C^a", log=False),
                [
                    _bars("here", [steps[step.name].exponent for step in kept]),
                    Series(
                        [float(i) for i in range(len(kept))],
                        [step.paper for step in kept],
                        "hollow",
                        "Porian et al. 2024",
                    ),
                ],
                steps=[step.title for step in kept],
            )
        )
    return found


def _bars(label: str, values: Sequence[Estimate]) -> Series:
    return Series(
        [float(i) for i in range(len(values))],
        [one.value for one in values],
        "point",
        label,
        low=[one.low for one in values],
        high=[one.high for one in values],
    )


def _depth_picture(runs: Sequence[Run], with_embedding: bool) -> Picture:
    bare, total, loss, layers = columns_of(runs)
    x, extreme = np.exp(total if with_embedding else bare), slender(runs)
    series = []
    for depth in np.unique(layers):
        own = np.flatnonzero(layers == depth)
        own = own[np.argsort(x[own])]
        label = "1 layer" if depth == 1 else f"{depth:.0f} layers"
        kept = own[~extreme[own]]
        for mark, which in (("point", kept), ("hollow", own[extreme[own]]), ("line", own)):
            if len(which):
                y = np.exp(loss[which]).tolist()
                series.append(Series(x[which].tolist(), y, mark, label))  # type: ignore[arg-type]
    what = "with" if with_embedding else "without"
    return Picture(
        f"{NAME}-{what}",
        f"Loss against parameters {what} embeddings",
        "Models of several depths after the same number of tokens. Hollow: narrower than "
        f"{LEAST_ASPECT:g} times the depth, and not compared.",
        Axis(f"Parameters, {what} embeddings", kind="count"),
        Axis("Held-out loss (nats per token)", kind="loss"),
        series,
        "figure 6, left" if with_embedding else "figure 6, right",
    )
