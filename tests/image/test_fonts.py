"""Laws of the faces that are used to draw pictures."""

from fontTools.ttLib import TTFont

from nhin.image.fonts import find_faces, open_face


def test_letters_that_a_face_draws_alike_do_not_count_as_its_characters(tmp_path):
    good = next(face for face in find_faces() if not face.unicase)
    with TTFont(good.path) as font:
        for table in font["cmap"].tables:
            table.cmap[ord("Ệ")] = table.cmap.get(ord("Ẹ"), ".notdef")
        font.save(tmp_path / "face.ttf")
    face = open_face(str(tmp_path / "face.ttf"))
    assert face is not None
    assert good.chars - face.chars == {"Ẹ", "Ệ"}
