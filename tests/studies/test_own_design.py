"""Designs in files of users: what is wrong in one is said by file and line, and nothing else ends.

Every case is the design below with one thing changed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from planted import finished
from planted_bench import bench

from scalelab.errors import FitError, SpecError, TrainingError
from scalelab.studies.design import Design
from scalelab.studies.designs import get_designs
from scalelab.studies.evidence import Evidence
from scalelab.studies.own_design import read_design

MINE = """
from scalelab.errors import FitError, TrainingError
from scalelab.fitting import Estimate
from scalelab.studies.conclusion import Axis, Check, Conclusion, Finding, Number, Picture, Series
from scalelab.studies.design import Design, Plan

CHECK = Check.at_most("spread", 5.0, "nowhere", "seeds hardly matter")


def plan(bench):
    jobs = [
        bench.job(bench.spec(f"mine-{seed}", bench.shape(5e4), 1e5, seed=seed), "a seed")
        for seed in (1, 2)
    ]
    return Plan(jobs, left_out=["more"])


def conclude(evidence):
    losses = [run.loss for run in evidence.own]
    spread = Estimate(abs(losses[0] - losses[1]), 0.0, 1.0, 0.9)
    picture = Picture(
        "seeds", "Seeds", "Two.", Axis("seed"), Axis("loss"), [Series([1.0, 2.0], losses)]
    )
    found = Finding(CHECK, spread)
    return Conclusion("mine", "Seeds", "So.", [found], {"n": Number(spread, "", "it")}, [picture])


DESIGN = Design("mine", "Seeds", "none", "seeds", "all", "luck", 1.0, plan, conclude)
"""


def line_of(text: str) -> int:
    """The line of MINE on which a text stands, from 1."""
    return MINE[: MINE.index(text)].count("\n") + 1


def changed(folder: Path, before: str, after: str) -> Path:
    assert before in MINE
    file = folder / "mine.py"
    file.write_text(MINE.replace(before, after), encoding="utf-8")
    return file


def study(design: Design) -> Evidence:
    jobs = design.plan(bench()).jobs
    return Evidence([finished(job.spec, 2.0 + i / 100) for i, job in enumerate(jobs)])


def test_a_design_without_faults_plans_and_concludes(tmp_path: Path) -> None:
    design = read_design(changed(tmp_path, 'Conclusion("mine"', 'Conclusion("other"'))
    found = design.conclude(study(design))
    assert found.verdict == "agrees"
    assert found.design == "mine"  # whatever it says: reports and answers go by the design's name


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("Check.at_most", "Check.atmost", f", line {line_of('CHECK =')}: AttributeError: type obj"),
        ('"luck", 1.0, plan', '"luck", plan', "TypeError: Design.__ini"),
        ('"luck", 1.0', '"luck", -1.0', "weight of DESIGN is -1.0; a number of at least 0"),
        ('"luck", 1.0', '"luck", "1"', "weight of DESIGN is '1'"),
        ('Design("mine"', 'Design("my own/"', "the name of DESIGN is 'my own/'"),
        ("1.0, plan,", '1.0, "plan",', "plan of DESIGN is 'plan'; a function is expected"),
        ("DESIGN =", "DESING =", "defines no DESIGN"),
        ("CHECK =", "raise SystemExit(3)\nCHECK =", "SystemExit: 3"),
        ("CHECK =", "open('no-such-file')\nCHECK =", f", line {line_of('CHECK =')}: FileNotFound"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_when_it_is_read(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    file = changed(tmp_path, before, after)
    with pytest.raises(SpecError) as raised:
        read_design(file)
    assert str(file) in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("return Plan(jobs", "Plan(jobs", ", in plan: it returns None; a Plan is expected"),
        ('return Plan(jobs, left_out=["more"])', "return jobs", "it returns a list; a Plan"),
        ('["more"]', '"more"', "left_out is a str; a list of str"),
        ("Plan(jobs,", "Plan([job.spec for job in jobs],", "holds a TrainSpec; a Job, made by"),
        ("bench.shape(", "bench.shapes(", f", line {line_of('bench.shape(')}, in plan: Attribute"),
        ("seed=seed", "sead=seed", "there is no field 'sead' of TrainSpec to change; there are"),
        ("seed=seed", "weight_decay='.1'", "run mine-1: weight_decay is '.1'; a number is"),
        ("seed=seed", "seed=1.5", "run mine-1: seed is 1.5; a whole number is expected"),
        ('f"mine-', 'f"mine/', "run is 'mine/1'; letters, digits"),
    ],
)
def test_a_plan_that_fails_names_file_and_line(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    file = changed(tmp_path, before, after)
    design = read_design(file)
    with pytest.raises(SpecError) as raised:
        design.plan(bench())
    assert str(raised.value).startswith(str(file))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("return Conclusion", "Conclusion", "it returns None; a Conclusion is expected"),
        ("losses[0] -", "losses[9] -", f"line {line_of('spread = ')}, in conclude: IndexError"),
        ("[found]", "found", "findings is a Finding; a list of Finding"),
        ("[picture]", "picture", "pictures is a Picture; a list of Picture"),
        ('{"n": Number(spread, "", "it")}', "[]", "numbers is a list; a dict of Number"),
        ("Number(spread", "Number(1.0", "holds a float; Estimate(value, low, high, level)"),
        ("Finding(CHECK, spread)", "Finding(CHECK, 1.0)", "holds a float; Estimate("),
        ("[1.0, 2.0], losses", "[1.0, 2.0], [2.0]", "picture seeds: a series has 2 x and 1 y"),
        ("losses)]", "losses, 'dot')]", "the mark of a series is 'dot'; one of point, hollow"),
        ('Axis("loss")', 'Axis("loss", kind="nats")', "the kind of an axis is 'nats'; one of"),
        ('"seeds", "Seeds"', '"a/b", "Seeds"', "a picture is named 'a/b'"),
    ],
)
def test_a_conclusion_that_fails_names_the_file_and_says_that_nothing_is_lost(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    file = changed(tmp_path, before, after)
    design = read_design(file)
    with pytest.raises(SpecError) as raised:
        design.conclude(study(design))
    assert str(raised.value).startswith(str(file))
    assert message in str(raised.value)
    assert str(raised.value).endswith("The runs are kept: mend it and give the same command again.")


@pytest.mark.parametrize("kind", [FitError, TrainingError])
def test_what_is_not_the_files_fault_passes(tmp_path: Path, kind: type[Exception]) -> None:
    """Runs that no law fits are a conclusion; a machine that fails is no input."""
    raising = f"raise {kind.__name__}('so')\n    losses ="
    design = read_design(changed(tmp_path, "losses =", raising))
    with pytest.raises(kind, match="so"):
        design.conclude(study(design))


def test_names_are_taken_once(tmp_path: Path) -> None:
    file = str(changed(tmp_path, "CHECK =", "CHECK ="))
    assert [design.name for design in get_designs([file, file])] == ["mine"]
    again = tmp_path / "again.py"
    again.write_text(MINE, encoding="utf-8")
    with pytest.raises(SpecError, match=r"again\.py: the name 'mine' is taken"):
        get_designs([file, str(again)])
    for name in ("shape", "kaplan", "replicates"):
        taken = str(changed(tmp_path, 'Design("mine"', f'Design("{name}"'))
        with pytest.raises(SpecError, match=f"the name '{name}' is taken"):
            get_designs([taken])
