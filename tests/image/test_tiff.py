"""All pages of a TIFF are opened, one at a time; a bad one does not keep the others from being opened."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from nhin.errors import PictureError
from nhin.image import load as module
from nhin.image import tiff as tiff_module
from nhin.image.decode import Picture
from nhin.image.load import Page, open_pages, open_picture
from nhin.image.tiff import list_tiff_pages, point_to_page
from nhin.sandbox import SandboxError


def sheet(tone: int, size: tuple[int, int] = (40, 24)) -> Image.Image:
    """Return a gray page with a white corner."""
    image = Image.new("L", size, tone)
    image.paste(255, (0, 0, 8, 8))
    return image


def tiff(*pages: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:], **options)
    return out.getvalue()


def tone(page: Page) -> int:
    """Return the gray of a page that could be opened."""
    assert isinstance(page.content, Picture), page.content
    return int(page.content.pixels[-1, -1, 0])


def directories(order: str, *chain: dict[int, int], first: int = 8, end: int = 0) -> bytes:
    """Return a TIFF of directories alone, each with short tags, at 8, 108, 208 and so on."""
    out = bytearray(100 * len(chain) + 8)
    struct.pack_into(f"{order}2sHI", out, 0, b"II" if order == "<" else b"MM", 42, first)
    for i, tags in enumerate(chain):
        entries = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
        following = 108 + 100 * i if i + 1 < len(chain) else end
        packed = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", following)
        out[8 + 100 * i : 8 + 100 * i + len(packed)] = packed
    return bytes(out)


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"big_tiff": True}])
def test_every_page_is_opened_in_order(options):
    pages = list(open_pages(tiff(sheet(10), sheet(20, (30, 50)), sheet(30), **options)))
    assert [tone(page) for page in pages] == [10, 20, 30]
    assert [(page.number, page.count) for page in pages] == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(pages[1].content, Picture)
    assert (pages[1].content.width, pages[1].content.height) == (30, 50)


def test_a_page_is_not_decoded_before_it_is_asked_for(monkeypatch):
    asked = []
    decode = module._decode_apart
    monkeypatch.setattr(
        module, "_decode_apart", lambda *given, **more: asked.append(given) or decode(*given, **more)
    )
    pages = open_pages(tiff(sheet(10), sheet(20)))
    assert tone(next(pages)) == 10
    assert len(asked) == 1


def test_pages_of_two_files_may_be_opened_in_turn():
    first, second = (open_pages(tiff(sheet(a), sheet(a + 1))) for a in (10, 20))
    assert [tone(next(pages)) for pages in (first, second, first, second)] == [10, 20, 11, 21]


def test_each_page_has_its_own_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(tiff(sheet(10), sheet(20), exif=exif))
    entry = data.rindex(struct.pack("<HHI", 0x0112, 3, 1))
    data[entry + 8] = 1
    shapes = [page.content.pixels.shape for page in open_pages(bytes(data))]  # pyright: ignore
    assert sorted(shapes) == [(24, 40, 3), (40, 24, 3)]


def test_a_torn_page_in_the_middle_is_named_and_the_others_are_opened():
    rng = np.random.default_rng(1)
    noise = [Image.fromarray(rng.integers(0, 256, (90, 120), dtype=np.uint8)) for _ in range(3)]
    data = bytearray(tiff(*noise, compression="tiff_adobe_deflate"))
    directory = list_tiff_pages(bytes(data))
    assert directory is not None
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        (start,) = image.tag_v2[273]  # pyright: ignore[reportAttributeAccessIssue]
    data[start : start + 3000] = bytes(3000)
    first, second, third = open_pages(bytes(data), "quét.tif")
    for page, picture in ((first, noise[0]), (third, noise[2])):
        assert isinstance(page.content, Picture)
        np.testing.assert_array_equal(page.content.pixels[:, :, 0], np.asarray(picture))
    assert isinstance(second.content, PictureError)
    assert "quét.tif, page 2," in str(second.content)
    assert "\n" not in str(second.content)


def test_a_file_that_stops_early_says_what_is_missing():
    whole = tiff(sheet(10), sheet(20), sheet(30))
    pages = list_tiff_pages(whole)
    assert pages is not None
    *good, last = open_pages(whole[: pages.offsets[2]], "nửa.tif")
    assert [tone(page) for page in good] == [10, 20]
    assert "nửa.tif is torn after page 2" in str(last.content)


@pytest.mark.parametrize("order", ["<", ">"])
def test_smaller_copies_and_masks_are_no_pages(order):
    data = directories(order, {256: 9}, {254: 1}, {254: 4}, {254: 2}, {255: 2}, {255: 3}, {256: 9})
    pages = list_tiff_pages(data)
    assert pages is not None
    assert pages.offsets == (8, 308, 508, 608)
    assert not pages.is_torn
    again = list_tiff_pages(point_to_page(data, 508))
    assert again is not None
    assert again.offsets == (508, 608)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_chain_of_directories_ends_whatever_it_is(order):
    circle = list_tiff_pages(directories(order, {256: 9}, {256: 9}, end=8))
    outside = list_tiff_pages(directories(order, {256: 9}, {256: 9}, end=10_000))
    nothing = list_tiff_pages(directories(order, {256: 9}, first=10_000))
    assert circle is not None and outside is not None and nothing is not None
    assert (circle.offsets, circle.is_torn) == ((8, 108), False)
    assert (outside.offsets, outside.is_torn) == ((8, 108), True)
    assert (nothing.offsets, nothing.is_torn) == ((), True)
    assert list_tiff_pages(b"\x89PNG....") is None
    with pytest.raises(PictureError):
        list(open_pages(directories(order, {256: 9}, first=10_000)))


def test_pages_after_the_limit_are_said_not_to_be_opened(monkeypatch):
    monkeypatch.setattr(module, "MAX_PAGES", 2)
    monkeypatch.setattr(tiff_module, "MAX_PAGES", 2)
    first, second, rest = open_pages(tiff(*map(sheet, (10, 20, 30, 40))))
    assert [tone(first), tone(second)] == [10, 20]
    assert "more than 2 pages" in str(rest.content)


def test_a_file_whose_pages_end_the_child_process_is_given_up(monkeypatch):
    def decode(file, name, **_):
        raise PictureError(f"{name} cannot be decoded") from SandboxError("crashed")

    monkeypatch.setattr(module, "_decode_apart", decode)
    *failed, rest = open_pages(tiff(*map(sheet, range(10, 18))), "bom.tif")
    assert len(failed) == module.MAX_FAILURES
    assert "bom.tif: its pages from 4 on" in str(rest.content)


def test_a_picture_says_how_many_pages_or_frames_it_leaves_out():
    frames = [sheet(10), sheet(20), sheet(30)]
    for kind in ("TIFF", "GIF", "PNG", "WEBP"):
        out = io.BytesIO()
        frames[0].save(out, kind, save_all=True, append_images=frames[1:])
        assert open_picture(out.getvalue()).others == 2
    assert open_picture(tiff(sheet(10))).others == 0
    (page,) = open_pages(tiff(sheet(10)))
    assert isinstance(page.content, Picture)
    assert page.content.others == 0
