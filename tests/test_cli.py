"""The command line: bad input in one line, exit codes, JSON and nothing else, and light imports.

What a real study does is tested in test_pipeline.py. Here nothing trains: where a plan is asked
for, the speed of the machine is planted.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from scalelab import cli, pipeline
from scalelab.counting import (
    CONVENTIONS,
    TransformerShape,
    count_parameters,
    flops_per_token,
)
from scalelab.studies import probe
from scalelab.studies.settings import RunSettings
from scalelab.training.records import read_json, write_json

Answer = tuple[int, str, str]
Command = Callable[..., Answer]


@pytest.fixture
def scalelab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command in an empty folder -> exit code, standard output, standard error."""
    home = tmp_path / "work"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("SCALELAB_CACHE", str(tmp_path / "cache"))

    def command(*words: str | Path) -> Answer:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(word) for word in words])
        shown = capsys.readouterr()
        return int(caught.value.code or 0), shown.out, shown.err

    return command


SMALL = ("--context", "32", "--sizes", "6", "--data-sizes", "3")
"""A ladder for which the text of the tests is enough."""


class StandIn:
    """Two processes that are never started."""

    size, threads, device_name, torch_version = 2, 1, "cpu", "0"

    def __init__(self, _workers: int | None) -> None: ...

    def __enter__(self) -> StandIn:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A machine of known speed. The folders in which it was measured."""
    folders: list[Path] = []

    def speeds(folder: Path, shapes: list[TransformerShape], *_: Any) -> dict[int, float]:
        (folder / "speed").mkdir(parents=True, exist_ok=True)
        folders.append(folder)
        return {shape.d_model: 4e9 / flops_per_token(shape) for shape in shapes}

    monkeypatch.setattr(probe, "measure_speeds", speeds)
    monkeypatch.setattr(pipeline, "Pool", StandIn)
    return folders


# --- bad input ------------------------------------------------------------------------------------


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A folder of things that cannot be used."""
    folder = tmp_path / "bad"
    (folder / "empty").mkdir(parents=True)
    (folder / "binary").mkdir()
    (folder / "binary" / "a.txt").write_bytes(bytes(range(256)) * 40)
    (folder / "binary" / "b.exe").write_bytes(b"\x00\xff" * 400)
    (folder / "tiny.txt").write_text("much too little\n")
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model"')
    (folder / "cut.toml").write_text("budget = ")
    (folder / "colour.toml").write_text('budget = "9m"\ncolour = "red"\n')
    (folder / "number.toml").write_text("text = 5\n")
    (folder / "both.toml").write_text('hf = "books"\n')
    (folder / "file").write_text("in the way")
    (folder / "loop").symlink_to(folder / "loop")
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run --text BAD/none", "there is no file or folder"),
        ("run --text BAD/loop", "loop cannot be read: "),
        ("run --text ~nobody-here/books", "there is no file or folder ~nobody-here/books"),
        (f"run --text BAD/{'a' * 300}", "File name too long"),
        (f"run --text BAD/{'a' * 300} --out short", "File name too long"),
        (f"run --text LANGUAGE --out {'a' * 300}", "File name too long"),
        ("run --text LANGUAGE --tokenizer ~nobody-here/t.json", "cannot read the tokenizer"),
        ("run --text BAD/empty", "no file of text under"),
        ("run --text BAD/binary", "there is no text in binary"),
        ("run --text BAD/binary/b.exe", "there is no text in b.exe"),
        ("run --text BAD/tiny.txt", "at least 10,000 bytes are needed. Give more text."),
        ("run --text LANGUAGE BAD/none", "there is no file or folder"),
        ("run --budget 600", "budget '600' is not understood. Give a time (90s, 10m"),
        ("run --budget soon", "budget 'soon' is not understood"),
        ("run --budget 0m", "budget '0m' is not a positive, finite amount"),
        ("run --budget 1e15flop/s", "is a rate; a budget is an amount"),
        ("run --text LANGUAGE --tokenizer BAD/tokenizer.json", "is not a tokenizer.json"),
        ("run --text LANGUAGE --tokenizer BAD/none.json", "cannot read the tokenizer"),
        ("run --text LANGUAGE --tokenizer bpe:7", "expected bpe:SIZE"),
        ("run --text LANGUAGE --tokenizer wordpiece", "cannot read the tokenizer"),
        ("run --text LANGUAGE --out BAD/file", "cannot make the folder"),
        ("run --text LANGUAGE --out BAD/file/below", "cannot make the folder"),
        ("run --text LANGUAGE --hf books", "both --text and --hf are given"),
        ("run --sizes 2", "sizes is 2; at least 5 is needed"),
        ("run --data-sizes 1", "data-sizes is 1; at least 3"),
        ("run --context 2", "context is 2"),
        ("run --workers 0", "workers is 0"),
        ("run BAD/cut.toml", "cut.toml is not TOML"),
        ("run BAD/colour.toml", "unknown setting 'colour'"),
        ("run BAD/number.toml", "text is 5"),
        ("run BAD/none.toml", "cannot read"),
        ("run BAD/both.toml --text LANGUAGE", "both --text and --hf are given"),
        ("run --dry-run BAD/colour.toml", "unknown setting 'colour'"),
        ("run --seed 3 BAD/cut.toml", "cut.toml is not TOML"),
        ("run BAD/tiny.txt", "is not a TOML file; text is given with --text"),
        ("run --dry-run --json --text BAD/none", "there is no file or folder"),
        ("count --n-layer 0 --d-model 8", "n_layer is 0; a whole number of at least 1"),
        ("count --n-layer 2 --d-model 9 --n-head 2", "d_model 9 is not divisible by n_head 2"),
        (
            "count --n-layer 2 --d-model 6 --n-head 2 --positions rotary --activation gelu",
            "the head dimension 3 is odd",
        ),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    scalelab: Command, bad: Path, language: Path, words: str, message: str
) -> None:
    filled = words.replace("BAD", str(bad)).replace("LANGUAGE", str(language)).split()
    code, out, err = scalelab(*filled)
    assert code == 2
    assert err.startswith("scalelab: ")
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err + out
    if "--json" in words:
        assert out == ""


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("run --sizes many", "--sizes"),
        ("run --norm batch", "--norm"),
        ("run --no-such-flag 3", "--no-such-flag"),
        ("count", "--n-layer"),
        ("count --n-layer 2.5 --d-model 8", "--n-layer"),
        ("fit", "RUNS"),
        ("fit runs.csv --draws many", "--draws"),
        ("fit runs.csv --estimator magic", "--estimator"),
        ("fit runs.csv --no-such-flag", "--no-such-flag"),
        ("isoflop sweeps.csv --method magic", "--method"),
        ("backtest runs.csv --ratio wide", "--ratio"),
        ("forecast", "forecast"),
        ("", "run"),
    ],
)
def test_words_that_are_no_command_are_named_with_exit_code_2(
    scalelab: Command, words: str, named: str
) -> None:
    code, out, err = scalelab(*words.split())
    assert code == 2
    assert named in err
    assert "Traceback" not in err
    assert out == ""


