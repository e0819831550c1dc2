"""B_crit(L) = B_star / L^(1/alpha_B), by each way of measuring it; and the one that others use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from scalelab.errors import FitError
from scalelab.fitting import Estimate, Fit, fit
from scalelab.fitting.result import estimate
from scalelab.laws import Array, Parameter, custom_law
from scalelab.studies.analysis.batch_branches import Checkpoint
from scalelab.studies.analysis.batch_sweep import DRAWS, fit_crossings, read_sweep
from scalelab.studies.analysis.noise_scale import noise_points
from scalelab.studies.evidence import Evidence, Run

PAPER_ALPHA = 0.21
"""alpha_B (paper: Kaplan et al. 2020, equation 5.3)."""

TRUNK = "critical-batch-trunk"
"""How the id of the design's own trunk begins."""

NO_SOUND = (
    "without batches whose best rate is the lowest or the highest tried, and losses whose critical "
    "batch exceeds every batch tried, too little of the sweep is left to know its slope"
)
"""Where the sweep has no sound part."""

VAGUE = 4.0
"""An alpha_B whose interval spans more than this factor is no slope to extrapolate by: at byte
losses of 1.5 to 2.5 nats it would make of B_crit anything. (assumed)"""


def all_runs(evidence: Evidence) -> list[Run]:
    """The design's runs and everybody's, each id once."""
    runs = (*evidence.own, *evidence.ladder, *evidence.everything)
    return list({run.spec.run: run for run in runs}.values())


def constant_runs(evidence: Evidence) -> list[Run]:
    """Trunks at constant rate: the ladder's and the design's own, smallest size first."""
    ladder = {run.spec.run for run in evidence.trunks}
    found = [
        run
        for run in all_runs(evidence)
        if run.result is not None
        and run.spec.kind == "trunk"
        and (run.spec.run in ladder or run.spec.run.startswith(TRUNK))
    ]
    return sorted(found, key=lambda run: run.params)


def fit_points(points: pl.DataFrame, *, level: float = 0.9, seed: int = 0) -> Fit | None:
    """The law ``critical-batch`` through measured points, None where they are too few.

    points: run, trunk, loss, critical_batch and error (the standard error, tokens).
    """
    if len(points) < 3:
        return None
    clusters = "trunk" if points["trunk"].n_unique() > 2 else "run"
    try:
        return fit(
            "critical-batch",
            points,
            std="error",
            clusters=clusters,
            draws=DRAWS,
            level=level,
            seed=seed,
        )
    except FitError:
        return None


def fit_noise(evidence: Evidence) -> Fit | None:
    """The law through the gradient noise scale of all trunks at constant rate."""
    points = noise_points(constant_runs(evidence))
    return fit_points(points, level=evidence.level, seed=evidence.seed)


def fit_sweep(evidence: Evidence) -> Fit | None:
    """The law within the fit of the sweep to fixed losses, None where there was none."""
    sweep = read_sweep(all_runs(evidence), level=evidence.level, seed=evidence.seed)
    return None if sweep is None else sweep.joint


def fit_checkpoints(
    checkpoints: Sequence[Checkpoint], *, level: float = 0.9, seed: int = 0
) -> Fit | None:
    """The law through the critical batches that branch runs found."""
    ids = [f"{one.params}-{one.tokens}" for one in checkpoints]
    points = pl.DataFrame(
        {
            "run": ids,
            "trunk": ids,
            "loss": [one.loss for one in checkpoints],
            "critical_batch": [one.critical.value for one in checkpoints],
            "error": [one.critical.value * _relative(one) for one in checkpoints],
        }
    )
    return fit_points(points, level=level, seed=seed)


def _relative(one: Checkpoint) -> float:
    """Standard error of the log of a checkpoint's critical batch, of at least a tenth.

    Where most draws have none at all it is that of a number that nobody knows.
    """
    known = one.draws[np.isfinite(one.draws)]
    if 2 * len(known) < len(one.draws):
        return VAGUE
    low, high = np.quantile(known, [0.15866, 0.84134])
    return max(0.1, float(high - low) / 2)


