"""Sources give their text unchanged; files that are not text are refused or counted."""

import codecs
import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nhin.data.text import sources
from nhin.data.text.hub import save_documents
from nhin.data.text.prepare import open_source
from nhin.errors import DataError, MissingExtra, NhinError


def read_all(source) -> list[str]:
    return ["".join(document) for document in source.documents()]


def write(path, data: bytes | str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@given(
    text=st.text("aệ👩\r\n\u0302\ufeff").filter(lambda text: not text.startswith("\ufeff")),
    piece=st.integers(1, 9),
)
def test_a_file_gives_its_text_exactly_whatever_the_pieces(tmp_path_factory, text, piece):
    """Letters of several bytes lie across pieces; a mark of byte order further in is a character."""
    path = write(tmp_path_factory.mktemp("text") / "a.txt", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_CHUNK_BYTES", piece)
        source = open_source(str(path))
        assert read_all(source) == [text] == read_all(source)


def test_a_mark_of_byte_order_is_dropped(tmp_path):
    source = open_source(str(write(tmp_path / "a.txt", codecs.BOM_UTF8 + "\ufeffệ\r\n".encode())))
    assert read_all(source) == ["\ufeffệ\r\n"]
    assert source.single


@given(
    before=st.text("aệ", max_size=9),
    piece=st.integers(3, 7),
    wrong=st.sampled_from([b"\xff", b"\xe1\xbb", b"\xc3("]),
)
def test_a_byte_that_is_no_utf8_is_named(tmp_path_factory, before, piece, wrong):
    path = write(tmp_path_factory.mktemp("text") / "a.txt", before.encode() + wrong)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_CHUNK_BYTES", piece)
        with pytest.raises(DataError, match=rf"a\.txt is not UTF-8 at byte {len(before.encode())};"):
            read_all(open_source(str(path)))


def test_binary_files_are_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="binary, not text: byte 2 is zero"):
        read_all(open_source(str(write(tmp_path / "a", b"ab\0c"))))
    with pytest.raises(DataError, match="UTF-16"):
        read_all(open_source(str(write(tmp_path / "b", "abc".encode("utf-16")))))


def test_a_folder_gives_its_texts_in_order_and_counts_what_it_leaves_out(tmp_path):
    root = tmp_path / "root"
    write(root / "b.txt", "b")
    write(root / "a" / "z.txt", "z")
    write(root / "a.md", "ệ\r\n")
    write(root / ".git" / "x", "hidden")
    write(root / ".secret", "hidden")
    write(root / "c.png", b"\x89PNG\0")
    write(root / "d.txt", "đ".encode("utf-16"))
    write(root / "e.txt", b"caf\xe9")
    write(tmp_path / "out" / "side.txt", "outside")
    (root / "link.txt").symlink_to(tmp_path / "out" / "side.txt")
    (root / "loop").symlink_to(root)
    (root / "gone").symlink_to(tmp_path / "nowhere")
    source = open_source(str(root))
    assert read_all(source) == ["z", "ệ\r\n", "b"] == read_all(source)
    assert source.skipped == {"hidden": 2, "binary": 2, "not UTF-8": 1, "links": 3}
    assert not source.single


def test_a_link_to_a_file_inside_the_folder_is_that_file(tmp_path):
    write(tmp_path / "a.txt", "a")
    (tmp_path / "b.txt").symlink_to("a.txt")
    assert read_all(open_source(str(tmp_path))) == ["a", "a"]


def test_a_folder_of_one_text_is_that_text(tmp_path):
    write(tmp_path / "deep" / "a.txt", "a")
    assert open_source(str(tmp_path)).single


def test_a_letter_across_the_end_of_the_bytes_that_are_checked_is_text(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_CHUNK_BYTES", 4)
    write(tmp_path / "a.txt", "aaaệ")
    assert read_all(open_source(str(tmp_path))) == ["aaaệ"]


def test_a_folder_without_text_says_what_it_holds(tmp_path):
    write(tmp_path / "a.png", b"\0")
    with pytest.raises(DataError, match=r"no text files.*1 binary"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("name", ["nowhere", "/dev/null", "hf:"])
def test_other_names_are_refused(name):
    with pytest.raises(NhinError):
        open_source(name)


def test_python_is_on_every_machine_and_the_same_twice():
    source = open_source("python")
    beginning = next(source.documents())
    texts = read_all(source)
    assert len(texts) > 100
    assert sum(map(len, texts)) > 2**21
    assert next(beginning) == texts[0][: sources._CHUNK_BYTES]
    assert any("class JSONDecoder" in text for text in texts)
    assert not any("class TestCase(" in text and "test_support" in text for text in texts)
    assert max(map(len, texts)) < 2**19


class Datasets(ModuleType):
    """A fake of the package ``datasets`` that counts its calls."""

    calls = 0

    def __init__(self, rows):
        super().__init__("datasets")
        self.rows = rows

    def load_dataset(self, name, split, streaming):
        assert (split, streaming) == ("train", True)
        self.calls += 1
        if name == "nobody/nothing":
            raise FileNotFoundError("no such data set\non the hub")
        return iter(self.rows)


def hub(monkeypatch, rows=({"text": "một\r\n", "body": "hai", "id": 3}, {"text": "", "body": "ba"})):
    package = Datasets(rows)
    monkeypatch.setitem(sys.modules, "datasets", package)
    return package


def test_the_hub_gives_a_column_row_by_row_when_it_is_read(monkeypatch):
    package = hub(monkeypatch)
    source = open_source("hf:ai/thơ")
    assert package.calls == 0
    assert read_all(source) == ["một\r\n", ""]
    assert read_all(open_source("hf:ai/thơ:body")) == ["hai", "ba"]
    assert source.remote
    assert not source.single


def test_rows_of_the_hub_are_saved_and_not_downloaded_again(monkeypatch, tmp_path):
    package = hub(monkeypatch, [{"text": "a\u2028\x85\r\n"}, {"text": "b"}])
    saved = save_documents(open_source("hf:ai/thơ"), tmp_path / "saved")
    assert read_all(saved) == ["a\u2028\x85\r\n", "b"] == read_all(saved)
    assert package.calls == 1
    assert (saved.name, saved.remote) == ("hf:ai/thơ", False)


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("hf:ai/thơ:lời", [{"text": "a", "n": 1}], "row 0 .* column lời; columns of text: text"),
        ("hf:ai/thơ", [{"text": "a"}, {"text": None}], "row 1 "),
        ("hf:ai/thơ", [{"text": "a\ud800"}], "half a surrogate pair"),
        ("hf:nobody/nothing", [], "cannot read hf:nobody/nothing"),
    ],
)
def test_errors_of_the_hub_name_the_row(monkeypatch, name, rows, words):
    hub(monkeypatch, rows)
    with pytest.raises(DataError, match=words):
        read_all(open_source(name))


def test_without_the_package_the_hub_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match="pip install datasets"):
        open_source("hf:ai/thơ")
