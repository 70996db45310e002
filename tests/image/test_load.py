"""Every picture opens as upright RGB, or is refused with one sentence."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageChops

from nhin.errors import PictureError
from nhin.image import decode, source
from nhin.image import load as module
from nhin.image.inputs import expand_paths, list_pictures
from nhin.image.load import load_picture, open_picture


def scene(width: int = 40, height: int = 24) -> np.ndarray:
    """Return a picture whose four corners differ, so that every rotation is visible."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[: height // 2, : width // 2] = (200, 30, 40)
    picture[: height // 2, width // 2 :] = (20, 180, 60)
    picture[height // 2 :, : width // 2] = (30, 40, 190)
    return picture


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gray(picture: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(picture).convert("L"))


def header(width: int, height: int) -> bytes:
    """Return a PNG whose header says width x height and which has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "TGA"])
def test_lossless_files_are_opened_exactly(kind):
    np.testing.assert_array_equal(load_picture(saved(Image.fromarray(scene()), kind)), scene())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_files_are_opened_nearly(kind):
    picture = load_picture(saved(Image.fromarray(scene()), kind, quality=95)).astype(int)
    assert np.median(np.abs(picture - scene())) <= 3


def test_path_bytes_file_array_and_image_are_one(tmp_path):
    path = tmp_path / "biển số nhà.png"
    path.write_bytes(saved(Image.fromarray(scene())))
    with path.open("rb") as file:
        same = [
            load_picture(path),
            load_picture(str(path)),
            load_picture(path.read_bytes()),
            load_picture(bytearray(path.read_bytes())),
            load_picture(file),
        ]
    for picture in [*same, load_picture(scene()), load_picture(Image.open(path))]:
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, scene())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_undone(orientation, kind):
    """Store the scene rotated the other way: it must open upright in every format."""
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    image = Image.fromarray(scene())
    stored = image if back is None else image.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_picture(saved(stored, kind, exif=exif, quality=95))
    assert (picture.width, picture.height) == (40, 24)
    assert np.median(np.abs(picture.pixels.astype(int) - scene())) <= 3


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_every_mode_keeps_its_tones(mode):
    image = Image.fromarray(scene()).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    np.testing.assert_allclose(load_picture(saved(image, kind)), np.array(image.convert("RGB")), atol=1)


def test_sixteen_bits_are_scaled_not_clipped():
    deep = gray(scene()).astype(np.uint16) * 257
    for data in (saved(Image.fromarray(deep)), saved(Image.fromarray(deep), "TIFF")):
        np.testing.assert_array_equal(load_picture(data)[:, :, 0], gray(scene()))
    np.testing.assert_array_equal(load_picture(deep)[:, :, 1], gray(scene()))


def test_thirty_two_bits_and_floats_are_scaled():
    wide = Image.fromarray(gray(scene()).astype(np.int32) * 257)
    real = Image.fromarray(gray(scene()).astype(np.float32) / 255)
    for image in (wide, real):
        np.testing.assert_allclose(load_picture(saved(image, "TIFF"))[:, :, 0], gray(scene()), atol=1)
    np.testing.assert_allclose(load_picture(scene().astype(np.float64) / 255), scene(), atol=1)
    np.testing.assert_array_equal(load_picture(scene().astype(np.float32)), scene())
    assert load_picture(np.full((4, 4), np.nan)).max() == 0


def test_cmyk_jpegs_are_read_whether_or_not_adobe_inverted_them():
    inks = Image.fromarray(scene()).convert("CMYK")
    adobe, plain = (saved(image, "JPEG", quality=95) for image in (inks, ImageChops.invert(inks)))
    start = plain.index(b"\xff\xee")
    plain = plain[:start] + plain[start + 2 + int.from_bytes(plain[start + 2 : start + 4], "big") :]
    for data in (adobe, plain):
        assert np.median(np.abs(load_picture(data).astype(int) - scene())) <= 4


def test_transparent_paper_is_white_and_white_ink_stays_visible():
    ink = np.zeros((20, 30, 4), np.uint8)
    ink[5:15, 5:25] = (10, 20, 30, 255)
    black = load_picture(ink)
    assert tuple(black[0, 0]) == (255, 255, 255)
    assert tuple(black[10, 10]) == (10, 20, 30)
    ink[5:15, 5:25, :3] = 255
    white = load_picture(saved(Image.fromarray(ink)))
    assert white[10, 10, 0] == 255
    assert white[0, 0, 0] == 0
    assert load_picture(np.zeros((4, 4, 4), np.uint8)).min() == 255


def test_palette_transparency_is_composited_on_white():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 50, 60, 70])
    image.putpixel((0, 0), 0)
    picture = load_picture(saved(image, "PNG", transparency=0))
    assert tuple(picture[0, 0]) == (255, 255, 255)
    assert tuple(picture[4, 4]) == (50, 60, 70)


def test_an_animation_gives_its_first_frame():
    frames = [Image.fromarray(scene()), Image.new("RGB", (40, 24), "black")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    np.testing.assert_array_equal(load_picture(data), scene())


@pytest.mark.parametrize("size", [(1, 1), (3, 4000), (4000, 3)])
def test_odd_sizes_open(size):
    assert load_picture(saved(Image.new("RGB", size, "red"))).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.float32, np.bool_])
def test_arrays_of_every_shape_and_type_become_rgb(shape, kind):
    picture = load_picture(np.ones(shape, kind))
    assert picture.shape == (5, 7, 3)
    assert picture.dtype == np.uint8


def test_large_photographs_are_scaled_down_and_keep_their_size(monkeypatch):
    monkeypatch.setattr(decode, "WORK_PIXELS", 1000)
    for kind in ("JPEG", "PNG"):
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = open_picture(saved(Image.fromarray(scene(120, 80)), kind, exif=exif))
        assert (picture.width, picture.height) == (80, 120)
        assert picture.pixels.shape[0] * picture.pixels.shape[1] <= 1100
        assert picture.pixels.shape[0] > picture.pixels.shape[1]


def test_bombs_are_refused_before_decoding():
    for side in (30_000, 12_000):
        with pytest.raises(PictureError, match="too large"):
            load_picture(header(side, side))
    with pytest.raises(PictureError, match="too large"):
        load_picture(np.broadcast_to(np.uint8(0), (30_000, 30_000, 3)))


def test_a_file_that_does_not_end_is_read_up_to_the_limit(tmp_path, monkeypatch):
    class Endless:
        taken = 0

        def read(self, count: int) -> bytes:
            self.taken += count
            return bytes(count)

    monkeypatch.setattr(source, "MAX_BYTES", 1000)
    (tmp_path / "a.png").write_bytes(bytes(2000))
    endless = Endless()
    for given in (endless, tmp_path / "a.png", bytes(1001)):
        with pytest.raises(PictureError, match="more than nhin opens"):
            load_picture(given)
    assert endless.taken == 1001


def with_size(data: bytes, width: int, height: int) -> bytes:
    """Write another size into the header of a lossless WebP or of a JPEG 2000 codestream."""
    out = bytearray(data)
    if (at := data.find(b"VP8L")) > 0:
        struct.pack_into("<I", out, at + 9, (width - 1) | (height - 1) << 14 | 1 << 28)
    else:
        for place in (6, 22):  # of the picture, and of its only tile
            struct.pack_into(">II", out, data.index(b"\xff\x51") + place, width, height)
    return bytes(out)


CLAIMS = {
    "WebP": lambda: with_size(saved(Image.new("RGBA", (9, 9)), "WEBP", lossless=True), 10_900, 10_900),
    "JPEG 2000": lambda: with_size(saved(Image.new("RGB", (9, 9)), "JPEG2000", no_jp2=True), 8_000, 8_000),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_small_file_that_needs_gigabytes_is_refused_before_decoding(kind):
    data = CLAIMS[kind]()
    assert len(data) < 5000
    with pytest.raises(PictureError, match="MiB of memory to decode"):
        load_picture(data)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are Linux's")
def test_what_a_header_does_not_say_is_bounded_in_a_child_process(monkeypatch):
    """Blocks of 4 x 4 pixels take far more memory than the pixels; the next picture is read all the same."""
    import resource

    monkeypatch.setattr(module, "MAX_DECODE_BYTES", 200 * 2**20)
    module.close_child()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    small = saved(
        Image.new("RGB", (64, 64)), "JPEG2000", no_jp2=True, codeblock_size=(4, 4), num_resolutions=1
    )
    with pytest.raises(PictureError):
        load_picture(with_size(small, 4_000, 2_000), "khối.jp2")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 50 * 2**10
    np.testing.assert_array_equal(load_picture(saved(Image.fromarray(scene()), "JPEG2000")), scene())
    module.close_child()


def test_a_jpeg_of_a_thousand_passes_is_refused():
    data = saved(Image.new("RGB", (2000, 1500)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(PictureError, match="passes"):
        load_picture(data[:-2] + last * 1000 + data[-2:])


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("rỗng.jpg", b"", "empty"),
        ("thư.jpg", "Kính gửi ông bà".encode(), "not a picture"),
        ("a.jpg", b"%PDF-1.7 ...", "PDF"),
        ("a.svg", b"<svg xmlns='x'></svg>", "SVG"),
        ("a.ps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(tmp_path, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(PictureError, match=says) as caught:
        load_picture(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path):
    for path, says in (
        (tmp_path / "không có.png", "does not exist"),
        (tmp_path, "folder"),
        ("a\0b", "cannot"),
    ):
        with pytest.raises(PictureError, match=says):
            load_picture(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "AVIF", "JPEG2000"])
def test_torn_files_open_or_say_so(kind):
    """Cut anywhere, or with bytes changed anywhere, a file gives pixels or a PictureError."""
    random = np.random.default_rng(5)
    noise = random.integers(0, 255, (24, 40, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)
    spoiled = [data[:cut] for cut in random.integers(1, len(data), 30)]
    for _ in range(60):
        bytes_ = bytearray(data)
        for place in random.integers(0, len(data), 3):
            bytes_[place] = random.integers(256)
        spoiled.append(bytes(bytes_))
    for torn in spoiled:
        try:
            assert load_picture(torn).ndim == 3
        except PictureError as why:
            assert "\n" not in str(why)


def test_a_half_photograph_is_torn():
    with pytest.raises(PictureError, match="torn"):
        load_picture(saved(Image.fromarray(scene(400, 300)), "PNG")[:400], "nửa.png")


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 2, 5)), np.zeros(3), np.zeros((0, 4, 3)), np.zeros((2, 2), complex), np.array(3.0)]
)
def test_arrays_that_are_no_pictures_are_refused(wrong):
    with pytest.raises(PictureError):
        load_picture(wrong)


def test_other_values_are_refused():
    for wrong in (12, io.StringIO("text")):
        with pytest.raises(PictureError):
            load_picture(wrong)  # pyright: ignore[reportArgumentType]


def test_folders_are_listed_in_natural_order(tmp_path):
    for name in ("ảnh 10.png", "ảnh 2.JPG", "ảnh 1.webp", "ghi chú.txt", ".ẩn.png"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in list_pictures(tmp_path)] == ["ảnh 1.webp", "ảnh 2.JPG", "ảnh 10.png"]


def test_a_folder_without_pictures_becomes_an_error(tmp_path):
    (tmp_path / "trống").mkdir()
    (tmp_path / "đầy").mkdir()
    (tmp_path / "đầy" / "1.png").write_bytes(b"x")
    first, second, third = expand_paths([tmp_path / "đầy", tmp_path / "trống", tmp_path / "x.png"])
    assert first == tmp_path / "đầy" / "1.png"
    assert isinstance(second, PictureError)
    assert "without pictures" in str(second)
    assert third == tmp_path / "x.png"
