"""``scalelab fit``: a law through a table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from scalelab.cli.common import (
    TableOptions,
    named_law,
    numbers,
    pairs,
    print_json,
    print_lines,
    ranges,
)

if TYPE_CHECKING:
    import polars as pl

    from scalelab.fitting import Fit as Model
    from scalelab.fitting import Sweeps
    from scalelab.laws import Law
    from scalelab.table import RunTable


@dataclass(frozen=True)
class Fit(TableOptions):
    """Fit a scaling law to a table of runs: parameters with intervals, diagnosis, back-test."""

    law: str = "chinchilla"
    """A name of `scalelab laws`; auto (the law and weighting that back-test best); or a formula
    such as "E + A / N^alpha + B / D^beta"."""
    over: str | None = None
    """For a law in one variable, the column that it is over; for one of transfer, the loss that it
    describes."""
    input: tuple[str, ...] = ()
    """Names in a formula that are columns, where they could be parameters too."""
    parameter: tuple[str, ...] = ()
    """Names in a formula that are parameters, where they could be columns too."""
    fix: tuple[str, ...] = ()
    """NAME=VALUE: parameters held at a value."""
    tie: tuple[str, ...] = ()
    """NAME=OTHER: parameters held equal to another."""
    bound: tuple[str, ...] = ()
    """NAME=LOW:HIGH: parameters held inside bounds."""
    estimator: Literal["auto", "huber", "least-squares", "shared-noise"] = "auto"
    """What is minimised; auto is huber, or shared-noise for a ladder of few trunks."""
    delta: float | None = None
    """Of Huber's function (default 0.001)."""
    raw: bool = False
    """Residuals of the loss, not of its logarithm."""
    above: float = 1.0
    """Penalty of a run above the law over that of one below it."""
    weights: str | None = None
    """How much runs count: an expression of columns, such as replicates, flops^0.5 or
    frontier(0.05)*flops^0.5."""
    std: str | None = None
    """Column with the standard deviation of each loss: residuals count in units of it."""
    clusters: str = "auto"
    """Column whose equal values are not independent (auto: trunk where there is one, else run)."""
    intervals: Literal["auto", "pairs", "wild", "components"] = "auto"
    """How intervals are made."""
    profile: bool = False
    """Take the intervals of parameters from their profile likelihood: slower, and right where a
    parameter is hardly constrained."""
    draws: int = 1000
    """Refits for the intervals."""
    level: float = 0.9
    """Of the intervals."""
    seed: int = 0
    """Of the draws: the same seed and rows give the same numbers."""
    critical_batch: tuple[str, ...] = ()
    """B_star=TOKENS alpha_B=NUMBER: add steps_min and flops_min, the steps and compute that runs
    would have taken at the best batch (Kaplan et al. 2020), for laws over them."""
    sweep: tuple[str, ...] = ()
    """A hyper-parameter swept at each N and D (lr), or several swept together (lr batch_tokens).
    The law is fitted to the best of every sweep; runs of other settings are sweeps of their own."""
    conventions: bool = False
    """Fit the same runs under every way to count N that the table allows, side by side."""
    out: str | None = None
    """Write the fit as JSON, for Fit.load."""

    def chosen_law(self, columns: Sequence[str] = ()) -> Law:
        """The law asked for, with its restrictions. columns: of the table, inputs by name."""
        law = named_law(self.law, columns, self.over, inputs=self.input, parameters=self.parameter)
        held = (numbers("fix", self.fix), pairs("tie", self.tie), ranges("bound", self.bound))
        return law.restrict(*held) if any(held) else law

    def needed(self, law: Law) -> list[str]:
        """The columns that the table must have for a law and the options given."""
        adjusted = {"steps_min": "steps", "flops_min": "flops", "critical_batch": "batch_tokens"}
        wanted = [*law.inputs, law.response]
        if self.critical_batch:
            wanted = [adjusted.get(name, name) for name in wanted] + ["batch_tokens", "loss"]
        if self.sweep:
            wanted += [*self.sweep, "loss"]
        counted = {name for name in ("params", "flops") if getattr(self, name)}
        return [name for name in dict.fromkeys(wanted) if name not in counted]


def fit(command: Fit) -> int:
    """`scalelab fit`."""
    if command.conventions:
        return _by_convention(command)
    model = _fit(command, *_table(command))
    if command.out:
        model.save(command.out)
    if command.json:
        print_json(model.to_dict())
    else:
        print_lines([model.summary(), *([f"written to {command.out}"] if command.out else [])])
    return 0


def _table(command: Fit) -> tuple[RunTable, Law | None]:
    """The table and the law, None for auto: what the law is over depends on the table's columns."""
    laws: list[Law] = []

    def needs(columns: Sequence[str]) -> list[str]:
        laws.append(command.chosen_law(columns))
        return command.needed(laws[0])

    # That settings vary is a notice where no sweep answers it.
    table = command.table(
        None if command.law == "auto" else needs,
        without=("settings-vary",) if command.sweep else (),
    )
    return table, laws[0] if laws else None


