"""Loss against compute, with the frontier of the best that each compute can buy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scalelab.report.figures import base
from scalelab.report.figures.surface import legend, point_layers

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from scalelab.fitting import Fit
    from scalelab.report.figures.base import Rows
    from scalelab.studies.result import StudyResult

_BUDGETS, _SIZES = 40, 121
_BEYOND = 3.0  # the frontier is drawn where its size is at most this far outside the sizes trained


def loss_against_compute(result: StudyResult) -> base.Figure:
    """Loss against C, coloured by N, with the compute-optimal frontier."""
    name, title = "loss-against-compute", "Loss against compute"
    rows = [row for row in base.points(result) if row.get("flops")]
    if not rows:
        return base.Figure(name, title, "No finished run has a compute: there is nothing to draw.")
    caption = "Held-out loss of every finished run against C, coloured by N. " + legend(rows)
    fit = base.surface(result)
    curves: Rows = []
    best: Rows = []
    if fit is None:
        caption += base.why_no_surface(result)
    else:
        curves, best = _size_curves(fit, rows), frontier(fit, rows)
        caption += f"Thin curves: each size by the {base.form_name(fit)}. "
        caption += (
            "Bold line: the lowest loss that each compute can buy, with its 90% band. "
            if best
            else "The compute-optimal sizes lie outside the sizes trained: no frontier is drawn. "
        )
    convention = result.conventions.get("flops", "")
    caption += f"C: {convention}." if convention else ""
    return base.Figure(
        name, title, caption.strip(), _chart(rows, curves, best, convention), height=380
    )


def cost_per_token(rows: Rows) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """FLOP per token as a function of N, from the runs themselves, so in their convention.

    Log-linear between the sizes trained; beyond them with the slope of the outermost pair.
    """
    import numpy as np

    known = {row["params"]: row["flops"] / row["tokens"] for row in rows}
    sizes = np.log(sorted(known))
    costs = np.log([known[size] for size in sorted(known)])

    def cost(params: NDArray[np.float64]) -> NDArray[np.float64]:
        log_n = np.log(params)
        if len(sizes) == 1:
            return np.asarray(np.exp(costs[0] + log_n - sizes[0]), dtype=np.float64)
        left, right = ((costs[b] - costs[a]) / (sizes[b] - sizes[a]) for a, b in ((0, 1), (-2, -1)))
        inside = np.interp(log_n, sizes, costs)
        below, above = np.minimum(log_n - sizes[0], 0), np.maximum(log_n - sizes[-1], 0)
        return np.asarray(np.exp(inside + left * below + right * above), dtype=np.float64)

    return cost


def frontier(fit: Fit, rows: Rows) -> Rows:
    """For each compute the size and data of lowest predicted loss, with the 90% interval there.

    Found on a grid, so for any law over (params, tokens) and any convention of C.
    """
    import numpy as np

    cost = cost_per_token(rows)
    known = [row["params"] for row in rows]
    sizes = np.array(base.log_space(min(known) / 30, max(known) * 30, _SIZES))
    compute = [row["flops"] for row in rows]
    low, high = base.padded(compute)
    best_sizes, best_tokens, budgets = [], [], []
    for budget in base.log_space(low, high, _BUDGETS):
        tokens = budget / cost(sizes)
        index = int(np.argmin(fit.predict(params=sizes, tokens=tokens, level=0.9).value))
        if min(known) / _BEYOND <= sizes[index] <= max(known) * _BEYOND:
            budgets.append(budget)
            best_sizes.append(sizes[index])
            best_tokens.append(tokens[index])
    if len(budgets) < 2:
        return []
    at = fit.predict(params=np.array(best_sizes), tokens=np.array(best_tokens), level=0.9)
    columns = (budgets, best_sizes, best_tokens, at.value, at.low, at.high)
    names = ("flops", "params", "tokens", "loss", "low", "high")
    found = [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]
    return [row for row in found if np.isfinite(list(row.values())).all()]


def _size_curves(fit: Fit, rows: Rows) -> Rows:
    import numpy as np

    cost = cost_per_token(rows)
    lines: Rows = []
    for size in sorted({row["params"] for row in rows}):
        low, high = base.padded([row["flops"] for row in rows if row["params"] == size], by=0.1)
        flops = np.array(base.log_space(low, high, 32))
        params = np.full_like(flops, size)
        losses = fit.predict(params=params, tokens=flops / cost(params), level=0.9).value
        lines += [
            {"params": size, "flops": float(c), "loss": float(loss)}
            for c, loss in zip(flops, losses, strict=True)
            if np.isfinite(loss)
        ]
    return lines


def _chart(rows: Rows, curves: Rows, best: Rows, convention: str) -> Any:
    import altair as alt

    title = "Training compute C (FLOP" + (f", {convention})" if 0 < len(convention) < 30 else ")")
    losses = [row["loss"] for row in rows]
    y = base.loss_axis(losses)
    x = base.log_axis("flops", title, [row["flops"] for row in rows], powers=True)
    color = base.ramp("params", [row["params"] for row in rows])
    layers: list[Any] = []
    if best:
        band = alt.Chart(base.data(best)).mark_area(style="ink-area", clip=True)
        layers.append(band.encode(x=x, y=base.loss_axis(losses, "low"), y2="high:Q"))
    if curves:
        thin = alt.Chart(base.data(curves)).mark_line(strokeWidth=1.1, opacity=0.75, clip=True)
        layers.append(thin.encode(x=x, y=y, color=color, detail="params:Q"))
    if best:
        bold = alt.Chart(base.data(best)).mark_line(style="ink-line", clip=True)
        names = ("flops", "params", "tokens", "loss")
        layers.append(bold.encode(x=x, y=y, tooltip=base.tooltips(*names)))
    return alt.layer(*layers, *point_layers(rows, x, y, color))
