"""Laws of nhin restore: files, standard input, blocks, bytes that are not text, and what it refuses."""

import io

import pytest

from nhin.cli import restore as command
from nhin.cli.app import main


@pytest.fixture
def run(monkeypatch, capfdbinary):
    def call(*words, stdin=b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(["restore", *map(str, words)])
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    return call


def test_standard_input_and_files_are_restored(run, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"Toi di hoc.\n")
    assert run(stdin=b"toi di hoc\r\n")[:2] == (0, "tôi đi học\r\n".encode())
    code, out, _ = run(tmp_path / "a.txt", "-", stdin=b"hoc sinh")
    assert (code, out) == (0, "Tôi đi học.\nhọc sinh".encode())


def test_bytes_that_are_not_utf8_stay(run):
    data = b"\xff toi \x80\xc3 di \x00"
    assert run(stdin=data)[1] == "\udcff tôi \udc80\udcc3 đi \x00".encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("text", [b"toi di hoc\n" * 40, b"toi di hoc " * 40, "tôi".encode() * 99, b"x" * 99])
def test_blocks_of_any_size_give_the_same_text(text, run, monkeypatch):
    whole = run(stdin=text)[1]
    for size in (1, 16, 64):
        monkeypatch.setattr(command, "BLOCK", size)
        out = run(stdin=text)[1]
        assert len(out.decode()) == len(text.decode())
        if size > text.find(b"\n") > 0 or b" " not in text:  # a longer line is cut at a word
            assert out == whole


def test_in_place_replaces_the_file_and_keeps_its_mode(run, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"toi di hoc\n")
    path.chmod(0o640)
    (tmp_path / "link.txt").symlink_to(path)
    assert run(tmp_path / "link.txt", "--in-place")[:2] == (0, b"")
    assert path.read_text("utf-8") == "tôi đi học\n"
    assert (tmp_path / "link.txt").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.txt", "link.txt"}


def test_a_failure_in_place_leaves_the_file(run, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"toi di hoc\n")
    monkeypatch.setattr(command, "restore_stream", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    code, _, err = run(path, "--in-place")
    assert (code, path.read_bytes()) == (3, b"toi di hoc\n")
    assert err.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_text_of_ones_own_is_counted_too(run, tmp_path):
    (tmp_path / "own.txt").write_text("tỏi đỉ hóc\n" * 50, encoding="utf-8")
    assert run(stdin=b"toi di hoc")[1] == "tôi đi học".encode()
    assert run("--text", tmp_path / "own.txt", stdin=b"toi di hoc")[1] == "tỏi đỉ hóc".encode()


def test_alternatives_are_a_table(run):
    rows = run("--alternatives", "2", stdin=b"toi di hoc")[1].decode().splitlines()
    assert rows[0] == "syllable\tword\tconfidence\tothers"
    assert [row.split("\t")[:2] for row in rows[1:]] == [["toi", "tôi"], ["di", "đi"], ["hoc", "học"]]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nowhere.txt"], 3),
        (["."], 3),
        (["--in-place"], 2),
        (["-", "--in-place"], 2),
        (["--model", "nowhere"], 4),
        (["--model", "x", "--text", "y"], 2),
        (["--text", "nowhere.txt"], 3),
        (["--alternatives", "99"], 2),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(words, code, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, out, err = run(*words)
    assert (got, out) == (code, b"")
    assert err.count("\n") == 1
