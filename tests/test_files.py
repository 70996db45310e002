"""Laws of files: whole or absent, the old one intact where the new one fails, one process a lock."""

import hashlib

import pytest

from nhin import files
from nhin.errors import CheckpointError, UsageError
from nhin.files import (
    find_folder,
    hash_file,
    lock_folder,
    parse_json,
    read_bytes,
    read_json,
    write_atomic,
    write_folder,
)


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "chữ.txt"
    write_atomic(path, "ệ")
    write_atomic(path, b"\x00second")
    assert path.read_bytes() == b"\x00second"
    assert [one.name for one in path.parent.iterdir()] == ["chữ.txt"]
    assert hash_file(path) == hashlib.sha256(b"\x00second").hexdigest()


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*a\.txt: No space left on device"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "f"
    assert find_folder(folder) is None
    with write_folder(folder) as new:
        (new / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), write_folder(folder) as new:
        (new / "b").write_text("2")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["f", "a"]
    with write_folder(folder) as new:
        (new / "b").write_text("2")
    assert find_folder(folder) == folder
    assert [path.name for path in tmp_path.rglob("*")] == ["f", "b"]


def test_between_two_renames_the_old_folder_is_found_and_the_next_write_tidies_up(tmp_path, monkeypatch):
    folder = tmp_path / "f"
    with write_folder(folder) as new:
        (new / "a").write_text("1")

    def interrupt(folder, new, old):
        folder.rename(old)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), write_folder(folder) as new:
        patch.setattr(files, "swap", interrupt)
    found = find_folder(folder)
    assert found is not None and (found / "a").read_text() == "1"
    with write_folder(folder) as new:
        (new / "b").write_text("2")
    assert [path.name for path in tmp_path.rglob("*")] == ["f", "b"]


def test_a_folder_is_locked_by_one_and_free_again_afterwards(tmp_path):
    folder = tmp_path / "f"
    for _ in range(2):
        with (
            lock_folder(folder, "in use"),
            pytest.raises(UsageError, match="in use"),
            lock_folder(folder, "in use"),
        ):
            pass


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("{", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        ("[NaN]", "NaN is not a number of JSON"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("9" * 5000, "not JSON"),
    ],
)
def test_json_of_a_stranger_is_refused_in_one_line(text, why):
    with pytest.raises(UsageError, match=why) as refused:
        parse_json(text, "x.json", UsageError)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_file_is_read_up_to_a_number_of_bytes(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [1.5, "ệ"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1.5, "ệ"]}
    assert read_bytes(path, path.stat().st_size) == path.read_bytes()
    with pytest.raises(CheckpointError, match="larger than 7 bytes"):
        read_json(path, max_bytes=7)
    with pytest.raises(UsageError, match="not a file"):
        read_json(tmp_path, UsageError)
    with pytest.raises(CheckpointError, match="No such file"):
        read_json(tmp_path / "b")
