"""One budget among the designs of a study: who may spend what, and which runs come of it.

The base ladder has a share, designs have shares by their weights, and what one leaves goes to those
after it. A run that several designs ask for is trained once. The plan is written down before
anything is trained; a design that is asked for later adds its own runs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from scalelab import schema
from scalelab.errors import Notice, SpecError
from scalelab.execution.execute import Job
from scalelab.schema import MismatchError
from scalelab.studies.decide import Aim
from scalelab.studies.design import Bench, Design, Plan, same_run
from scalelab.studies.ladder import Ladder
from scalelab.studies.sizes import size_of
from scalelab.units import Budget

LADDER_WEIGHT = 8.5
"""Of the base ladder, beside the designs' own weights (about as much): its largest size costs most
of a study and every exponent in N hangs on it. (assumed)"""

MOST_TO_LADDER = 0.55
"""Share of the ladder at most where a design has runs of its own: a study of one design is for that
design, and the weights alone would leave it a tenth of the budget. (assumed)"""

REPLICATES_WEIGHT = 0.35
REPLICATES = "replicates"
SEEDS = 3
"""Further seeds of each of two sizes: the noise level with four degrees of freedom. (assumed)"""

SPAN = 10**2.5
"""N of the ladder of a study with designs: two and a half decades where the budget allows."""

CURVE_POINTS = 24
"""Evaluations along each run, so that a loss can be looked up between them; 4% of its time."""


@dataclass(frozen=True)
class StudyPlan:
    """What designs asked for.

    jobs: every run beside the ladder's, by id. runs: design -> ids of its runs, in its order (some
    may be the ladder's or another design's). left_out, notices: by design.
    """

    jobs: Mapping[str, Job] = field(default_factory=dict)
    runs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notices: Mapping[str, tuple[Notice, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as plan.json holds them."""
        return {
            "jobs": [
                {"spec": job.spec.to_dict(), "seconds": job.seconds, "why": job.why}
                for job in self.jobs.values()
            ],
            "runs": {name: list(runs) for name, runs in self.runs.items()},
            "left_out": {name: list(lines) for name, lines in self.left_out.items()},
            "notices": {
                name: [asdict(notice) for notice in notices]
                for name, notices in self.notices.items()
            },
        }

    @classmethod
    def from_dict(cls, values: Any) -> StudyPlan:
        """The inverse of `to_dict`; raises `schema.MismatchError`."""
        found = schema.read(_Plain, values, "designs")
        jobs: dict[str, Job] = {}
        for i, job in enumerate(found.jobs):
            if jobs.setdefault(job.spec.run, job) is not job or not job.spec.run:
                raise MismatchError(
                    f"designs.jobs[{i}].spec.run is {job.spec.run!r}; an id that no other run has "
                    "is expected"
                )
        return cls(jobs, found.runs, found.left_out, found.notices)


@dataclass(frozen=True)
class _Plain:
    """A StudyPlan as plan.json holds it."""

    jobs: tuple[Job, ...]
    runs: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, tuple[str, ...]]
    notices: Mapping[str, tuple[Notice, ...]]


def aim_of(designs: Sequence[Design]) -> Aim:
    """What the ladder of a study with these designs is for."""
    trained = any(design.ladder for design in designs)
    return Aim(_ladder_share(designs), SPAN, CURVE_POINTS, trained)


def _ladder_share(designs: Sequence[Design]) -> float:
    own = sum(design.weight for design in designs)
    share = LADDER_WEIGHT / (LADDER_WEIGHT + REPLICATES_WEIGHT + own)
    return min(share, MOST_TO_LADDER) if own else share


