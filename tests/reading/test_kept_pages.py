"""Pages read before an interruption come back as they were, but only to the same input and settings."""

import pytest
from made_lines import make_line

from nhin.errors import PictureError, UsageError
from nhin.reading.kept_pages import KeptPages, keep_pages
from nhin.reading.reading import Reading
from nhin.reading.result import Line, ReadingWarning, TextBlock

FIRST, SECOND = make_line("Nguyễn 😀", 1 / 3, 2, angle=7), Line("b", 0.25, ((0, 0), (9, 0), (9, 9), (0, 9)))
PAGE = Reading(
    (FIRST, SECOND),
    640,
    480,
    3,
    (ReadingWarning("ink-unread", "trang 3"),),
    90,
    (TextBlock("heading", (((FIRST,),),), 2), TextBlock("table", (((), (SECOND,)),))),
    "text",
)
PLAIN = Reading((Line("a", 0.5, SECOND.box, (), (("a", 0.5), ("á", 0.25))),), 10, 20, 4)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "thư.pdf"
    path.write_bytes(b"%PDF-1.7")
    return path


def interrupt(target, source, settings="x", pages=((PAGE, 150.0),)):
    """Keep pages as a run does that is then killed."""
    with pytest.raises(KeyboardInterrupt), keep_pages(target, source, settings) as kept:
        for page in pages:
            kept.add(*page)
        raise KeyboardInterrupt


def find(target, source, settings="x") -> list:
    """Return pages 3 and 4 as the next run finds them, which is interrupted too."""
    with pytest.raises(KeyboardInterrupt), keep_pages(target, source, settings) as kept:
        found = [kept.find(3), kept.find(4)]
        raise KeyboardInterrupt
    return found


def test_pages_come_back_exactly_as_they_were(tmp_path, source):
    target = tmp_path / "ra" / "thư.txt"
    interrupt(target, source, pages=[(PAGE, 150.0), (PLAIN, 72.5)])
    assert find(target, source) == [(PAGE, 150.0), (PLAIN, 72.5)]


def test_a_line_that_is_torn_is_cut_off_and_the_next_page_is_kept(tmp_path, source):
    target = tmp_path / "thư.txt"
    interrupt(target, source, pages=[(PAGE, 150.0), (PLAIN, 72.5)])
    part = tmp_path / ".thư.txt.pages"
    part.write_bytes(part.read_bytes()[:-20])
    assert find(target, source) == [(PAGE, 150.0), None]
    interrupt(target, source, pages=[(PLAIN, 1.0)])
    assert find(target, source) == [(PAGE, 150.0), (PLAIN, 1.0)]


@pytest.mark.parametrize("damage", ["input", "settings", "file"])
def test_pages_of_another_input_or_of_other_settings_are_dropped(tmp_path, source, damage):
    target, settings = tmp_path / "thư.txt", "x"
    interrupt(target, source)
    if damage == "input":
        source.write_bytes(b"%PDF-1.6")
    elif damage == "file":
        (tmp_path / ".thư.txt.pages").write_bytes(b"\xff\x00[[[" * 99)
    else:
        settings = "y"
    assert find(target, source, settings) == [None, None]


def test_a_page_whose_line_says_something_else_is_read_again(tmp_path):
    with (tmp_path / "pages").open("w+b") as file:
        KeptPages(file, "k")
        file.write(
            b'{"page": 3, "lines": [], "blocks": [["table", 0, [[2]]]], "size": [1, 1, 0], "dpi": 1}\n'
        )
        file.write(b'{"page": 4}\n')
        kept = KeptPages(file, "k")
        assert (kept.find(3), kept.find(4)) == (None, None)


def test_nothing_is_left_after_success_and_after_an_input_that_cannot_be_read(tmp_path, source):
    with keep_pages(tmp_path / "thư.txt", source, "x") as kept:
        kept.add(PAGE, 1.0)
    assert not (tmp_path / ".thư.txt.pages").exists()
    with pytest.raises(PictureError), keep_pages(tmp_path / "thư.txt", source, "x"):
        raise PictureError("torn")
    assert not (tmp_path / ".thư.txt.pages").exists()
    with pytest.raises(UsageError), keep_pages(tmp_path / "thư.txt", source, "x"):
        raise UsageError("the disk is full")
    assert (tmp_path / ".thư.txt.pages").exists()


@pytest.mark.parametrize("name, data", [("thư", b"%PDF-1.7"), ("quét.bin", b"II*\0\x08\0\0\0")])
def test_pages_are_kept_whatever_the_name_of_the_file(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    interrupt(tmp_path / "ra.txt", tmp_path / name)
    assert find(tmp_path / "ra.txt", tmp_path / name)[0] == (PAGE, 150.0)


def test_a_picture_has_one_page_and_keeps_none(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "b.pdf").symlink_to(tmp_path / "b.pdf")  # cannot be read: its reader says why
    for name in ("a.pdf", "b.pdf", "c.pdf"):
        with keep_pages(tmp_path / "a.txt", tmp_path / name, "x") as kept:
            assert kept is None
    assert {path.name for path in tmp_path.iterdir()} == {"a.pdf", "b.pdf"}
