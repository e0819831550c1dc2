"""Learning curves: the paper's law planted, other exponents, ones that move with size, noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import Law
from planted_batch import batch_runs, critical
from planted_curves import CRITICAL, evidence, steps_law, trunks, with_noise_scale

from scalelab.studies.analysis.conversion import conversion
from scalelab.studies.analysis.curve_laws import NO_FLOOR, through_trunks
from scalelab.studies.analysis.early_parts import guesses
from scalelab.studies.analysis.trunk_curves import at_best, trunk_points
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.learning_curves import DESIGN
from scalelab.studies.evidence import Evidence


@pytest.fixture(scope="module")
def concluded() -> Conclusion:
    with pytest.MonkeyPatch.context() as patch:  # fewer refits, for speed
        patch.setattr("scalelab.studies.analysis.conversion.LAWS", 12)
        patch.setattr("scalelab.studies.analysis.curve_fits.LAWS", 5)
        return DESIGN.conclude(measured(steps_law()))


def measured(law: Law) -> Evidence:
    """A ladder under a law, the critical batch measured at its losses."""
    return evidence(with_noise_scale(trunks(law)))


def findings(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


def test_paper_planted_agrees_in_every_comparison(concluded: Conclusion) -> None:
    assert concluded.verdict == "agrees"
    assert concluded.statement.startswith("Agrees")
    alpha = concluded.numbers["alpha_S"].estimate
    assert alpha.value == pytest.approx(0.76, abs=0.03)
    assert alpha.low < 0.76 < alpha.high
    assert concluded.pictures[0].paper == "figure 4, right"
    # With no critical batch in it the exponent is that of another law: smaller, for at one batch
    # each step counts for less as the critical batch grows.
    assert concluded.numbers["alpha_S_as_trained"].estimate.high < 0.6
    assert concluded.numbers["S_min_follows_S"].estimate.value > 0.5


def test_what_is_not_known_of_the_critical_batch_is_in_the_interval(
    concluded: Conclusion,
) -> None:
    exact = through_trunks(
        NO_FLOOR, at_best(trunk_points(trunks(steps_law())), CRITICAL), evidence([])
    )
    assert exact is not None
    one, known = concluded.numbers["alpha_S"].estimate, exact.parameters["alpha_S"]
    assert one.high - one.low > 1.5 * (known.high - known.low)


def test_where_s_min_is_an_extrapolation_alpha_s_is_not_told() -> None:
    # A batch far below the critical one: what S_min adds up to is the law of the critical batch.
    far = {"B_star": 4e6, "alpha_B": 0.21}
    found = DESIGN.conclude(evidence(trunks(steps_law()), critical_batch=far))
    for finding in found.findings[:2]:
        assert finding.estimate is None
        assert finding.why.startswith("the batch of 1,024 tokens is 1/15")
        assert "S_min is an extrapolation" in finding.why
    assert "over the steps at the batch trained" in found.statement
    alpha_n = found.findings[2].estimate
    assert alpha_n is not None
    # What size leaves to long training hangs on how long that is: both guesses are in.
    for name in ("alpha_N", "alpha_N_as_trained"):
        own = found.numbers[name].estimate
        assert alpha_n.low <= own.low
        assert own.high <= alpha_n.high


def test_losses_beyond_the_measurement_are_an_extrapolation_too() -> None:
    runs = trunks(steps_law())
    sweep = batch_runs(critical(CRITICAL["B_star"], CRITICAL["alpha_B"]))
    everything = [*runs, *sweep]
    seen = Evidence(own=(), ladder=runs, everything=everything, critical_batch=CRITICAL)
    points = at_best(trunk_points(seen.trunks), CRITICAL)
    found = conversion(points, seen)
    assert found.follows > 0.5
    assert found.inside < 0.6  # the sweep ends at 1.98 nats, the ladder at 1.47
    assert found.doubt


def test_early_parts_predict_better_with_the_other_sizes(concluded: Conclusion) -> None:
    for share in ("10pct", "25pct", "50pct"):
        together = concluded.numbers[f"error_{share}_with_others"].estimate.value
        alone = concluded.numbers.get(f"error_{share}_alone")
        assert together < 0.005
        assert alone is None or together < alone.estimate.value
        assert concluded.numbers[f"coverage_{share}_with_others"].estimate.value >= 0.6


@pytest.mark.usefixtures("few_laws")
def test_other_exponent_differs() -> None:
    found = DESIGN.conclude(measured(steps_law(alpha_n=0.15, alpha_s=0.45, n_c=5e5)))
    assert findings(found)["alpha_S"] == "differs"
    assert findings(found)["alpha_N"] == "differs"
    assert found.statement.startswith("Differs")
    assert "What may be behind it: alpha_S: S_min is computed" in found.statement


@pytest.mark.usefixtures("few_laws")
def test_exponent_that_moves_with_size_differs_in_the_trend() -> None:
    law = steps_law(exponent_of=lambda n: 0.76 * (n / 1e5) ** 0.15)
    found = DESIGN.conclude(measured(law))
    assert findings(found)["alpha_S_per_decade_of_N"] == "differs"
    slope = found.findings[1].estimate
    assert slope is not None
    # d(.76 (N/1e5)^.15) / d log10 N at the middle of the ladder, N = 65k
    assert slope.value == pytest.approx(0.76 * 0.15 * np.log(10) * 0.65**0.15, abs=0.06)


def test_floor_is_found_where_there_is_one(concluded: Conclusion) -> None:
    def with_floor(n: float, d: float) -> float:
        # Far above the critical batch S_min is D / B_crit: here B_crit = 1 token of nothing.
        return 1.0 + 4 / n**0.2 + 8 / (d / 1024) ** 0.5

    tiny = {"B_star": 1e-3, "alpha_B": 0.21}
    found = DESIGN.conclude(evidence(trunks(with_floor), critical_batch=tiny))
    numbers = found.numbers
    assert numbers["misfit_with_floor"].estimate.value < numbers["misfit_no_floor"].estimate.value
    assert numbers["floor"].estimate.low < 1.0 < numbers["floor"].estimate.high
    assert concluded.numbers["floor"].estimate.low < 0.1


@pytest.mark.usefixtures("few_laws")
def test_much_noise_cannot_tell() -> None:
    runs = with_noise_scale(trunks(steps_law(), noise=0.03, shared=0.05))
    found = DESIGN.conclude(evidence(runs))
    verdicts = findings(found)
    assert verdicts["alpha_S"] == "cannot tell"
    assert verdicts["alpha_S_per_decade_of_N"] == "cannot tell"
    assert found.verdict == "cannot tell"


@pytest.mark.parametrize("sizes", [0, 1, 3])
def test_missing_runs_are_said_not_raised(sizes: int) -> None:
    runs = [] if not sizes else trunks(steps_law(), sizes=max(2, sizes))[: 5 * sizes]
    found = DESIGN.conclude(evidence(runs))
    assert found.verdict == "cannot tell"
    assert all(finding.why for finding in found.findings)
    unfinished = [replace(run, result=None) for run in runs]
    assert DESIGN.conclude(evidence(unfinished)).verdict == "cannot tell"


def test_unknown_critical_batch_is_said() -> None:
    found = DESIGN.conclude(Evidence(own=(), ladder=trunks(steps_law())))
    assert "critical batch" in found.statement


def test_without_a_law_of_others_a_curve_predicts_alone() -> None:
    points = at_best(trunk_points(trunks(steps_law(), noise=0.0, shared=0.0)), CRITICAL)
    own = points.partition_by("trunk", maintain_order=True)[4]
    (guess,) = guesses(own, 0.5, None, CRITICAL)
    assert guess.way == "alone"
    assert guess.predicted == pytest.approx(guess.measured, rel=2e-3)
