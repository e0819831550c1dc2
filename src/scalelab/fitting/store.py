"""Fits on disk: JSON that a person can read and that gives back the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from scalelab.errors import Notice, RecordError
from scalelab.fitting.diagnosis import Diagnosis
from scalelab.fitting.estimator import Estimator
from scalelab.fitting.intervals import Intervals
from scalelab.fitting.result import Fit
from scalelab.laws import LAWS, Law, get_law

FORMAT = "scalelab.fit/1"


def save(fit: Fit, path: Path) -> Path:
    """Write `fit` to `path`: the public answer first, then all that `load` needs."""
    state: dict[str, Any] = {
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
        "condition_number": _number(fit.diagnosis.condition_number),
        "fingerprint": fit.fingerprint,
        "seed": fit.seed,
        "draw_theta": fit.draw_theta.tolist(),
        "draw_noise": fit.draw_noise.tolist(),
    }
    answer = {"format": FORMAT, **fit.to_dict(), "state": state}
    aside = path.with_name(path.name + ".part")
    try:
        aside.write_text(json.dumps(answer, allow_nan=False), encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror or error}).") from error
    return path


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
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"{path}: is damaged ({type(error).__name__}: {error}); save the fit again."
        ) from None


def _restore(answer: dict[str, Any], law: Law | None) -> Fit:
    state, diagnosis = answer["state"], answer["diagnosis"]
    inputs = tuple(state["inputs"])
    if law is None:
        known = LAWS.get(answer["law"])
        if known is None:
            raise RecordError(
                f"law {answer['law']!r} is not in the registry; pass it: Fit.load(path, law=...)."
            )
        law = known if known.inputs == inputs else get_law(known.name, inputs[0])
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
        ),
        fingerprint=state["fingerprint"],
        seed=state["seed"],
    )


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