def test_bad_input_leaves_the_folder_to_the_mended_command(
    scalelab: Command, bad: Path, language: Path, planted: list[Path]
) -> None:
    """What was refused before anything was decided does not bind the next call."""
    words = ["run", "--out", "study", *SMALL]
    assert scalelab(*words, "--text", bad / "none")[0] == 2
    assert not planted
    for budget in ("1s", "2s"):
        code, _, err = scalelab(*words, "--text", language, "--budget", budget)
        assert code == 2
        assert "Give a larger --budget" in err, "not: that folder holds another study"
    assert read_json(Path("study/study.json"))["settings"]["budget"] == "2s"


def test_a_budget_too_small_says_what_would_do(
    scalelab: Command, language: Path, planted: list[Path]
) -> None:
    for budget in ("2s", "1e9flop"):
        words = ["run", "--text", language, "--budget", budget, "--out", budget, *SMALL]
        code, _, err = scalelab(*words)
        assert code == 2
        assert "the smallest ladder needs" in err
        assert err.count("\n") == 1
    assert len(planted) >= 2


# --- a folder with another study in it ------------------------------------------------------------


@pytest.fixture
def begun(scalelab: Command, language: Path, planted: list[Path]) -> Path:
    """A folder in which a study of the language has been decided; `scalelab` runs beside it."""
    assert scalelab
    assert planted == []
    folder = Path("begun")
    settings = RunSettings(text=(str(language),), budget="9m", out="begun")
    assert pipeline.open_study(settings) == folder
    (folder / "plan.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("--budget 10m", ["budget '9m'", "budget '10m'"]),
        ("--budget 9m --seed 1", ["seed 0", "seed 1"]),
        ("--budget 9m --context 64 --sizes 6", ["context 128", "context 64", "sizes 8", "sizes 6"]),
        ("--budget 9m --untied", ["untied False", "untied True"]),
        ("--budget 9m --tokenizer bpe:300", ["tokenizer 'bytes'", "tokenizer 'bpe:300'"]),
    ],
)
def test_other_settings_on_a_folder_are_named_and_nothing_is_touched(
    scalelab: Command, begun: Path, language: Path, change: str, named: list[str]
) -> None:
    before = (begun / "study.json").read_text()
    code, _, err = scalelab("run", "--text", language, "--out", begun, *change.split())
    assert code == 2
    for words in named:
        assert words in err
    assert "Choose another --out, or delete that folder" in err
    assert err.count("\n") == 1
    assert (begun / "study.json").read_text() == before


