"""From a study's folder to what its designs conclude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from scalelab.corpus import Corpus
from scalelab.errors import FitError, Notice
from scalelab.execution.study import read_run
from scalelab.studies.analysis.critical_batch_law import measured
from scalelab.studies.analysis.nearness import distances
from scalelab.studies.conclusion import Conclusion
from scalelab.studies.design import Design
from scalelab.studies.designs.critical_batch import DESIGN as CRITICAL_BATCH
from scalelab.studies.divide import REPLICATES, StudyPlan
from scalelab.studies.evidence import Evidence, Run
from scalelab.studies.ladder import Ladder
from scalelab.training.spec import TrainSpec


@dataclass(frozen=True)
class Gathered:
    """A study's runs, read from disk once.

    study: its folder. ladder: None where no design asked for it. others: name -> corpus.
    """

    study: Path
    plan: StudyPlan
    ladder: Ladder | None
    corpus: Corpus
    others: Mapping[str, Corpus]
    seed: int

    @cached_property
    def runs(self) -> dict[str, Run]:
        """Every run by id."""
        return {spec.run: Run(spec, *read_run(self.study, spec)) for spec in self.specs}

    @property
    def specs(self) -> list[TrainSpec]:
        """Every run of the plan, the ladder's first."""
        ladder = [] if self.ladder is None else list(self.ladder.jobs)
        return [job.spec for job in (*ladder, *self.plan.jobs.values())]

    @cached_property
    def common(self) -> Evidence:
        """What all designs see."""
        ladder = [] if self.ladder is None else [job.spec.run for job in self.ladder.jobs]
        evidence = Evidence(
            own=(),
            ladder=[self.runs[run] for run in ladder],
            replicates=self._own(REPLICATES),
            everything=list(self.runs.values()),
            others=self.facts,
            bytes_per_token=self.corpus.bytes_per_token,
            seed=self.seed,
        )
        batch = replace(evidence, own=self._own(CRITICAL_BATCH.name))
        return replace(evidence, critical_batch=measured(batch))

    @cached_property
    def facts(self) -> dict[str, Mapping[str, float]]:
        """How far the other texts are from the training text, and how long their tokens are."""
        found = distances(self.corpus, self.others) if self.others else {}
        return {
            name: {"distance": value, "bytes_per_token": self.others[name].bytes_per_token}
            for name, value in found.items()
        }

    def _own(self, design: str) -> list[Run]:
        return [self.runs[run] for run in self.plan.runs.get(design, ())]

    def evidence(self, design: Design) -> Evidence:
        """What one design sees."""
        return replace(
            self.common,
            own=self._own(design.name),
            left_out=self.plan.left_out.get(design.name, ()),
            notices=self.plan.notices.get(design.name, ()),
        )

    def conclusions(self, designs: Sequence[Design]) -> tuple[Conclusion, ...]:
        """Every design's conclusion; one whose runs cannot be fitted says so."""
        return tuple(self._conclude(design) for design in designs)

    def _conclude(self, design: Design) -> Conclusion:
        evidence = self.evidence(design)
        try:
            found = design.conclude(evidence)
        except FitError as error:
            found = Conclusion(
                design.name, design.title, f"Cannot tell: the runs cannot be fitted ({error})."
            )
        unfinished = [run.spec.run for run in evidence.own if run.result is None]
        diverged = [
            run.spec.run
            for run in evidence.own
            if run.result is not None and run.result["status"] == "diverged"
        ]
        notices = [
            Notice(code, f"left out, by name: {', '.join(runs)}.")
            for code, runs in (("diverged", diverged), ("unfinished", unfinished))
            if runs
        ]
        return replace(
            found,
            notices=(*evidence.notices, *found.notices, *notices),
            left_out=tuple(dict.fromkeys((*evidence.left_out, *found.left_out))),
        )
