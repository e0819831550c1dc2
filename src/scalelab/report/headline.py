"""What was found: a line for each design, five for a ladder; on the page and the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelab.report.figures import base
from scalelab.report.figures.check import residual_rows
from scalelab.units import format_count, format_estimate, format_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalelab.fitting import Estimate
    from scalelab.studies.conclusion import Conclusion
    from scalelab.studies.result import StudyResult


@dataclass(frozen=True)
class Finding:
    """One line of the headline: a short label and a sentence or two."""

    label: str
    text: str

    def __str__(self) -> str:
        """As the terminal shows it."""
        return f"{self.label}: {self.text}"


def headline(result: StudyResult) -> tuple[Finding, ...]:
    """``shape: STATEMENT`` for each design; then the ladder, where there is one.

    Before a statement that does not begin with the verdict, as a user's own may not, stands that.
    """
    designs = tuple(
        Finding(
            c.design,
            c.statement
            if c.statement.lower().startswith(c.verdict)
            else f"{c.verdict}. {c.statement}",
        )
        for c in result.conclusions
    )
    return designs + (of_ladder(result) if result.has_ladder else ())


def of_designs(conclusions: Sequence[Conclusion]) -> Finding:
    """How many designs agree with the paper, differ, or cannot tell."""
    found = [conclusion.verdict for conclusion in conclusions]
    agree, differ = found.count("agrees"), found.count("differs")
    return Finding(
        "Findings",
        f"{agree} of {len(found)} designs {'agrees' if agree == 1 else 'agree'} with the paper, "
        f"{differ} {'differs' if differ == 1 else 'differ'}, "
        f"{len(found) - agree - differ} cannot tell at this scale.",
    )


def of_ladder(result: StudyResult) -> tuple[Finding, ...]:
    """Held-out prediction, exponents, compute-optimal split, savings, and what limits them."""
    return (
        Finding("Prediction", _prediction(result)),
        Finding("Exponents", _exponents(result)),
        Finding("Allocation", _allocation(result)),
        Finding("Saved", _saved(result)),
        Finding("Caveats", _caveats(result)),
    )


def _prediction(result: StudyResult) -> str:
    held = result.held_out
    if not held:
        return f"No prediction to check: {base.why_missing(result, 'held_out')}."
    last = max(held, key=lambda run: (run.params, run.tokens))
    worst = max(abs(run.relative_error) for run in held)
    predicted = last.predicted
    covered = sum(run.covered for run in held)
    others = (
        f" All {len(held)} held-out runs: within {worst:.1%}, {covered} inside their interval."
        if len(held) > 1
        else f" The measured loss lies {'in' if covered else 'outside'} the interval."
    )
    return (
        f"{format_count(last.params)} parameters on {format_count(last.tokens)} tokens, a size the "
        f"fit has not seen: predicted {_estimate(predicted)} ({predicted.level:.0%}), measured "
        f"{last.measured:.4f} nats/token, {last.relative_error:+.1%}.{others}"
    )


_SHOWN = {
    "chinchilla": {"alpha": "N", "beta": "D", "E": "floor"},
    "kaplan": {"alpha_N": "N", "alpha_D": "D"},
}


def _exponents(result: StudyResult) -> str:
    parts = []
    for law, names in _SHOWN.items():
        fit = result.fits.get(law)
        if fit is None:
            continue
        listed = ", ".join(
            f"{name} ({what}) {_estimate(fit.parameters[name])}" for name, what in names.items()
        )
        parts.append(f"{base.form_name(fit)}: {listed}")
    if not parts:
        return base.why_no_surface(result)
    return "; ".join(parts) + " (90% intervals)."


def _estimate(estimate: Estimate) -> str:
    return format_estimate(estimate.value, estimate.low, estimate.high)


def _allocation(result: StudyResult) -> str:
    fit = base.surface(result)
    exponent = fit.derived.get("N_opt_exponent") if fit else None
    if fit is None or exponent is None:
        return "No compute-optimal split: no fit gives one."
    shown = _estimate(exponent)
    data = format_estimate(1 - exponent.value, 1 - exponent.high, 1 - exponent.low)
    return (
        f"The best size grows as a power of compute, exponent {shown}, and its data with exponent "
        f"{data} (C = 6 N D). Kaplan et al. 2020: 0.73 and 0.27; Hoffmann et al. 2022: about 0.5."
    )


def _saved(result: StudyResult) -> str:
    trained = result.savings.get("tokens_trained", 0.0)
    separate = result.savings.get("tokens_if_separate", 0.0)
    if not (trained > 0 and separate > 0):
        return "No stable trunk was shared, so nothing was saved against separate runs."
    return (
        f"Short decays branched off one stable trunk per size: {format_count(trained)} tokens "
        f"trained instead of {format_count(separate)} in separate runs, "
        f"{max(0.0, 1 - trained / separate):.0%} less."
    )


def _caveats(result: StudyResult) -> str:
    parts = []
    fitted = [row["residual"] for row in residual_rows(result) if not row["held_out"]]
    if fitted:
        scatter = math.sqrt(sum(value**2 for value in fitted) / len(fitted))
        parts.append(
            f"{len(fitted)} runs fitted; they scatter {format_number(scatter, 2)}% about the fit"
        )
    if "status" in result.runs.columns:
        for status in ("diverged", "failed", "running"):
            names = result.runs.filter(result.runs["status"] == status)["run"].to_list()
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                shown = ", ".join(names[:3]) + more
                parts.append(f"{len(names)} {status}, left out: {shown}")
    fit = base.surface(result)
    warnings = list(fit.diagnosis.warnings) if fit else []
    codes = list(dict.fromkeys(notice.code for notice in [*warnings, *result.notices]))
    if codes:
        parts.append(f"notices: {', '.join(codes)}")
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "." if parts else "None noted."
