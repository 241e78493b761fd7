"""Remembered results: the same ones come back, and none from a file that is not as it was written."""

import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.foundation.remembered import remembered

RESULTS = st.dictionaries(st.text(max_size=5), st.binary(max_size=20), max_size=5)


def write(path: Path, results: dict[str, bytes]) -> None:
    with remembered(path) as memory:
        for name, result in results.items():
            memory.put(memory.key(name), result)


def read(path: Path, *names: str) -> dict[str, bytes | None]:
    with remembered(path) as memory:
        return {name: memory.get(memory.key(name)) for name in names}


@given(results=RESULTS)
def test_what_was_put_is_got(results: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "memory.npz"
        write(path, results)
        assert read(path, *results, "another") == {**results, "another": None}


def test_parts_of_a_key_are_told_apart() -> None:
    with remembered(None) as memory:
        assert len({memory.key("a", "bc"), memory.key("ab", "c"), memory.key("abc"), memory.key("abc", "")}) == 4


def test_what_a_run_did_not_use_is_forgotten_unless_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "memory.npz"
    write(path, {"one": b"1", "two": b"2"})
    with pytest.raises(RuntimeError), remembered(path) as memory:  # noqa: PT012  # the block is what is tested
        memory.put(memory.key("three"), b"3")
        raise RuntimeError
    assert read(path, "one", "three") == {"one": b"1", "three": b"3"}
    assert read(path, "one", "two", "three") == {"one": b"1", "two": None, "three": b"3"}


def test_other_code_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, source = tmp_path / "memory.npz", tmp_path / "module.py"
    module = ModuleType("drum_crnn.module")
    module.__file__ = str(source)
    monkeypatch.setitem(sys.modules, "drum_crnn.module", module)
    source.write_text("A = 1")
    write(path, {"one": b"1"})
    source.write_text("A = 2")
    with pytest.raises(RuntimeError), remembered(path) as memory:  # noqa: PT012  # the block is what is tested
        assert memory.get(memory.key("one")) is None
        raise RuntimeError  # so that nothing is forgotten
    source.write_text("A = 1")
    assert read(path, "one") == {"one": b"1"}


@given(data=st.data())
def test_a_damaged_file_is_as_good_as_none(data: st.DataObject) -> None:
    """Flipped bits and lost ends: each result is right or missing, and there is no error."""
    results = {"one": b"first result", "two": b"second"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.npz"
        write(path, results)
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
        found = read(path, *results)
        assert all(found[name] in (None, result) for name, result in results.items())


def test_a_damaged_file_is_named_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "memory.npz"
    write(path, {"one": b"1"})
    path.write_bytes(path.read_bytes()[:-30])
    assert read(path, "one") == {"one": None}
    assert f"warning: {path}: is damaged" in capsys.readouterr().err
    write(path, {"one": b"1"})
    capsys.readouterr()
    assert read(path, "one") == {"one": b"1"}
    assert capsys.readouterr().err == ""


def test_a_place_that_cannot_be_written_only_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "memory.npz"
    path.mkdir()
    write(path, {"one": b"1"})
    assert "the next run takes longer" in capsys.readouterr().err
    assert list(path.iterdir()) == []
