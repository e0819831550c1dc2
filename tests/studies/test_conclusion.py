"""Verdicts of equivalence, and the sentences that say them."""

from __future__ import annotations

import math

import pytest

from scalelab.fitting import Estimate
from scalelab.studies.conclusion import (
    Check,
    Conclusion,
    Finding,
    Verdict,
    because,
    overall,
    phrase,
)

ABOUT = Check.about("alpha_N", 0.076, 0.02, "figure 1", "L(N) is a power law", "these are bytes")
MOST = Check.at_most("loss_increase", 0.03, "figure 5", "shape matters little", "small embeddings")
LEAST = Check.at_least("the gap", 0.0, "figure 7", "Transformers win")


def found(check: Check, low: float, high: float) -> Finding:
    return Finding(check, Estimate((low + high) / 2, low, high, 0.9))


AGREES, DIFFERS, OPEN = found(ABOUT, 0.07, 0.08), found(MOST, 0.04, 0.05), found(LEAST, -1, 1)


@pytest.mark.parametrize(
    ("check", "low", "high", "verdict"),
    [
        (ABOUT, 0.06, 0.09, "agrees"),
        (ABOUT, 0.056, 0.096, "agrees"),  # the ends of the region are inside it
        (ABOUT, 0.05, 0.09, "cannot tell"),
        (ABOUT, 0.0, 0.2, "cannot tell"),  # wider than the region on both sides
        (ABOUT, 0.1, 0.2, "differs"),
        (ABOUT, -0.1, 0.05, "differs"),
        (MOST, -math.inf, 0.03, "agrees"),
        (MOST, 0.02, 0.04, "cannot tell"),
        (MOST, 0.031, math.inf, "differs"),
        (LEAST, 0.0, math.inf, "agrees"),
        (LEAST, -0.1, 0.1, "cannot tell"),
        (LEAST, -0.2, -0.1, "differs"),
        (ABOUT, math.nan, math.nan, "cannot tell"),
        (LEAST, math.nan, 0.5, "cannot tell"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(
    check: Check, low: float, high: float, verdict: Verdict
) -> None:
    assert check.verdict(low, high) == verdict
    assert found(check, low, high).verdict == verdict


def test_a_claim_may_be_of_others() -> None:
    assert phrase([AGREES], "the guess") == "Agrees with the guess"
    assert phrase([DIFFERS], "the guess") == "Differs from the guess"


def test_what_could_not_be_measured_cannot_tell() -> None:
    assert Finding(ABOUT, None, "no runs").verdict == "cannot tell"


def test_names_are_spoken_as_words_but_symbols_stay() -> None:
    assert [check.spoken for check in (ABOUT, MOST, LEAST)] == [
        "alpha_N", "loss increase", "the gap",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("findings", "verdict", "words"),
    [
        ([], "cannot tell", "Cannot tell at this scale"),
        ([AGREES], "agrees", "Agrees with the paper"),
        ([DIFFERS], "differs", "Differs from the paper"),
        ([OPEN], "cannot tell", "Cannot tell at this scale"),
        (
            [AGREES, OPEN],
            "cannot tell",
            "Cannot tell at this scale (the gap open, 1 of 2 agree)",
        ),
        (
            [AGREES, DIFFERS, OPEN],
            "differs",
            "Differs from the paper in loss increase (1 agree, 1 open of 3 comparisons)",
        ),
        (
            [DIFFERS, AGREES],
            "differs",
            "Differs from the paper in loss increase (1 agree of 2 comparisons)",
        ),
    ],
)
def test_a_statement_begins_with_the_verdict_and_what_makes_it(
    findings: list[Finding], verdict: Verdict, words: str
) -> None:
    assert overall(findings) == verdict
    assert Conclusion("design", "Title", "statement", findings).verdict == verdict
    assert phrase(findings) == words


def test_reasons_are_given_for_what_differs_alone_and_once() -> None:
    assert because([AGREES, OPEN]) == ""
    assert because([found(LEAST, -2, -1)]) == "", "it has no caveat"
    assert because([AGREES, DIFFERS]) == (
        " What may be behind it: loss increase: small embeddings."
    )
    other = Check.at_most("heads", 0.03, "figure 5", "heads matter little", "small embeddings")
    steep = found(ABOUT, 0.2, 0.3)
    assert because([DIFFERS, steep, found(other, 0.1, 0.2)]) == (
        " What may be behind it: loss increase, heads: small embeddings; alpha_N: these are bytes."
    )


def test_what_was_measured_is_not_said_to_be_missing() -> None:
    check = Check.at_most("x", 1.0, "nowhere", "x is small")
    assert Finding(check, Estimate(0.5, 0.4, 0.6, 0.9), "no run has finished").why == ""
    assert Finding(check, None, "no run has finished").why == "no run has finished"
