"""Efficiency: the paper's law planted, laws with other optima, noise, missing runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import chinchilla
from planted_curves import evidence, steps_law, trunks
from scipy.optimize import minimize_scalar

from scalelab.studies.conclusion import Conclusion
from scalelab.studies.designs.efficiency import DESIGN
from scalelab.studies.evidence import Evidence
from scalelab.studies.joint import joint_of
from scalelab.studies.sample_efficiency import compare_pairs, reached


@pytest.fixture(scope="module")
def concluded() -> Conclusion:
    return DESIGN.conclude(evidence(trunks(steps_law())))


def findings(conclusion: Conclusion) -> dict[str, str]:
    return {finding.check.name: finding.verdict for finding in conclusion.findings}


def test_paper_planted_agrees(concluded: Conclusion) -> None:
    assert findings(concluded) == dict.fromkeys(findings(concluded), "agrees")
    numbers = concluded.numbers
    # Kaplan et al. 2020, appendix B.4, at alpha_N = .077 and alpha_S = .76
    assert numbers["params_against_converged"].estimate.value == pytest.approx(2.7, rel=0.1)
    assert numbers["times_fewer_steps"].estimate.value == pytest.approx(7.7, rel=0.15)
    papers = {picture.paper for picture in concluded.pictures}
    assert papers == {"figure 2 left", "figure 2 right", "figure 11", "figure 12"}


def test_optimum_and_cost_of_other_sizes_are_those_of_the_fitted_law() -> None:
    joint = joint_of(Evidence(own=(), ladder=trunks(chinchilla())))
    assert joint is not None
    flops = joint.reach("6N")
    at = joint.frontier(flops, "6N")

    def law(n: float, d: float) -> float:
        return float(joint.fit.law.loss(joint.fit.values, params=n, tokens=d))

    for j, c in enumerate(flops):
        found = minimize_scalar(
            lambda x, c=c: law(np.exp(x), c / 6 / np.exp(x)), bounds=(5, 20), method="bounded"
        )
        assert at.params[0, j] == pytest.approx(np.exp(found.x), rel=5e-3)
        assert at.loss[0, j] == pytest.approx(found.fun, rel=1e-5)
        assert 6 * at.params[0, j] * at.tokens[0, j] == pytest.approx(c, rel=1e-3)
    tokens = joint.tokens_to(2.2 * at.params, at.loss)[0]
    for n, d, loss in zip(2.2 * at.params[0], tokens, at.loss[0], strict=True):
        assert law(n, d) == pytest.approx(loss, rel=1e-6)


def test_another_law_differs() -> None:
    found = DESIGN.conclude(evidence(trunks(chinchilla(e=0.3, a=12.0, b=25.0, beta=0.2))))
    assert findings(found)["distance_from_convergence"] == "differs"
    assert found.verdict == "differs"
    assert found.statement.startswith("Differs")


def test_larger_sizes_that_learn_more_slowly_differ() -> None:
    # The larger the model, the more tokens to every loss.
    runs = trunks(lambda n, d: 1.0 + 40 * (n / 1e5) ** 0.1 / d**0.25)
    found = DESIGN.conclude(evidence(runs))
    assert findings(found)["pairs_where_larger_needs_more"] == "differs"
    exponent = found.numbers["tokens_exponent_of_size"].estimate
    assert exponent.value == pytest.approx(0.1 / 0.25, rel=0.15)


def test_much_noise_cannot_tell() -> None:
    runs = trunks(steps_law(), noise=0.03, shared=0.06)
    found = reached([run for run in runs if run.spec.kind == "trunk"])
    assert found is not None
    against = compare_pairs(found, 0.5, 0.9, 0).against
    assert against is not None
    assert against.low < 0.1 < against.high
    loud = DESIGN.conclude(evidence(trunks(steps_law(), noise=0.05, shared=0.3)))
    assert findings(loud)["distance_from_convergence"] == "cannot tell"


@pytest.mark.parametrize("kept", [0, 5, 11])
def test_missing_runs_are_said_not_raised(kept: int) -> None:
    runs = trunks(steps_law(), sizes=4)[:kept]
    found = DESIGN.conclude(evidence(runs))
    assert found.verdict == "cannot tell"
    assert any(finding.why for finding in found.findings)
    unfinished = [replace(run, result=None, curve=run.curve.clear()) for run in runs]
    assert DESIGN.conclude(evidence(unfinished)).verdict == "cannot tell"


def test_without_a_critical_batch_the_rest_is_concluded() -> None:
    found = DESIGN.conclude(Evidence(own=(), ladder=trunks(steps_law())))
    by_name = {finding.check.name: finding for finding in found.findings}
    assert by_name["compute_saved_by_stopping_early"].estimate is None
    assert by_name["extra_compute_at_2.2"].estimate is not None
