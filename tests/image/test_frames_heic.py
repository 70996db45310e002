"""Frames of animations are chosen by number; HEIC is opened where pillow-heif is, and named elsewhere."""

import io

import numpy as np
import pytest
from PIL import Image

from nhin.errors import MissingExtra, PictureError
from nhin.image import heic, load
from nhin.image.decode import Picture
from nhin.image.load import open_pages, open_picture
from nhin.image.page_ranges import parse_pages
from nhin.sandbox import SandboxError

SHADES = (40, 120, 220)


@pytest.fixture(scope="module", params=["GIF", "WEBP", "PNG"])
def animation(request):
    frames = [Image.new("RGB", (30, 20), (shade, 90, 90)) for shade in SHADES]
    out = io.BytesIO()
    frames[0].save(out, request.param, save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def shade_of(page) -> int:
    return round(float(page.content.pixels[..., 0].mean()))


def test_without_a_choice_the_first_frame_is_read_and_the_others_are_counted(animation):
    (page,) = open_pages(animation)
    assert shade_of(page) == pytest.approx(SHADES[0], abs=6)
    assert page.content.others == 2


def test_frames_are_chosen_by_number(animation):
    pages = list(open_pages(animation, wanted=parse_pages("2-")))
    assert [(page.number, page.count) for page in pages] == [(2, 3), (3, 3)]
    assert [shade_of(page) for page in pages] == pytest.approx(list(SHADES[1:]), abs=6)
    assert [page.content.others for page in pages] == [0, 0]
    assert list(open_pages(animation, wanted=parse_pages("4"))) == []


def test_a_file_of_one_frame_has_one_page():
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "GIF")
    (page,) = open_pages(out.getvalue(), wanted=parse_pages("1-"))
    assert (page.number, page.count, page.content.others) == (1, 1, 0)


def test_frames_after_those_that_end_the_child_process_are_said_not_to_be_opened(monkeypatch):
    def decode(file, name, frame=0, **_):
        if frame == 0:
            return Picture(np.zeros((2, 2, 3), np.uint8), 2, 2, others=9)
        raise PictureError(f"{name} cannot be decoded") from SandboxError("crashed")

    monkeypatch.setattr(load, "_decode_apart", decode)
    first, *failed, rest = open_pages(b"GIF89a", "động.gif", parse_pages("1,3-"))
    assert isinstance(first.content, Picture)
    assert [page.number for page in failed] == [3, 4, 5]
    assert (rest.number, "động.gif: its frames from 6 on are not opened" in str(rest.content)) == (6, True)


def test_frames_after_the_limit_are_said_not_to_be_opened(animation, monkeypatch):
    monkeypatch.setattr(load, "MAX_PAGES", 2)
    assert "more than 2 frames" in str(list(open_pages(animation, wanted=parse_pages("2-")))[-1].content)
    assert len(list(open_pages(animation, wanted=parse_pages("1-2")))) == 2


def test_a_heic_says_what_to_install(monkeypatch):
    monkeypatch.setattr(heic, "find_spec", lambda name: None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    for open_ in (open_picture, lambda data: list(open_pages(data, wanted=parse_pages("1")))):
        with pytest.raises(MissingExtra, match=r"HEIC photo, which needs pillow-heif.*heic"):
            open_(data)


def make_heic(width: int, height: int) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    out = io.BytesIO()
    shades = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None] * np.ones((height, 1, 3), np.uint8)
    pillow_heif.from_pillow(Image.fromarray(shades)).save(out, quality=90)
    return out.getvalue()


def test_a_heic_is_opened_as_it_was_saved():
    picture = open_picture(make_heic(96, 64))
    assert (picture.width, picture.height, picture.others) == (96, 64, 0)
    assert picture.pixels[0, :, 0] == pytest.approx(np.linspace(0, 255, 96), abs=12)


def test_a_torn_heic_is_refused():
    data = make_heic(96, 64)
    for end in (24, len(data) // 2, len(data) - 40):
        with pytest.raises(PictureError, match=r"torn|decoded"):
            open_picture(data[:end])
