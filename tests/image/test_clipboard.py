"""The clipboard gives a picture or files, and one clear line where it has neither."""

from pathlib import Path

import pytest
from PIL import Image, ImageGrab

from nhin.errors import PictureError
from nhin.image.clipboard import read_clipboard


def answer(monkeypatch, value):
    """Let the system's clipboard hold a value, or fail with an error."""

    def grab():
        if isinstance(value, Exception):
            raise value
        return value

    monkeypatch.setattr(ImageGrab, "grabclipboard", grab)


def test_it_gives_the_picture_or_the_files_that_were_copied(monkeypatch):
    picture = Image.new("RGB", (4, 4))
    answer(monkeypatch, picture)
    assert read_clipboard() is picture
    answer(monkeypatch, ["/ảnh/a.png", "/ảnh/b.pdf"])
    assert read_clipboard() == [Path("/ảnh/a.png"), Path("/ảnh/b.pdf")]


@pytest.mark.parametrize(
    "value, says",
    [
        (None, "holds no picture"),
        ([], "holds no picture"),
        (NotImplementedError("wl-paste or xclip is required"), "install wl-clipboard, or xclip"),
        (ChildProcessError("xclip error: Can't open display: (null)"), "Can't open display"),
    ],
)
def test_without_a_picture_it_says_why_in_a_line(monkeypatch, value, says):
    answer(monkeypatch, value)
    with pytest.raises(PictureError, match=says) as caught:
        read_clipboard()
    assert "\n" not in str(caught.value)
