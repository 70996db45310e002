"""Laws of looking at one crop: turned when tall, cut at gaps when wide."""

import numpy as np
import pytest

from nhin.reading import long_lines
from nhin.reading.result import Recognition, Span


def striped(width: int, gaps: list[tuple[int, int]], height: int = 40):
    """Draw a line of dense upright strokes with empty gaps."""
    picture = np.full((height, width, 3), 230, dtype=np.uint8)
    for left in range(0, width, 6):
        picture[height // 5 : height * 4 // 5, left : left + 4] = 20
    for left, right in gaps:
        picture[:, left:right] = 230
    return picture


def recognition(text: str, confidence: float = 0.9, turn: int = 0):
    chars = tuple(Span(char, confidence, 10.0 * i, 10.0 * i + 9) for i, char in enumerate(text))
    return Recognition(text, confidence ** len(text), chars, turn)


@pytest.mark.parametrize("width", [1, 40, 320])
def test_a_short_crop_stays_whole(width):
    crop = striped(width, [])
    assert [piece.picture is crop for piece in long_lines.split_long(crop)] == [True]


def test_pieces_make_up_the_crop_again():
    crop = striped(1000, [(150, 165), (300, 320), (480, 500), (640, 655), (800, 830)])
    pieces = long_lines.split_long(crop)
    np.testing.assert_array_equal(np.concatenate([piece.picture for piece in pieces], axis=1), crop)
    assert [piece.left for piece in pieces] == [0, *np.cumsum([p.picture.shape[1] for p in pieces])[:-1]]
    assert max(piece.picture.shape[1] for piece in pieces) <= 320


@pytest.mark.parametrize("zoom", [1, 2])
def test_cuts_fall_in_the_widest_gaps_and_stand_for_spaces(zoom):
    crop = striped(600, [(200, 204), (290, 310), (400, 404)]).repeat(zoom, axis=0).repeat(zoom, axis=1)
    first, second = long_lines.split_long(crop)
    assert 290 * zoom <= second.left <= 310 * zoom
    assert (first.after_space, second.after_space) == (False, True)


def test_a_line_without_gaps_is_cut_only_when_the_network_could_not_take_it():
    assert len(long_lines.split_long(striped(1200, []))) == 1
    pieces = long_lines.split_long(striped(4000, []))
    assert len(pieces) > 1
    assert max(piece.picture.shape[1] for piece in pieces) <= 1280
    assert not any(piece.after_space for piece in pieces)


@pytest.mark.parametrize("shape", [(3, 4000, 3), (1, 9000, 3), (40, 30000, 3)])
def test_flat_and_extreme_crops_can_be_cut(shape):
    pieces = long_lines.split_long(np.zeros(shape, dtype=np.uint8))
    assert sum(piece.picture.shape[1] for piece in pieces) == shape[1]
    assert max(piece.picture.shape[1] for piece in pieces) <= 32 * shape[0]


def test_joined_text_keeps_spans_and_multiplies_confidences():
    blank = np.zeros((40, 100, 3), dtype=np.uint8)
    pieces = [
        long_lines.CropPiece(blank),
        long_lines.CropPiece(blank, 100, True),
        long_lines.CropPiece(blank, 200, False),
    ]
    whole = long_lines.join_pieces(pieces, [recognition("Hà"), recognition("Nội"), recognition("!")])
    assert whole.text == "Hà Nội!"
    assert whole.confidence == pytest.approx(0.9**6)
    assert "".join(char.text for char in whole.chars) == whole.text
    assert [char.left for char in whole.chars] == sorted(char.left for char in whole.chars)
    assert whole.chars[-1].left == 200


def test_empty_pieces_add_nothing():
    piece = long_lines.CropPiece(np.zeros((40, 100, 3), dtype=np.uint8), 0, True)
    nothing = Recognition("", 0.0)
    assert long_lines.join_pieces(
        [piece, piece, piece], [nothing, recognition("ab"), nothing]
    ) == recognition("ab")
    assert long_lines.join_pieces([piece, piece], [nothing, nothing]) == nothing


def test_rotating_and_back_changes_nothing():
    crop = np.random.default_rng(0).integers(0, 256, (50, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(long_lines.rotate(long_lines.rotate(crop, 90), -90), crop)
    assert long_lines.rotate(crop, 90).shape == (20, 50, 3)
    np.testing.assert_array_equal(long_lines.rotate(crop, 90)[0, 0], crop[-1, 0])


def test_the_most_confident_rotation_wins_with_a_bias_to_upright():
    assert (
        long_lines.most_confident(
            recognition("ab", 0.5), [recognition("cde", 0.9, 90), recognition("fg", 0.7, -90)]
        ).text
        == "cde"
    )
    assert long_lines.most_confident(recognition("ab", 0.88), [recognition("cde", 0.9, 90)]).text == "ab"
    assert long_lines.most_confident(recognition("", 0.0), [recognition("", 0.0, 90)]).text == ""


def test_a_rotated_reading_of_one_letter_is_never_chosen():
    assert long_lines.most_confident(recognition("I", 0.3), [recognition("-", 0.99, 90)]).text == "I"