def test_another_text_on_a_folder_is_named(
    scalelab: Command, begun: Path, language: Path, tmp_path: Path
) -> None:
    code, _, err = scalelab("run", "--text", tmp_path, "--budget", "9m", "--out", begun)
    assert code == 2
    assert f"holds a study with text ['{language}']" in err
    assert f"text ['{tmp_path}']" in err


def test_how_many_processes_and_how_the_folder_is_named_are_no_other_study(
    begun: Path, language: Path
) -> None:
    for out in ("begun", str(begun.resolve())):
        settings = RunSettings(text=(str(language),), budget="9m", out=out, workers=7)
        assert pipeline.open_study(settings) == Path(out)


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "7", '"text"', '{"widths": [8]}'])
def test_a_damaged_plan_is_named(
    scalelab: Command, begun: Path, language: Path, content: str
) -> None:
    (begun / "plan.json").write_text(content)
    code, _, err = scalelab("run", "--text", language, "--budget", "9m", "--out", begun)
    assert code == 2
    assert "plan.json is damaged or of another version" in err
    assert "Choose another --out, or delete begun" in err
    assert "run the same command" not in err, "without its plan the runs there are of no use"
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "null"])
def test_a_damaged_study_record_is_named(
    scalelab: Command, begun: Path, language: Path, content: str
) -> None:
    (begun / "study.json").write_text(content)
    code, _, err = scalelab("run", "--text", language, "--budget", "9m", "--out", begun)
    assert code == 2
    assert "study.json" in err
    assert err.count("\n") == 1


def test_a_record_of_an_older_version_has_the_defaults_of_what_it_lacks(
    begun: Path, language: Path
) -> None:
    record = read_json(begun / "study.json")
    del record["settings"]["norm"]
    write_json(begun / "study.json", record)
    settings = RunSettings(text=(str(language),), budget="9m", out="begun")
    assert pipeline.open_study(settings) == begun


# --- the plan, on a machine of known speed --------------------------------------------------------