def size_exponent(points: pl.DataFrame, *, level: float = 0.9, seed: int = 0) -> Estimate | None:
    """gamma of B_noise = B_star L^-k N^gamma: what size adds to what the loss says already.

    points: by `analysis.noise_scale.SCHEMA`. None where sizes are fewer than three.
    """
    if points["params"].n_unique() < 3:
        return None
    law = custom_law(
        "B_star * loss ** -k * params ** gamma",
        (
            Parameter("B_star", "scale", 0.0, np.inf, log=True),
            Parameter("k", "exponent of the loss", -60.0, 60.0, grid=(0.0, 2.0, 5.0, 10.0)),
            Parameter("gamma", "exponent of size", -3.0, 3.0, grid=(-0.3, 0.0, 0.3)),
        ),
        inputs=("loss", "params"),
        name="critical-batch-size",
        response="critical_batch",
    )
    try:
        found = fit(law, points, std="error", clusters="trunk", draws=DRAWS, level=level, seed=seed)
    except FitError:
        return None
    return found.parameters["gamma"]


def log_batch(found: Fit, loss: Array) -> tuple[Array, Array]:
    """Log B_crit at losses (n,): by the fit (n,), and by its draws (k, n).

    found: a fit of ``critical-batch``, or of a law that has its parameters, such as a sweep's.
    """
    log_loss = np.log(loss)

    def at(values: Array) -> Array:
        star, alpha = (
            values[:, found.law.names.index(name), None] for name in ("B_star", "alpha_B")
        )
        with np.errstate(divide="ignore"):  # a draw may have no scale at all
            return np.asarray(np.log(star) - log_loss / alpha)

    point = np.array([[found.values[name] for name in found.law.names]])
    return at(point)[0], at(found.draws)


def local_batch(found: Fit, crossings: pl.DataFrame) -> tuple[Array, tuple[Array, Array]] | None:
    """The critical batch between successive losses of a sweep: losses (n,), its log and draws.

    found: of crossings, by `analysis.batch_sweep.fit_crossings`. None where no size has two
    losses.

    B_crit(L) of equation 5.1 belongs to the whole way to L: it is an average that the beginning,
    where batches are small, holds down. Between two losses it is (E_2 - E_1) / (S_2 - S_1), which
    is what a gradient noise scale, or a branch, measures at the moment.
    """
    places = crossings.unique("level", maintain_order=True).sort("level")
    losses, params = places["loss"].to_numpy(), places["params"].to_numpy()
    names = [f"S_{i}" for i in range(len(losses))]
    value, draws = log_batch(found, losses)
    steps = np.array([found.values[name] for name in names])
    drawn = found.draws[:, [found.law.names.index(name) for name in names]]
    pairs = np.flatnonzero(np.diff(params) == 0)
    if not len(pairs):
        return None

    def between(least: Array, batch: Array) -> Array:
        tokens = least * np.exp(batch)
        gained = np.diff(tokens, axis=-1)[..., pairs] / np.diff(least, axis=-1)[..., pairs]
        with np.errstate(invalid="ignore"):  # a draw in which a later loss comes first
            return np.asarray(np.log(np.where(gained > 0, gained, np.nan)))

    middle = np.sqrt(losses[pairs] * losses[pairs + 1])
    return middle, (between(steps, value), between(drawn, draws))