def divided(
    there: StudyPlan,
    designs: Sequence[Design],
    bench: Bench,
    left: Callable[[], Budget],
    whole: Budget,
    begin: Callable[[str], None] = lambda name: None,  # noqa: ARG005 - nobody listens
) -> StudyPlan:
    """The plan with the designs added that it lacks.

    bench: of the study; each design gets it with its own allowance. left: what may still be planned
    for, the ladder and `there` already subtracted; it is asked again for each design, because
    planning measures, which takes time. whole: the study's budget, of which a design that comes to
    a study that was planned before may spend its usual share, whatever the others left. begin: is
    told the name of each design before it plans, which may take a minute.
    """
    wanted = [design for design in designs if design.name not in there.runs]
    weights = {design.name: design.weight for design in wanted}
    planners: dict[str, Callable[[Bench], Plan]] = {d.name: d.plan for d in wanted}
    if designs and REPLICATES not in there.runs:
        weights = {REPLICATES: REPLICATES_WEIGHT} | weights
        planners = {REPLICATES: replicates} | planners
    beside = whole.amount * (1 - _ladder_share(designs))
    own = REPLICATES_WEIGHT + sum(design.weight for design in designs)
    jobs = dict(there.jobs)
    known = {same_run(job.spec): name for name, job in jobs.items()}
    if bench.ladder is not None:
        known |= {same_run(job.spec): job.spec.run for job in bench.ladder.jobs}
    found: dict[str, Plan] = {}
    runs: dict[str, tuple[str, ...]] = dict(there.runs)
    spent = 0.0
    for i, (name, make) in enumerate(planners.items()):
        begin(name)
        rest = left()
        behind = sum(list(weights.values())[i:])
        share = (rest.amount - spent) * weights[name] / behind if behind else 0.0
        usual = beside * weights[name] / own if there.runs else 0.0
        allowance = Budget(rest.unit, max(share, usual, 0.0))
        plan = make(replace(bench, allowance=allowance, planned=tuple(jobs.values())))
        new = _rename(plan.jobs, known)
        _refuse_shared_ids(name, new, jobs, bench.ladder)
        fresh = {job.spec.run: job for job in new if job.spec.run not in jobs}
        ladder_runs = set() if bench.ladder is None else {j.spec.run for j in bench.ladder.jobs}
        fresh = {run: job for run, job in fresh.items() if run not in ladder_runs}
        jobs |= fresh
        spent += bench.cost(list(fresh.values()))
        known |= {same_run(job.spec): run for run, job in fresh.items()}
        runs[name] = tuple(job.spec.run for job in new)
        found[name] = plan
    return StudyPlan(
        jobs=jobs,
        runs=runs,
        left_out=dict(there.left_out) | {n: tuple(p.left_out) for n, p in found.items()},
        notices=dict(there.notices) | {n: tuple(p.notices) for n, p in found.items()},
    )


def _refuse_shared_ids(
    design: str, new: Sequence[Job], there: Mapping[str, Job], ladder: Ladder | None
) -> None:
    """One of two different runs with one id would be lost, the other counted for both."""
    runs = {job.spec.run: job for job in (() if ladder is None else ladder.jobs)} | dict(there)
    for job in new:
        run = job.spec.run
        if same_run(runs.setdefault(run, job).spec) != same_run(job.spec):
            raise SpecError(
                f"the design {design!r} plans a run named {run!r}, which is the name of a "
                "different run; give every run a name of its own that begins with the design's."
            )


def _rename(jobs: Iterable[Job], known: Mapping[str, str]) -> list[Job]:
    """Jobs by the id under which an equal run is planned already; branches follow their trunks."""
    trunks: dict[str, str] = {}
    renamed = []
    for job in jobs:
        spec = job.spec
        if spec.trunk in trunks:
            spec = replace(spec, trunk=trunks[spec.trunk])
        name = known.get(same_run(spec), spec.run)
        trunks[job.spec.run] = name
        renamed.append(replace(job, spec=replace(spec, run=name)))
    return renamed


def replicates(bench: Bench) -> Plan:
    """Further seeds of two sizes of the ladder: how far a loss moves by luck alone."""
    count = len(bench.sizes)
    shapes = [bench.sizes[count // 4], bench.sizes[count // 2]]

    def make(tokens: int) -> list[Job]:
        return [
            bench.job(
                bench.spec(
                    f"replicate-n{size_of(shape)}-s{bench.seed + i}",
                    shape,
                    tokens,
                    seed=bench.seed + i,
                    curve_points=0,
                ),
                "noise level: the same run with another seed",
            )
            for shape in shapes
            for i in range(1, SEEDS + 1)
        ]

    least = 150 * bench.batch_tokens
    most = bench.corpus.train.tokens if bench.ladder is None else bench.ladder.tokens[-1]
    jobs = bench.largest(make, least, most)
    if jobs is None:
        return Plan(left_out=("the noise level is assumed: this budget pays for no replicates",))
    return Plan(jobs)
