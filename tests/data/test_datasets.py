"""Laws of labelled crops: every layout gives the same crops, and what is wrong is said by name."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from nhin.data.images.datasets import MixedSource, ShuffledSource, open_crops
from nhin.data.images.vintext import rectify
from nhin.errors import DataError, NhinError

LABELS = [("a.png", "phở"), ("trong/b c.png", "Bu\u0301n, chả"), ("c.png", ""), ("d.png", "  ")]


@pytest.fixture
def folder(tmp_path):
    here = tmp_path / "crops"
    (here / "trong").mkdir(parents=True)
    for shade, (name, _) in enumerate(LABELS):
        Image.new("RGB", (20 + shade, 10), (shade * 40, 0, 0)).save(here / name)
    lines = "".join(f"{name}\t{text}\r\n" for name, text in LABELS)
    (here / "labels.tsv").write_text(lines, encoding="utf-8-sig", newline="")
    return here


def zipped(folder, prefix=""):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def test_folder_table_and_zip_give_the_same_crops(folder):
    sets = [
        open_crops(p) for p in (folder, folder / "labels.tsv", zipped(folder), zipped(folder, "deep/er/"))
    ]
    for crops in sets:
        assert [crop.text for crop in crops] == ["phở", "Bún, chả"]
        assert crops.dropped == 2
        assert [crop.picture.shape for crop in crops] == [(10, 20, 3), (10, 21, 3)]
        assert crops[1].picture[0, 0].tolist() == [40, 0, 0]


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "C:\\x.png", "..\\x.png"])
def test_a_name_outside_its_folder_is_refused(folder, name):
    (folder / "labels.tsv").write_text(f"{name}\tx\n", encoding="utf-8")
    for path in (folder, zipped(folder)):
        with pytest.raises(DataError, match="lies outside"):
            open_crops(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a.png\n", "line 1: expected name<TAB>text"),
        (b"", "no crop with a label"),
        (b"a.png\t\n", "no crop with a label"),
        (b"a.png\t\xff\xfe\n", "not UTF-8"),
    ],
)
def test_an_error_names_the_line_of_a_label_file(folder, content, words):
    (folder / "labels.tsv").write_bytes(content)
    for path in (folder, zipped(folder)):
        with pytest.raises(DataError, match=words):
            open_crops(path)


def test_missing_files_are_errors(folder, tmp_path):
    with pytest.raises(DataError, match="there is no data in"):
        open_crops(tmp_path / "nowhere")
    (folder / "labels.tsv").unlink()
    with pytest.raises(DataError, match=r"no labels\.tsv"):
        open_crops(zipped(folder))
    with pytest.raises(DataError, match=r"no labels\.tsv"):
        open_crops(folder)


def test_a_missing_or_torn_picture_is_an_error_when_it_is_opened(folder):
    (folder / "a.png").write_bytes(b"no picture")
    (folder / "trong" / "b c.png").unlink()
    for path in (folder, zipped(folder)):
        for crop in open_crops(path):
            with pytest.raises(NhinError):
                _ = crop.picture


def test_a_torn_zip_or_a_torn_picture_in_it_is_an_error(folder):
    path = zipped(folder)
    raw = path.read_bytes()
    for keep in (0.3, 0.7, 0.95):
        path.write_bytes(raw[: int(len(raw) * keep)])
        with pytest.raises(DataError):
            open_crops(path)


def vintext(folder):
    for split in ("train_images", "test_image", "unseen_test_images", "labels"):
        (folder / split).mkdir(parents=True)
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[10:20, 30:60] = (255, 0, 0)
    for split, number in (("train_images", 1), ("test_image", 1201)):
        Image.fromarray(picture).save(folder / split / f"im{number:04d}.png")
        (folder / "labels" / f"gt_{number}.txt").write_text(
            "30,10,60,10,60,20,30,20,CHẢ, NEM\n0,0,5,0,5,5,0,5,###\n", encoding="utf-8"
        )
    return folder


def test_vinais_layout_gives_straight_word_crops(tmp_path):
    root = vintext(tmp_path / "vintext")
    crops = open_crops(root)
    assert [crop.text for crop in crops] == ["CHẢ, NEM"] * 2
    assert crops.dropped == 2
    assert crops[0].picture.shape == (10, 30, 3)
    assert (crops[0].picture[2:-2, 2:-2] == (255, 0, 0)).all()
    assert [crop.name for crop in open_crops(root / "test_image")] == ["test_image/im1201.png#0"]


def test_vinais_layout_with_a_wrong_or_missing_label_file_is_an_error(tmp_path):
    root = vintext(tmp_path / "vintext")
    (root / "labels" / "gt_1.txt").write_text("1,2,3\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"gt_1\.txt, line 1"):
        open_crops(root)
    (root / "labels" / "gt_1.txt").unlink()
    with pytest.raises(DataError, match=r"gt_1\.txt is missing"):
        open_crops(root)


def test_rectifying_a_turned_word_turns_it_back():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[10:30, 15:20] = 255
    flat = rectify(picture, ((20, 10), (20, 30), (15, 30), (15, 10)))
    assert flat.shape == (5, 20, 3)
    assert flat[1:-1, 1:-1].min() == 255


def test_a_box_without_area_still_gives_a_picture():
    assert rectify(np.zeros((9, 9, 3), np.uint8), ((3, 3),) * 4).shape == (1, 1, 3)


def test_every_crop_comes_once_a_pass(folder):
    shutil.copy(folder / "a.png", folder / "e.png")
    source = ShuffledSource(open_crops(folder), seed=1)
    for sweep in range(3):
        assert {source.sample(2 * sweep + i).name for i in range(2)} == {"a.png", "trong/b c.png"}
    assert source.sample(3).name == ShuffledSource(open_crops(folder), seed=1).sample(3).name


def test_a_varied_crop_keeps_its_text_and_differs_from_use_to_use(folder):
    crops = open_crops(folder)[:1]
    plain, varied = ShuffledSource(crops), ShuffledSource(crops, vary=2.0)
    assert plain.fingerprint != varied.fingerprint
    pictures = [varied.sample(i).picture for i in range(12)]
    assert {varied.sample(i).text for i in range(12)} == {plain.sample(0).text}
    assert np.array_equal(pictures[3], ShuffledSource(crops, vary=2.0).sample(3).picture)
    assert len({picture.tobytes() for picture in pictures}) > 6


def test_a_mixed_source_keeps_its_share_and_its_passes(folder):
    real, drawn = ShuffledSource(open_crops(folder)), ShuffledSource(open_crops(folder), 5)
    mixed = MixedSource(drawn, real, 0.25)
    taken = [i for i in range(400) if mixed.share * (i + 1) // 1 > mixed.share * i // 1]
    assert len(taken) == 100
    assert [mixed.sample(i).name for i in taken] == [real.sample(k).name for k in range(100)]