def ratio(above: tuple[Array, Array], below: tuple[Array, Array], level: float) -> Estimate:
    """A ratio averaged in the logarithm. above, below: logs (n,) and independent draws (k, n)."""
    count = min(len(above[1]), len(below[1]))
    # Fits of one seed share their streams, so one is turned.
    turned = np.roll(below[1][:count], count // 3, axis=0)
    drawn = above[1][:count] - turned
    with np.errstate(over="ignore", invalid="ignore"):
        draws = np.exp(drawn.mean(axis=1))
    return estimate(float(np.exp((above[0] - below[0]).mean())), draws, level)


def best_fits(evidence: Evidence) -> tuple[Fit | None, Fit | None]:
    """What others should use, and the same without what may be doubted in it, or None.

    The sweep's law where it has a slope, else the noise scale's.
    """
    sweep = read_sweep(all_runs(evidence), level=evidence.level, seed=evidence.seed)
    if sweep is not None and sweep.joint is not None and not vague(sweep.joint):
        return sweep.joint, sweep.sound
    noise = fit_noise(evidence)
    return noise, noise


def measured_losses(evidence: Evidence) -> tuple[float, float] | None:
    """The lowest and the highest loss at which B_crit was measured; None without a measurement."""
    found, _ = evidence.batch_laws
    return None if found is None else (found.ranges["loss"][0], found.ranges["loss"][1])


def slope_doubt(evidence: Evidence) -> str:
    """Why nobody knows how far off alpha_B may be; empty where its draws say it."""
    found, rest = evidence.batch_laws
    return NO_SOUND if found is not None and rest is None else ""


def union(first: Estimate, other: Estimate | None) -> Estimate:
    """The first with the interval widened to that of both."""
    if other is None:
        return first
    return replace(first, low=min(first.low, other.low), high=max(first.high, other.high))


def above_floor(
    crossings: pl.DataFrame, floor: Estimate, *, level: float = 0.9, seed: int = 0
) -> Estimate | None:
    """alpha of B_crit ~ (L - E)^(-1/alpha) through a sweep's crossings: union over E's interval.

    The paper takes powers of L because its models are far above the least loss that any could
    have; at that loss the noise scale must diverge (section 5.1). Where models come near to it,
    L^(-1/alpha_B) is steep only because L - E is small. None where an E lies above all losses.
    """
    losses = crossings["loss"].to_numpy()
    found = None
    for e in (floor.value, floor.low, floor.high):
        least = max(0.0, e)
        if least >= losses.min():
            return None
        moved = crossings.with_columns(pl.Series("loss", losses - least))
        one = fit_crossings(moved, level, seed)
        if one is None:
            return None
        alpha = one.parameters["alpha_B"]
        found = alpha if found is None else union(found, alpha)
    return found


def vague(found: Fit) -> bool:
    """Whether alpha_B is known too badly to carry B_crit to other losses."""
    alpha = found.parameters["alpha_B"]
    return not (np.isfinite(alpha.high) and 0 < alpha.high <= VAGUE * alpha.low)


def measured(evidence: Evidence) -> dict[str, float] | None:
    """B_star (tokens) and alpha_B of this study, or None where nothing measured them.

    From the sweep to fixed losses where it ran: it is the direct measurement. Where its losses lie
    too close together for a slope, the level is the sweep's and the slope that of the noise scale.
    Without a sweep both are those of the noise scale of the ladder's trunks, a proxy.
    """
    sweep, noise = fit_sweep(evidence), fit_noise(evidence)
    found = sweep if sweep is not None else noise
    if found is None:
        return None
    alpha, star = found.values["alpha_B"], found.values["B_star"]
    if sweep is not None and vague(sweep) and noise is not None and not vague(noise):
        low, high, _ = sweep.ranges["loss"]
        middle = (low * high) ** 0.5
        alpha = noise.values["alpha_B"]
        star = star * float(np.exp(np.log(middle) * (1 / alpha - 1 / sweep.values["alpha_B"])))
    return {"B_star": float(star), "alpha_B": float(alpha)}


def drawn_law(evidence: Evidence, count: int) -> tuple[Array, Array] | None:
    """Log B_star and 1 / alpha_B, (1 + count,) each, the study's own first, then draws of them.

    None where the study has none. Draws are those of the fit behind it, moved to the study's own
    numbers; of a sweep as many are of its sound part, so that what doubtful crossings do to the law
    is in them. Where no run is left they all equal the study's: that has no interval.
    """
    own = evidence.critical_batch or measured(evidence)
    if own is None:
        return None
    star = np.full(1 + count, np.log(own["B_star"]))
    power = np.full(1 + count, 1 / own["alpha_B"])
    fits = [fit for fit in evidence.batch_laws if fit is not None]
    if not fits:
        return star, power
    generator = np.random.default_rng([evidence.seed, 10])
    center = fits[0].values
    for turn, found in enumerate(fits):
        places = np.arange(1 + turn, 1 + count, len(fits))
        names = found.law.names
        drawn = found.draws[generator.integers(len(found.draws), size=len(places))]
        with np.errstate(divide="ignore"):
            log_star = np.log(drawn[:, names.index("B_star")])
        star[places] += log_star - np.log(center["B_star"])
        power[places] += 1 / drawn[:, names.index("alpha_B")] - 1 / center["alpha_B"]
    return star, power
