"""From a study's folder to what it found: table, fits, the check on the held-out size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from scalelab.corpus import Corpus
from scalelab.counting import flops_per_token
from scalelab.errors import FitError, Notice
from scalelab.execution.execute import Job
from scalelab.execution.study import curve_table, metrics_notices, run_table
from scalelab.fitting import SLICES, Estimate, Fit, fit
from scalelab.studies.decide import Decisions
from scalelab.studies.ladder import Ladder, own_tokens
from scalelab.studies.result import SURFACES, HeldOut, PlannedRun, StudyResult
from scalelab.studies.sizes import size_of

LEVEL = 0.9

SHORT_CONVENTIONS = {"params": "non-embedding", "tokens": "processed, one epoch"}

CONVENTIONS = {
    "params": "non-embedding parameters, the matrices of the layers (12 n_layer d_model^2)",
    "tokens": "tokens processed in training, one pass, no repeats; not Kaplan's D, which is "
    "the size of a data set trained on to early stopping",
    "flops": "training FLOP of every matrix product as executed, 6 (N + vocabulary d_model) "
    "+ 12 n_layer context d_model a token; the table also holds 6N, kaplan and chinchilla counts",
    "loss": "held-out loss in nats per token, the same tokens for every run",
}

NOISE_FALLS = 0.25
"""How the scatter of sizes about any law falls with N in ladders of 3k to 400k parameters, N^0 to
N^-.5 (measured on the embedded text and on books: docs/LOG.md)."""


def conclude(
    study: Path,
    ladder: Ladder | None,
    decisions: Decisions,
    corpus: Corpus,
    *,
    failures: Mapping[str, str],
    settings: Mapping[str, str],
    machine: Mapping[str, str],
    command: str,
) -> StudyResult:
    """Fit the ladder's runs that have finished and check the fit on the held-out size.

    ladder: None where the study has none: then only what was decided is said.
    """
    if ladder is None:
        decisions = decisions.without_ladder()
    jobs = () if ladder is None else ladder.jobs
    specs = [job.spec for job in jobs]
    held = frozenset[str]() if ladder is None else ladder.held_out
    runs = run_table(study, specs, held, failures)
    per_token = {spec.run: flops_per_token(spec.shape) for spec in specs}
    fits, missing = _fits(runs) if specs else ({}, {})
    held_out = check(fits[SURFACES[0]], runs) if SURFACES[0] in fits else ()
    if specs and not held_out:
        missing["held_out"] = missing.get(
            SURFACES[0], "no run of the largest size has finished, so nothing checks the fit"
        )
    notices = [
        *corpus.notices,
        *decisions.notices,
        *_run_notices(runs, failures),
        *metrics_notices(study, specs),
    ]
    return StudyResult(
        name=study.name,
        title=f"Scaling study on {corpus.name}",
        runs=runs,
        curves=curve_table(study, specs, per_token),
        fits=fits,
        held_out=held_out,
        missing=missing,
        plan=tuple(planned_run(job, why(job.spec.run, held, job.spec.kind)) for job in jobs),
        choices=decisions.choices,
        corpus=corpus.facts(),
        conventions=CONVENTIONS,
        savings={}
        if ladder is None
        else {
            "tokens_trained": ladder.trained_tokens,
            "tokens_if_separate": ladder.separate_tokens,
        },
        settings=dict(settings),
        machine=dict(machine),
        notices=tuple(notices),
        command=command,
    )


def _fits(runs: pl.DataFrame) -> tuple[dict[str, Fit], dict[str, str]]:
    """Every fit of the ladder by name, and why others could not be made."""
    fits: dict[str, Fit] = {}
    missing: dict[str, str] = {}
    makers: dict[str, Callable[[pl.DataFrame], Fit]] = {
        **{
            law: partial(fit, law, falls=NOISE_FALLS, conventions=SHORT_CONVENTIONS)
            for law in SURFACES
        },
        **SLICES,
    }
    for name, make in makers.items():
        try:
            fits[name] = make(runs)
        except FitError as error:
            missing[name] = str(error)
    return fits, missing


def planned_run(job: Job, why: str) -> PlannedRun:
    """A run of the plan as the report lists it."""
    spec = job.spec
    return PlannedRun(
        run=spec.run,
        params=size_of(spec.shape),
        tokens=spec.tokens,
        batch_tokens=spec.batch_tokens,
        lr=spec.lr,
        flops=flops_per_token(spec.shape) * own_tokens(spec),
        seconds=job.seconds,
        why=why,
    )


def why(run: str, held_out: Collection[str], kind: str) -> str:
    """Why a run is in the plan, in a few words."""
    if kind == "trunk":
        return "stable trunk: its branches share it"
    return "held out: checks the fit" if run in held_out else "fitted"


def check(model: Fit, runs: pl.DataFrame) -> tuple[HeldOut, ...]:
    """Each finished held-out run beside its prediction, with the interval for a new run."""
    unseen = runs.filter(pl.col("held_out") & (pl.col("status") == "finished")).sort("tokens")
    if unseen.is_empty():
        return ()
    predicted = model.predict(
        params=unseen["params"].to_numpy().astype(np.float64),
        tokens=unseen["tokens"].to_numpy().astype(np.float64),
        level=LEVEL,
        new_run=True,
    )
    return tuple(
        HeldOut(
            run=row["run"],
            params=row["params"],
            tokens=row["tokens"],
            measured=row["loss"],
            predicted=Estimate(
                value=float(predicted.value[i]),
                low=float(predicted.low[i]),
                high=float(predicted.high[i]),
                level=LEVEL,
                stderr=float("nan"),
            ),
        )
        for i, row in enumerate(unseen.iter_rows(named=True))
    )


def _run_notices(runs: pl.DataFrame, failures: Mapping[str, str]) -> list[Notice]:
    notices = [
        Notice("run-failed", f"{run}: {reason}. The same command tries it again.")
        for run, reason in failures.items()
    ]
    rows = runs.iter_rows(named=True)
    diverged = [row["run"] for row in rows if row["status"] == "diverged"]
    if diverged:
        notices.append(Notice("diverged", f"left out of the fits, by name: {', '.join(diverged)}."))
    return notices