def test_a_dry_run_prints_every_run_with_its_cost_and_why_and_keeps_nothing(
    scalelab: Command, language: Path, planted: list[Path], tmp_path: Path
) -> None:
    words = ["run", "--text", language, "--budget", "5m", "--out", "study", *SMALL]
    code, out, err = scalelab(*words, "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)
    assert out.count("\n") == 1, "one object and nothing else"
    assert "measuring" in err, "what is going on is told beside it"
    assert set(plan) == {"runs", "flops", "seconds", "left_out"}
    assert plan["left_out"] == {}, "no design, nothing that one leaves out"
    for run in plan["runs"]:
        assert set(run) == {
            "run", "params", "tokens", "batch_tokens", "lr", "flops", "seconds", "why",
        }  # fmt: skip
        assert run["seconds"] > 0
    assert sum(run["flops"] for run in plan["runs"]) == pytest.approx(plan["flops"])
    assert 0 < plan["seconds"] < 300
    assert plan["seconds"] < sum(run["seconds"] for run in plan["runs"]), "two at a time"
    largest = max(run["params"] for run in plan["runs"])
    for run in plan["runs"]:
        trunk = run["why"].startswith("stable trunk")
        assert ("held out" in run["why"]) == (run["params"] == largest and not trunk)
    assert planted
    assert not any(folder.exists() for folder in planted), "measured in passing"
    assert list(Path.cwd().iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"work", "cache"}

    code, out, _ = scalelab(*words, "--dry-run")
    assert code == 0
    for run in plan["runs"]:
        (line,) = [line for line in out.splitlines() if line.startswith(f"{run['run']} ")]
        assert line.endswith(f"  {run['why']}")
        assert "FLOP" in line
    for reason in ("(measured)", "(paper)", "(assumed)"):
        assert reason in out, "where every choice comes from"
    assert list(Path.cwd().iterdir()) == []


def test_flags_override_the_file_wherever_it_is_named(
    scalelab: Command, language: Path, planted: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(f'text = "{language}"\nbudget = "5m"\ncontext = 32\nsizes = 6\ndata-sizes = 3')
    plans = []
    for words in (
        ["run", file, "--dry-run", "--json"],
        ["run", "--dry-run", "--json", file],
        ["run", "--json", "--sizes", "5", file, "--dry-run"],
    ):
        code, out, _ = scalelab(*words)
        assert code == 0
        plans.append(len({run["params"] for run in json.loads(out)["runs"]}))
    assert plans == [6, 6, 5]
    assert planted


def test_the_command_that_is_recorded_asks_for_the_same_study() -> None:
    settings = RunSettings(
        text=("a book.txt", "more/"), budget="1h 30m", out="there", tokenizer="bpe:500", context=64,
        sizes=6, untied=True, norm="rmsnorm", separator="---", seed=9,
    )  # fmt: skip
    words = shlex.split(pipeline.command_of(settings))
    assert words[:2] == ["scalelab", "run"]
    command = cli._parse(words[1:])
    assert isinstance(command, cli.Run)
    assert command.settings() == settings
    assert pipeline.command_of(RunSettings()) == "scalelab run"


# --- count ----------------------------------------------------------------------------------------


def test_count_knows_gpt_2(scalelab: Command) -> None:
    code, out, err = scalelab("count", "--n-layer", "12", "--d-model", "768", "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    answer = json.loads(out)
    parts = answer["parameters"]
    assert parts["total"] == parts["active"] == 124_439_808  # as released
    assert parts["non_embedding"] == 12 * 12 * 768**2  # Kaplan et al. 2020, section 2.1
    assert parts["embedding"] == (50_257 + 1024) * 768
    assert parts["output"] == 0
    flops = answer["flops_per_token"]
    assert flops["6N"] == 6 * 12 * 12 * 768**2
    assert flops["kaplan"] == flops["6N"] + 6 * 12 * 1024 * 768
    assert flops["exact"] == flops["6N"] + 6 * 50_257 * 768 + 12 * 12 * 1024 * 768
    for words in ("context is 1024", "vocabulary is 50257", "learned positions", "tied output"):
        assert any(words in text for text in answer["assumed"])


def test_count_equals_counting_and_its_parts_sum_up(scalelab: Command) -> None:
    words = "--n-layer 3 --d-model 24 --n-head 3 --d-ff 50 --context 17 --vocabulary 99 --untied"
    code, out, _ = scalelab("count", *words.split(), "--json")
    assert code == 0
    answer = json.loads(out)
    shape = TransformerShape(3, 24, 3, 50, 17, 99, positions="learned", bias=True, tied=False)
    parts = answer["parameters"]
    assert parts == count_parameters(shape).to_dict()
    names = ("embedding", "attention", "feed_forward", "norm", "bias", "output")
    assert sum(parts[name] for name in names) == parts["total"]
    assert parts["output"] == 24 * 99
    assert parts["attention"] + parts["feed_forward"] == parts["non_embedding"]
    assert answer["flops_per_token"] == {name: flops_per_token(shape, name) for name in CONVENTIONS}
    code, out, _ = scalelab("count", *words.split())
    assert code == 0
    assert parts.pop("recurrent") == 0
    for name, number in parts.items():
        assert f"{name} " in out
        assert f"{number:,}" in out
    for name in CONVENTIONS:
        assert f"FLOP/token {name} " in out
    for text in answer["assumed"]:
        assert f"assumed: {text}\n" in out


LLAMA_3 = (
    "--n-layer 32 --d-model 4096 --n-head 32 --n-kv-head 8 --d-ff 14336 --vocabulary 128256 "
    "--context 8192"
)


@pytest.mark.parametrize(
    ("words", "total"),
    [
        (f"{LLAMA_3} --activation swiglu", 8_030_261_248),
        (f"{LLAMA_3} --model-type llama", 8_030_261_248),
        (
            "--n-layer 2 --d-model 8 --vocabulary 10 --positions learned --bias none",
            2 * 12 * 8**2 + (10 + 1024) * 8 + 5 * 8,
        ),
        (
            "--n-layer 1 --d-model 8 --d-ff 9 --vocabulary 10 --activation silu --bias all "
            "--norm rmsnorm --positions none --untied",
            4 * 8 * 8 + 2 * 8 * 9 + (4 * 8 + 9 + 8) + 3 * 8 + 2 * 10 * 8,
        ),
        (
            "--n-layer 1 --d-model 8 --n-head 2 --n-kv-head 1 --head-dim 6 --d-ff 9 --vocabulary "
            "10 --activation reglu --n-expert 4 --n-expert-active 1 --d-expert 5 "
            "--n-shared-expert 2",
            2 * 8 * (12 + 6) + (4 + 2) * 3 * 8 * 5 + 4 * 8 + 3 * 8 + 2 * 10 * 8,
        ),
    ],
)
def test_count_of_other_shapes_by_hand(scalelab: Command, words: str, total: int) -> None:
    code, out, _ = scalelab("count", *words.split(), "--json")
    assert code == 0
    assert json.loads(out)["parameters"]["total"] == total


def test_count_reads_a_config_and_options_replace_what_it_says(
    scalelab: Command, tmp_path: Path
) -> None:
    values = {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 20,
        "vocab_size": 50,
        "max_position_embeddings": 64,
        "torch_dtype": "bfloat16",
        "made_up": 3,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(values))
    answers = []
    for words in ((str(file),), (str(tmp_path), "--context", "32", "--vocabulary", "60")):
        code, out, _ = scalelab("count", *words, "--json")
        assert code == 0
        answers.append(json.loads(out))
    first, second = answers
    matrices = 2 * (2 * 16 * 24 + 3 * 16 * 20)
    assert first["parameters"]["total"] == matrices + 5 * 16 + 2 * 50 * 16
    assert second["parameters"]["total"] - first["parameters"]["total"] == 2 * 10 * 16
    assert "not understood and left out: made_up" in first["assumed"]
    assert "context is max_position_embeddings" in first["assumed"]
    assert not any(text.startswith("context") for text in second["assumed"])


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("{", "config.json is not JSON"),
        ("[1]", "is not one JSON object"),
        ('{"a": 1}', "has no key of a model's shape; it has a"),
        ('{"model_type": "novel", "n_layer": 2}', "'novel' is not known; known are"),
        ('{"model_type": "llama", "hidden_size": 8}', "no n_layer, n_head, d_ff, context, vocab"),
        ('{"hidden_size": 8, "kv_lora_rank": 2}', "kv_lora_rank is 2: a shape with latent"),
    ],
)
def test_a_config_that_is_none_is_refused(
    scalelab: Command, tmp_path: Path, text: str, seen: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    code, out, err = scalelab("count", str(tmp_path))
    assert (code, out) == (2, "")
    assert seen in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("no-such-file.json", "no-such-file.json cannot be read"),
        ("--n-layer 2", "give --d-model"),
        ("--n-layer 2 --d-model 8 --n-kv-head 2 --activation relu", "give --n-head"),
        ("--n-layer 2 --d-model 8 --activation swiglu", "no d_ff; give --d-ff"),
        ("--n-layer 2 --d-model 8 --positions rotary", "no activation beside --positions"),
        ("--n-layer 0 --d-model 8", "n_layer is 0"),
        ("--n-layer 2 --d-model 8 --n-head 3", "d_model 8 is not divisible by n_head 3"),
    ],
)
def test_a_shape_that_is_not_told_is_asked_for(scalelab: Command, words: str, seen: str) -> None:
    code, out, err = scalelab("count", *words.split())
    assert (code, out) == (2, "")
    assert seen in err


