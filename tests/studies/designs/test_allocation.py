"""Allocation: exponents of the paper's learning curves planted, other laws, noise, missing runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import chinchilla
from planted_batch import batch_runs, critical
from planted_curves import CRITICAL, evidence, steps_law, trunks, with_noise_scale

from scalelab.studies.analysis.growth import Growth, within
from scalelab.studies.analysis.joint_forms import forms
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.allocation import DESIGN
from scalelab.studies.evidence import Evidence

# What the paper's own exponents say (equations 6.4 to 6.7): alpha_C = 1 / (1/.76 + 1/.21 + 1/.077).
ALPHA_C = 1 / (1 / 0.76 + 1 / 0.21 + 1 / 0.077)


@pytest.fixture(scope="module")
def concluded() -> Conclusion:
    return DESIGN.conclude(evidence(with_noise_scale(trunks(steps_law()))))


def findings(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


def value(conclusion: Conclusion, name: str) -> float:
    """Of a check, else of a number."""
    by_name = {finding.check.name: finding.estimate for finding in conclusion.findings}
    found = by_name[name] if name in by_name else conclusion.numbers[name].estimate
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
    assert papers == {"figure 3", "figure 13", "figure 14, left", "figure 14, right"}


def test_compute_is_the_product_of_what_grows(concluded: Conclusion) -> None:
    # C_min = 6 N B S_min, and D = 2 B S_min: two of the exponents are measured, two follow.
    assert {finding.check.name for finding in concluded.findings} == {
        *("N_exponent", "B_exponent", "least_lead")
    }
    assert value(concluded, "N_exponent") + value(concluded, "D_exponent") == pytest.approx(1.0)
    both = value(concluded, "B_exponent") + value(concluded, "S_exponent")
    assert value(concluded, "D_exponent") == pytest.approx(both, abs=0.02)


def test_beyond_the_losses_of_the_sweep_the_batch_is_not_told() -> None:
    runs = trunks(steps_law(n_c=8e6))  # the frontier begins below 1.98 nats, where the sweep ends
    sweep = batch_runs(critical(CRITICAL["B_star"], CRITICAL["alpha_B"]), noise=0.005, luck=0.01)
    everything = [*runs, *sweep]
    found = DESIGN.conclude(
        Evidence(own=(), ladder=runs, everything=everything, critical_batch=CRITICAL)
    )
    assert findings(found)["N_exponent"] == "agrees"
    for finding in found.findings[1:]:
        assert finding.estimate is None
        assert "B is extrapolated" in finding.why
    assert "of batch and steps nothing can be told" in found.statement
    assert "extrapolated" in found.numbers["B_exponent"].meaning


def test_within_takes_the_part_of_the_frontier_that_was_measured() -> None:
    joint = forms(evidence(trunks(steps_law())))["curves"]
    law = (np.full(301, np.log(CRITICAL["B_star"])), np.full(301, 1 / CRITICAL["alpha_B"]))
    growth = Growth.of(joint, law)
    assert growth is not None
    inner = within(growth, joint, law, (1.6, 1.9))
    assert inner is not None
    assert inner.constant[0, [0, -1]] == pytest.approx([1.9, 1.6], rel=0.005)
    # At one C_min all draws are of it: their product is that of the fit.
    assert inner.size * inner.batch * inner.steps * 6 == pytest.approx(
        np.broadcast_to(inner.flops, inner.size.shape)
    )
    assert within(growth, joint, law, (2.5, 3.0)) is None
    assert within(growth, joint, law, (1.7, 1.72)) is None


def test_chinchilla_planted_differs() -> None:
    found = DESIGN.conclude(evidence(trunks(chinchilla(alpha=0.4, beta=0.3, a=40.0))))
    assert findings(found)["N_exponent"] == "differs"
    assert found.statement.startswith("Differs")
    assert "the .5 of Hoffmann" in found.statement
    assert "recipe and counting" in found.statement


@pytest.mark.usefixtures("few_laws")
def test_batch_that_hardly_depends_on_the_loss_leaves_the_growth_to_steps() -> None:
    flat = {"B_star": 2000.0, "alpha_B": 2.0}
    runs = with_noise_scale(trunks(steps_law()), critical(flat["B_star"], flat["alpha_B"]))
    found = DESIGN.conclude(evidence(runs, critical_batch=flat))
    assert findings(found)["B_exponent"] == "differs"
    assert findings(found)["least_lead"] == "differs"


def test_much_noise_cannot_tell() -> None:
    found = DESIGN.conclude(evidence(trunks(steps_law(), noise=0.05, shared=0.1)))
    assert findings(found)["N_exponent"] == "cannot tell"
    assert found.verdict == "cannot tell"


def test_how_well_the_batch_is_known_is_in_the_intervals(concluded: Conclusion) -> None:
    alone = DESIGN.conclude(evidence(trunks(steps_law())))
    assert [notice.code for notice in alone.notices] == ["batch-without-interval"]
    assert not concluded.notices
    widths = []
    for conclusion in (alone, concluded):
        one = conclusion.numbers["B_exponent_coupled"].estimate
        widths.append(one.high - one.low)
    assert widths[1] > 1.5 * widths[0]


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
