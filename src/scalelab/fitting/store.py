"""Fits on disk: JSON that a person can read and that gives back the same bits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scalelab.errors import Notice, RecordError, SpecError
from scalelab.fitting.diagnosis import Diagnosis
from scalelab.fitting.estimator import Estimator
from scalelab.fitting.intervals import Intervals
from scalelab.fitting.result import CurveReach, Fit, Reach
from scalelab.laws import LAWS, Law, Parameter, column_of, custom_law, get_law
from scalelab.units import finite

FORMAT = "scalelab.fit/3"


def save(fit: Fit, path: Path) -> Path:
    """Write `fit` to `path`: the public answer first, then all that `load` needs."""
    state: dict[str, Any] = {
        "column": column_of(fit.law),
        "text": fit.law.text,
        "response": fit.law.response,
        "raw": list(fit.law.raw),
        "signed": list(fit.law.signed),
        "scale": fit.law.scale,
        "restrictions": _restrictions(fit.law),
        "parameters": [_parameter(parameter) for parameter in fit.law.parameters],
        "inputs": list(fit.law.inputs),
        "names": list(fit.law.names),
        "theta": fit.theta.tolist(),
        "noise": list(fit.noise),
        "objective": fit.objective,
        "left_out": dict(fit.left_out),
        "estimator": vars(fit.estimator),
        "intervals": vars(fit.intervals),
        "level": fit.level,
        "ranges": {name: list(values) for name, values in fit.ranges.items()},
        "condition_number": finite(fit.diagnosis.condition_number),
        "lost": list(fit.diagnosis.lost),
        "fingerprint": fit.fingerprint,
        "seed": fit.seed,
        "draw_theta": fit.draw_theta.tolist(),
        "draw_noise": fit.draw_noise.tolist(),
        "rows": dict(fit.rows),
        "profile": {n: [finite(e) for e in ends] for n, ends in fit.profile.items()},
        "reach": None if fit.reach is None else finite(vars(fit.reach)),
    }
    _refuse_other(path)
    answer = {"format": FORMAT, **fit.to_dict(), "state": state}
    aside = path.with_name(path.name + ".part")
    try:
        aside.write_text(json.dumps(answer, allow_nan=False), encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror or error}).") from error
    return path


def _refuse_other(path: Path) -> None:
    """A file that is no fit is somebody's data: it is not written over."""
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8") as file:
            ours = file.read(64).startswith('{"format": "scalelab.fit/')
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise RecordError(f"{path} exists and is not a saved fit; choose another name.")


def load(path: Path, law: Law | None = None) -> Fit:
    """Read what `save` wrote. Raises RecordError for anything else."""
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); give a saved fit.") from None
    except ValueError:
        raise RecordError(f"{path}: is not JSON; give a file that Fit.save wrote.") from None
    if not isinstance(answer, dict) or answer.get("format") != FORMAT:
        seen = answer.get("format") if isinstance(answer, dict) else type(answer).__name__
        raise RecordError(f"{path}: format is {seen!r}; expected {FORMAT!r}, as Fit.save writes.")
    try:
        return _restore(answer, law)
    except (KeyError, TypeError, ValueError, SpecError) as error:
        raise RecordError(
            f"{path}: is damaged ({type(error).__name__}: {error}); save the fit again."
        ) from None