# --- the program itself ---------------------------------------------------------------------------


def test_version_is_that_of_the_package() -> None:
    for flag in ("--version", "-V"):
        done = subprocess.run(
            [sys.executable, "-m", "scalelab", flag], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"scalelab {version('scalelab')}\n"
        assert done.stderr == ""


@pytest.mark.parametrize(
    "words",
    ["--help", "run --help", "count --help", "count --n-layer 2 --d-model 8", "run --budget 1"],
)
def test_what_needs_no_training_imports_nothing_heavy(words: str) -> None:
    code = (
        "import sys\n"
        "from scalelab.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print('ended', end.code)\n"
        "print(sorted({'torch', 'scipy', 'altair', 'polars', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=True
    )
    *said, ended, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert ended == ("ended 2" if "budget" in words else "ended 0")
    if "--help" in words:
        assert "usage: scalelab" in said[0]


def test_help_names_every_setting_with_what_it_is(scalelab: Command) -> None:
    code, out, _ = scalelab("run", "--help")
    assert code == 0
    for name in RunSettings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in out
    for name in ("--dry-run", "--json", "STUDY"):
        assert name in out
    assert "goes on where it stopped" in " ".join(out.split())


def test_ctrl_c_says_that_the_same_command_goes_on(
    scalelab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupted)
    code, _, err = scalelab("run", "--budget", "1m")
    assert code == 130
    assert err == "scalelab: stopped; the same command goes on from here.\n"


def test_a_study_without_a_checked_prediction_is_no_success(
    scalelab: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import polars as pl

    from scalelab.studies.result import StudyResult

    empty = StudyResult(
        name="n", title="t", runs=pl.DataFrame(), curves=pl.DataFrame(),
        missing={"held_out": "nothing finished"},
    )  # fmt: skip
    monkeypatch.setattr(pipeline, "run", lambda *_: (empty, tmp_path / "report.html"))
    code, out, _ = scalelab("run", "--json")
    assert code == 1
    answer = json.loads(out)
    assert answer["held_out"] is None
    assert answer["missing"] == {"held_out": "nothing finished"}
    assert answer["runs"] == []
    assert scalelab("run")[0] == 1


def test_text_without_a_path_is_not_the_default_text(scalelab: Command) -> None:
    for words in (("run", "--text"), ("run", "--text", "--dry-run")):
        code, out, err = scalelab(*words)
        assert (code, out) == (2, "")
        assert "--text is given without a file or folder" in err
