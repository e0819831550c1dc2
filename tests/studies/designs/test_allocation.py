"""Allocation: exponents of the paper's learning curves planted, other laws, noise, missing runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted import chinchilla
from planted_batch import batch_runs, critical
from planted_curves import CRITICAL, evidence, steps_law, trunks

from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.allocation import DESIGN
from scalelab.studies.evidence import Evidence

# What the paper's own exponents say (equations 6.4 to 6.7): alpha_C = 1 / (1/.76 + 1/.21 + 1/.077).
ALPHA_C = 1 / (1 / 0.76 + 1 / 0.21 + 1 / 0.077)


@pytest.fixture(scope="module")
def concluded() -> Conclusion:
    return DESIGN.conclude(evidence(trunks(steps_law())))


def findings(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


def value(conclusion: Conclusion, name: str) -> float:
    found = next(f.estimate for f in conclusion.findings if f.check.name == name)
    assert found is not None
    return found.value


def test_paper_planted_agrees_with_the_exponents_that_follow(concluded: Conclusion) -> None:
    assert findings(concluded) == dict.fromkeys(findings(concluded), "agrees")
    assert concluded.statement.startswith("Agrees")
    assert value(concluded, "N_exponent") == pytest.approx(ALPHA_C / 0.077, abs=0.03)
    assert value(concluded, "B_exponent") == pytest.approx(ALPHA_C / 0.21, abs=0.03)
    assert value(concluded, "S_exponent") == pytest.approx(ALPHA_C / 0.76, abs=0.03)
    by_alphas = concluded.numbers["N_exponent_by_alphas"].estimate
    assert by_alphas.value == pytest.approx(ALPHA_C / 0.077, abs=0.02)
    papers = {picture.paper for picture in concluded.pictures}
    assert papers == {"figure 3", "figure 13", "figure 14 left", "figure 14 right"}


def test_compute_is_the_product_of_what_grows(concluded: Conclusion) -> None:
    # C_min = 6 N B S_min, and D = 2 B S_min: exponents add up.
    grown = sum(value(concluded, f"{name}_exponent") for name in "NBS")
    assert grown == pytest.approx(1.0, abs=1e-3)
    both = value(concluded, "B_exponent") + value(concluded, "S_exponent")
    assert value(concluded, "D_exponent") == pytest.approx(both, abs=1e-9)


def test_chinchilla_planted_differs() -> None:
    found = DESIGN.conclude(evidence(trunks(chinchilla(alpha=0.4, beta=0.3, a=40.0))))
    assert findings(found)["N_exponent"] == "differs"
    assert findings(found)["D_exponent"] == "differs"
    assert found.statement.startswith("Differs")


def test_batch_that_hardly_depends_on_the_loss_leaves_the_growth_to_steps() -> None:
    flat = {"B_star": 2000.0, "alpha_B": 2.0}
    found = DESIGN.conclude(evidence(trunks(steps_law()), critical_batch=flat))
    assert findings(found)["B_exponent"] == "differs"
    assert findings(found)["least_lead"] == "differs"


def test_much_noise_cannot_tell() -> None:
    found = DESIGN.conclude(evidence(trunks(steps_law(), noise=0.05, shared=0.1)))
    assert findings(found)["N_exponent"] == "cannot tell"
    assert found.verdict == "cannot tell"


def test_how_well_the_batch_is_known_is_in_the_intervals() -> None:
    runs = trunks(steps_law())
    alone = DESIGN.conclude(evidence(runs))
    assert [notice.code for notice in alone.notices] == ["batch-without-interval"]
    rough = batch_runs(critical(CRITICAL["B_star"], CRITICAL["alpha_B"]), noise=0.005, luck=0.01)
    found = DESIGN.conclude(
        Evidence(own=(), ladder=runs, everything=[*runs, *rough], critical_batch=CRITICAL)
    )
    widths = []
    for conclusion in (alone, found):
        one = next(f.estimate for f in conclusion.findings if f.check.name == "B_exponent")
        assert one is not None
        widths.append(one.high - one.low)
    assert widths[1] > 1.5 * widths[0]
    assert not found.notices


@pytest.mark.parametrize("kept", [0, 5, 11])
def test_missing_runs_are_said_not_raised(kept: int) -> None:
    runs = trunks(steps_law(), sizes=4)[:kept]
    found = DESIGN.conclude(evidence(runs))
    assert found.verdict == "cannot tell"
    assert all(finding.why for finding in found.findings)
    unfinished = [replace(run, result=None, curve=run.curve.clear()) for run in runs]
    assert DESIGN.conclude(evidence(unfinished)).verdict == "cannot tell"


def test_unknown_critical_batch_is_said() -> None:
    found = DESIGN.conclude(Evidence(own=(), ladder=trunks(steps_law())))
    assert "critical batch" in found.statement
    assert found.verdict == "cannot tell"
