"""Learning curves: held-out loss along training, against tokens and against compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalelab.report.figures import base

if TYPE_CHECKING:
    from scalelab.studies.result import StudyResult


def curves_against_tokens(result: StudyResult) -> base.Figure:
    """Held-out loss against tokens processed, one line per run."""
    return _curves(result, "tokens", "Tokens processed", "Learning curves against tokens")


def curves_against_compute(result: StudyResult) -> base.Figure:
    """Held-out loss against compute spent, one line per run."""
    return _curves(result, "flops", "Compute spent (FLOP)", "Learning curves against compute")


def _curves(result: StudyResult, x: str, axis_title: str, title: str) -> base.Figure:
    import altair as alt

    name = f"curves-against-{'compute' if x == 'flops' else x}"
    rows = base.curve_points(result.curves, result.runs, x)
    if not rows:
        return base.Figure(name, title, "No evaluation along training was recorded.")
    y = base.loss_axis([row["loss"] for row in rows])
    horizontal = base.log_axis(x, axis_title, [row[x] for row in rows], powers=x == "flops")
    color = base.ramp("params", [row["params"] for row in rows], symbol="stroke")
    hover = alt.selection_point(
        fields=["run"], on="pointerover", clear="pointerout", name=f"hover_{x}"
    )
    chart = (
        alt.Chart(base.data(rows))
        .mark_line(strokeWidth=1.4, interpolate="monotone")
        .encode(
            x=horizontal,
            y=y,
            color=color,
            detail="run:N",
            opacity=alt.condition(hover, alt.value(0.9), alt.value(0.15)),
            tooltip=base.tooltips("run", "params"),
        )
        .add_params(hover)
    )
    what = "tokens processed" if x == "tokens" else "compute spent"
    caption = f"Held-out loss during training against {what}, one line per run, coloured by N. "
    if _has_branches(result):
        caption += "A short line that drops off a longer one is a decay branched off its trunk. "
    convention = result.conventions.get(x, "")
    caption += f"{'D' if x == 'tokens' else 'C'}: {convention}." if convention else ""
    return base.Figure(name, title, caption.strip(), chart)


def _has_branches(result: StudyResult) -> bool:
    if "trunk" not in result.curves.columns:
        return False
    pairs = result.curves.select("run", "trunk").drop_nulls().unique()
    return pairs.height > pairs["trunk"].n_unique()