def _restore(answer: dict[str, Any], law: Law | None) -> Fit:
    state, diagnosis = answer["state"], answer["diagnosis"]
    inputs = tuple(state["inputs"])
    if law is None:
        law = _law(answer["law"], state)
    if law.names != tuple(state["names"]) or law.inputs != inputs:
        raise RecordError(
            f"law {law.name} has parameters {', '.join(law.names)} over {', '.join(law.inputs)}; "
            f"the fit has {', '.join(state['names'])} over {', '.join(inputs)}. Fit again."
        )
    theta, draws, noise = (
        np.array(state[name], dtype=float) for name in ("theta", "draw_theta", "draw_noise")
    )
    if theta.shape != (len(law.names),) or draws.shape != (len(noise), *theta.shape):
        raise ValueError(f"theta is {theta.shape}, its draws are {draws.shape}")
    condition = state["condition_number"]
    between, within = state["noise"]
    return Fit(
        law=law,
        theta=theta,
        draw_theta=draws,
        noise=(between, within),
        draw_noise=noise,
        objective=state["objective"],
        runs=answer["runs"],
        left_out=state["left_out"],
        estimator=Estimator(**state["estimator"]),
        intervals=Intervals(**state["intervals"]),
        level=state["level"],
        ranges={name: (low, high, n) for name, (low, high, n) in state["ranges"].items()},
        conventions=answer["conventions"],
        diagnosis=Diagnosis(
            diagnosis["starts"],
            diagnosis["starts_agreeing"],
            float("inf") if condition is None else condition,
            tuple(Notice(**notice) for notice in diagnosis["warnings"]),
            tuple(state.get("lost", ())),
        ),
        fingerprint=state["fingerprint"],
        seed=state["seed"],
        rows=state["rows"],
        backtest=answer["backtest"],
        profile={
            name: (low, float("inf") if high is None else high)
            for name, (low, high) in state["profile"].items()
        },
        reach=None if state["reach"] is None else _reach(state["reach"]),
    )


def _reach(row: dict[str, Any]) -> Reach | CurveReach:
    if "progress" in row:
        frontier = tuple((fall, progress) for fall, progress in row["frontier"])
        return CurveReach(**{**row, "frontier": frontier})
    return Reach(**{name: np.nan if value is None else value for name, value in row.items()})


def _law(name: str, state: dict[str, Any]) -> Law:
    """The law that was fitted, from the registry or from its text."""
    held = state["restrictions"]
    fixed, tied = held["fixed"], held["tied"]
    if state["text"]:
        free = {row["name"]: _read_parameter(row) for row in state["parameters"]}
        # What is fixed or tied is no parameter any more, and must be none of the inputs either.
        gone: list[Parameter | str] = [
            replace(free[tied[n]], name=n) if n in tied else n for n in (*fixed, *tied)
        ]
        law = custom_law(
            state["text"],
            [*free.values(), *gone],
            inputs=state["inputs"],
            name=name,
            response=state["response"],
        )
        law = replace(
            law, raw=tuple(state["raw"]), signed=tuple(state["signed"]), scale=state["scale"]
        )
    elif name not in LAWS:
        raise RecordError(f"law {name!r} is not in the registry; pass it: Fit.load(path, law=...).")
    else:
        law = get_law(name, state["column"])
        if law.response != state["response"]:
            law = replace(law, response=state["response"])
    bounds = {n: _ends(*ends) for n, ends in held["bounds"].items()}
    return law.restrict(fixed, tied, bounds)


def _restrictions(law: Law) -> dict[str, Any]:
    held = law.restrictions
    bounds = {name: [finite(end) for end in ends] for name, ends in held.bounds.items()}
    return {"fixed": dict(held.fixed), "tied": dict(held.tied), "bounds": bounds}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """All but the grid, which only a new fit needs."""
    return {
        "name": parameter.name,
        "meaning": parameter.meaning,
        "low": finite(parameter.low),
        "high": finite(parameter.high),
        "log": parameter.log,
        "prior": parameter.prior and list(parameter.prior),
        "open": parameter.open,
        "bends": parameter.bends,
    }


def _read_parameter(row: dict[str, Any]) -> Parameter:
    low, high = _ends(row["low"], row["high"])
    prior = row["prior"] and (row["prior"][0], row["prior"][1])
    return Parameter(
        row["name"],
        row["meaning"],
        low,
        high,
        row["log"],
        prior,
        row["open"],
        bends=row["bends"],
    )


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    """JSON has no infinity."""
    return -np.inf if low is None else low, np.inf if high is None else high
