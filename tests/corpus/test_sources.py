"""The text of the running Python, and the hub."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from text_samples import text

from scalelab.corpus import CorpusSpec, prepare
from scalelab.corpus.pieces import Tally
from scalelab.corpus.sources import _pieces, embedded_files, open_source
from scalelab.errors import CorpusError


def test_embedded_files_are_language_and_in_order() -> None:
    files = embedded_files()
    names = [str(file.path) for file in files]
    assert names == [str(file.path) for file in embedded_files()]
    assert len(set(names)) == len(names) > 300
    root = Path(sysconfig.get_paths()["stdlib"])
    parts = {part for name in names for part in Path(name).relative_to(root).parts}
    assert not parts & {"test", "tests", "site-packages", "encodings", "__pycache__"}
    assert {"argparse.py", "topics.py"} <= parts
    assert sum(Path(name).stat().st_size for name in names) > 5e6


def test_reference_is_prose_not_python_strings() -> None:
    files = [file for file in embedded_files() if file.path.name == "topics.py"]
    pieces = list(_pieces(files, CorpusSpec(), Tally()))
    assert len(pieces) > 50
    assert all(piece.ends for piece in pieces)
    (loops,) = (piece.text.decode() for piece in pieces if piece.source.endswith("topic for"))
    assert loops.lstrip().startswith("The")
    assert "\\n" not in loops.split("***")[0]


def test_stripped_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "os.py").write_text("x = 1")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(CorpusError, match=r"only 5 bytes .* Give text of your own: --text"):
        open_source(CorpusSpec())


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(CorpusError, match=r"no file of text under .*1 files were passed over"):
        open_source(CorpusSpec(paths=(str(tmp_path),)))


class FakeHub(ModuleType):
    """Stands for the package `datasets`: splits of records, and what was asked for."""

    def __init__(self, splits: dict[str, list[dict[str, object]]]) -> None:
        super().__init__("datasets")
        self.splits = splits
        self.asked: list[object] = []

    def load_dataset(
        self, name: str, config: str | None, *, streaming: bool
    ) -> dict[str, Iterator[dict[str, object]]]:
        self.asked.append((name, config, streaming))
        if name == "absent":
            raise FileNotFoundError("Dataset 'absent' doesn't exist on the Hub")
        return {key: self._stream(records) for key, records in self.splits.items()}

    def _stream(self, records: list[dict[str, object]]) -> Iterator[dict[str, object]]:
        for record in records:
            if "fails" in record:
                raise ConnectionError("reset by peer")
            yield record


def records(numbers: range) -> list[dict[str, object]]:
    return [{"id": number, "text": text(number)} for number in numbers]


def hub(monkeypatch: pytest.MonkeyPatch, **splits: list[dict[str, object]]) -> FakeHub:
    fake = FakeHub(splits)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_hub_splits_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = hub(monkeypatch, train=records(range(60)), validation=records(range(60, 65)))
    spec = CorpusSpec(hf="owner/name:en")
    corpus = prepare(spec, tmp_path)
    assert fake.asked == [("owner/name", "en", True)]
    assert corpus.valid.documents == 5
    assert corpus.train.documents + corpus.test.documents == 60
    assert corpus.name == "owner/name:en"
    prepare(spec, tmp_path)
    assert len(fake.asked) == 1, "the second time needs no network"


def test_hub_is_read_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, everything=[*records(range(30)), {"fails": True}])
    corpus = prepare(CorpusSpec(hf="a", limit_bytes=40_000), tmp_path)
    assert 39_000 < sum(shards.bytes for shards in corpus.shards) <= 40_000
    monkeypatch.setattr("scalelab.corpus.hub.HUB_LIMIT", 30_000)
    corpus = prepare(CorpusSpec(hf="a"), tmp_path)
    assert "hub-limit" in [notice.code for notice in corpus.notices]


def test_hub_trouble_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, train=[*records(range(2)), {"fails": True}])
    with pytest.raises(CorpusError, match="broke off after record 1 of train: reset by peer"):
        prepare(CorpusSpec(hf="a"), tmp_path)
    with pytest.raises(
        CorpusError, match=r"a train record 0 has no field 'body'; it has: id, text"
    ):
        prepare(CorpusSpec(hf="a", text_field="body"), tmp_path)
    with pytest.raises(CorpusError, match="absent cannot be loaded: Dataset 'absent' doesn't"):
        prepare(CorpusSpec(hf="absent"), tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match=r"pip install 'scalelab\[hf\]'"):
        prepare(CorpusSpec(hf="a"), tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the package and what it imports
def test_real_datasets_package_streams_a_local_folder(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the extra hf is not installed")
    import polars as pl

    folder = tmp_path / "set"
    folder.mkdir()
    pl.DataFrame(records(range(40))).write_parquet(folder / "train.parquet")
    pl.DataFrame(records(range(40, 45))).write_parquet(folder / "validation.parquet")
    corpus = prepare(CorpusSpec(hf=str(folder)), tmp_path / "cache")
    assert corpus.valid.documents == 5
    assert corpus.train.documents + corpus.test.documents == 40