def _fit(command: Fit, table: RunTable, law: Law | None) -> Model:
    from scalelab.errors import InputError
    from scalelab.fitting import at_best_batch
    from scalelab.fitting.auto import noticed

    runs = table.finished
    if command.critical_batch:
        runs = at_best_batch(runs, numbers("critical-batch", command.critical_batch))
    elif law is not None and not command.sweep:
        law, runs = _by_its_name(law, runs, table)
    if not command.sweep:
        return _fitted(command, table, runs, law)
    found = _swept(command, runs, law)
    try:
        model = _fitted(command, table, found.optima, law)
    except InputError:
        # The optima are too few for what was left out.
        print_lines([str(notice) for notice in found.notices], error=True)
        raise
    return noticed(model, *found.notices)


def _by_its_name(law: Law, runs: pl.DataFrame, table: RunTable) -> tuple[Law, pl.DataFrame]:
    """A response that was given as the loss and is none goes by its own name."""
    from dataclasses import replace

    from scalelab.table.missing import is_of_loss

    name = table.mapping.get("loss", "loss")
    if law.response != "loss" or "loss" in law.inputs or name in runs.columns or is_of_loss(name):
        return law, runs
    equation = law.equation.replace("L = ", f"{name} = ", 1)
    return replace(law, response=name, equation=equation), runs.rename({"loss": name})


def _swept(command: Fit, runs: pl.DataFrame, law: Law | None) -> Sweeps:
    """The best of each sweep. Runs that differ in an input of the law are other runs."""
    from scalelab.errors import SpecError
    from scalelab.fitting import sweeps

    for name in command.sweep:
        if name in ("params", "tokens", "flops", "loss") or command.sweep.count(name) > 1:
            raise SpecError(f"--sweep {name}: name hyper-parameters such as lr, each once.")
    inputs = () if law is None else law.inputs
    by = [name for name in ("params", "tokens") if name in runs.columns]
    also = [
        name
        for name in inputs
        if name in runs.columns
        and name not in {*by, *command.sweep}
        and not name.startswith("loss")
        and not runs[name].dtype.is_nested()
    ]
    return sweeps(runs, command.sweep, [*by, *also] or None)


def _fitted(command: Fit, table: RunTable, runs: pl.DataFrame, law: Law | None) -> Model:
    from scalelab.errors import SpecError
    from scalelab.fitting import checked, fit_auto
    from scalelab.fitting import fit as fit_law

    shared: dict[str, Any] = {
        "clusters": command.clusters,
        "intervals": command.intervals,
        "profile": command.profile,
        "draws": command.draws,
        "level": command.level,
        "seed": command.seed,
        "conventions": table.conventions,
        "estimator": command.estimator,
        "delta": command.delta,
        "raw": command.raw,
        "above": command.above,
    }
    if law is None:
        chosen = ("fix", "tie", "bound", "over", "weights", "std", "input", "parameter")
        if given := [name for name in chosen if getattr(command, name)]:
            raise SpecError(f"--law auto chooses law and weights itself; leave out --{given[0]}.")
        if command.estimator == "shared-noise":
            raise SpecError(
                "--law auto weighs runs, and --estimator shared-noise weighs them by their noise "
                "alone: name a law, or leave out --estimator."
            )
        return fit_auto(runs, **shared)
    model = fit_law(law, runs, weights=command.weights, std=command.std, **shared)
    return checked(model, runs)


def _by_convention(command: Fit) -> int:
    """The same runs counted in every way that the table allows."""
    from dataclasses import replace

    from scalelab.counting.recount import available
    from scalelab.errors import SpecError

    if given := [name for name in ("out", "params", "flops") if getattr(command, name)]:
        raise SpecError(
            f"--conventions counts N in every way and writes no file; leave out --{given[0]}."
        )
    names = available(_table(command)[0].frame)
    if not names:
        raise SpecError(
            "the table has one way to count N; parameters by part (params_embedding, "
            "params_attention, params_feed_forward, params_norm, params_output) or shapes "
            "(n_layer, d_model, d_ff, n_head, context, vocabulary) give more."
        )
    found = {}
    for name in names:
        one = replace(command, params=name, flops="6N")
        found[name] = _fit(one, *_table(one))
    if command.json:
        print_json({"conventions": {name: model.to_dict() for name, model in found.items()}})
        return 0
    # --law auto may take one law for one way to count and another for the next.
    laws = {model.law.name: model.law for model in found.values()}
    exponents = [p.name for law in laws.values() for p in law.parameters if p.exponent]
    derived = [one.name for law in laws.values() for one in law.derived]
    shown = dict.fromkeys([*exponents, *derived])
    lines = [f"{law.name}: {law.equation}" for law in laws.values()]
    lines.append(f"{'N counted':<16}" + "".join(f"{name:<26}" for name in shown))
    for name, model in found.items():
        both = {**model.parameters, **model.derived}
        lines.append(f"{name:<16}" + "".join(f"{both.get(n, '-')!s:<26}" for n in shown))
    print_lines(lines)
    said = dict.fromkeys(
        str(notice)
        for model in found.values()
        for notice in model.diagnosis.warnings
        if notice.code.startswith("sweeps-")
    )
    if said:
        print_lines([*said], error=True)
    return 0
