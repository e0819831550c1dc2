"""A fit in words and numbers, as text and as HTML from the same rows."""

from __future__ import annotations

from html import escape
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np

from scalelab.fitting.judge import divided
from scalelab.fitting.result import RATIO, CurveReach, Reach
from scalelab.units import format_number
from scalelab.version import __version__

if TYPE_CHECKING:
    from scalelab.errors import Notice
    from scalelab.fitting.result import Fit

_WIDTH = 88


def _facts(fit: Fit) -> list[tuple[str, str]]:
    facts = [("law", f"{fit.law.name}: {fit.law.equation}"), ("source", fit.law.reference)]
    left = "".join(f", {count} {reason}" for reason, count in fit.left_out.items())
    facts.append(("runs", f"{fit.runs} fitted{left}"))
    facts += [
        (name, f"{format_number(low, 3)} to {format_number(high, 3)}, {levels} levels")
        for name, (low, high, levels) in fit.ranges.items()
    ]
    facts += [(f"{name} counted", rule) for name, rule in fit.conventions.items()]
    falls = fit.estimator.falls
    facts += [
        ("estimator", fit.estimator.text(fit.law.response, fit.law.scale)),
        ("intervals", f"{fit.level:.0%}, {fit.intervals}"),
        ("objective", f"{fit.objective:.6g}"),
        (
            "noise (sd)",
            _noise(fit) + (f", at the largest size; falls as N^-{falls:g}" if falls else ""),
        ),
        *_backtest(fit),
        ("starts", f"{fit.diagnosis.starts_agreeing} of {fit.diagnosis.starts} agree"),
        ("condition", f"{fit.diagnosis.condition_number:.3g}"),
        ("reproduce", f"seed {fit.seed}, rows {fit.fingerprint[:12]}, scalelab {__version__}"),
    ]
    return facts


def _noise(fit: Fit) -> str:
    between, within = (_share(fit, part) for part in fit.noise)
    response = fit.law.response
    if not fit.noise[0]:
        return f"{within} of {response}"
    return f"{between} of {response} shared by a {fit.intervals.by}, {within} of each run"


def _share(fit: Fit, sd: float) -> str:
    """A standard deviation as a share of the response, as a factor, or in the response's units."""
    if fit.law.scale == "linear":
        return f"{sd:.3g}"
    return f"{sd:.2%}" if sd < log(2) else f"a factor of {exp(sd):.3g}"


def _backtest(fit: Fit) -> list[tuple[str, str]]:
    """What the law said of dearer runs from cheaper ones, where that was tried."""
    if "curves" in fit.backtest:
        return _curve_backtest(fit)
    laws = fit.backtest.get("laws", {})
    by = fit.estimator.weighting
    name = fit.law.label + (f" weighted by {by}" if by else "")
    mine = laws.get(name, next(iter(laws.values())) if len(laws) == 1 else None)
    if mine is None or mine["mean_abs_rel_error"] is None:
        return []
    text = (
        f"{mine['mean_abs_rel_error']:.2%} mean error, {mine['bias']:+.2%} bias on "
        f"{mine['held_out']} runs up to {RATIO:g} times dearer than those fitted"
    )
    if len(laws) > 1:
        text += f"; best near the frontier of {len(laws)} laws and weightings"
    found = [("back-test", text)]
    if isinstance(fit.reach, Reach):
        share = f"{_share(fit, fit.reach.error)} of {fit.law.response}"
        added = f"{share} at {RATIO:g} times the compute fitted"
        found.append(("beyond", f"intervals add {added}"))
    return found


def _curve_backtest(fit: Fit) -> list[tuple[str, str]]:
    """What the law said of curves, and of later parts, that it had not seen."""
    told = fit.backtest["curves"]
    left, name = told["left_out"], told["progress"]
    found = []
    if left["points"]:
        found.append(
            (
                "back-test",
                f"{left['mean_abs_rel_error']:.2%} mean error on each of {left['curves']} curves "
                f"left out, {left['last_point']:.2%} at its last point",
            )
        )
    found += [
        (
            "" if found or i else "back-test",
            f"{part['mean_abs_rel_error']:.2%} mean error on {part['points']} points up to "
            f"{part['ratio']:g} times the {name} fitted",
        )
        for i, part in enumerate(told["later"])
    ]
    if isinstance(fit.reach, CurveReach):
        twice = np.hypot(fit.reach.new, fit.reach.growth * np.log(2))
        found.append(
            (
                "unseen",
                f"intervals add {fit.reach.new:.2%} of loss for a curve, {twice:.2%} at twice "
                f"the {name} fitted",
            )
        )
    return found


def _estimates(fit: Fit) -> list[tuple[str, str, str, str]]:
    """Name, value with interval, standard error, meaning."""
    meanings = {p.name: p.meaning for p in fit.law.parameters}
    meanings |= {d.name: d.meaning for d in fit.law.derived}
    return [
        (name, str(one), format_number(one.stderr, 2), meanings[name])
        for name, one in {**fit.parameters, **fit.derived}.items()
    ]


def text(fit: Fit) -> str:
    """The summary for a terminal."""
    severe, others = divided(fit.law, fit.diagnosis.warnings)
    lines = ["=" * _WIDTH]
    lines += [f"! {notice}" for notice in severe]
    lines += [f"{name:<16} {value}" for name, value in _facts(fit)]
    lines.append("-" * _WIDTH)
    head = ("parameter", f"value [{fit.level:.0%} interval]", "std. error", "meaning")
    rows = [head, *_estimates(fit)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines += [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows
    ]
    if others:
        lines.append("-" * _WIDTH)
        lines += [f"! {notice}" for notice in others]
    lines.append("=" * _WIDTH)
    return "\n".join(lines)


def html(fit: Fit) -> str:
    """The summary for a notebook."""
    facts = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in _facts(fit)
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _estimates(fit)
    )
    head = ("parameter", f"value [{fit.level:.0%} interval]", "std. error", "meaning")
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    severe, others = map(_list, divided(fit.law, fit.diagnosis.warnings))
    return (
        f"<div class='scalelab-fit'>{severe}<table>{facts}</table>"
        f"<table><tr>{titles}</tr>{rows}</table>{others}</div>"
    )


def _list(notices: list[Notice]) -> str:
    items = "".join(
        f"<li><b>{escape(notice.code)}</b>: {escape(notice.message)}</li>" for notice in notices
    )
    return f"<ul>{items}</ul>" if items else ""
