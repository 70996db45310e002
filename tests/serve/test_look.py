"""What ``POST /v1/look`` answers: where the decoder looked in the picture of a word or a line."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from starlette.testclient import TestClient

from nhin.serve.app import make_app
from nhin.serve.look import MAX_TEXT
from nhin.serve.service import Service
from nhin.serve.settings import ServiceSettings
from nhin.serve.worker import ServiceWorker


@pytest.fixture(scope="module")
def worker():
    worker = ServiceWorker()
    values, _ = worker.handle(
        {"open": {"weights": "slim", "digest": None, "max_pixels": 10**8, "max_pages": 9}}, []
    )
    assert values == {"is_ready": True}
    return worker


def draw(width=120, height=40):
    """Return a PNG with bars like letters."""
    pixels = np.full((height, width), 230, np.uint8)
    for left in range(8, width - 8, 24):
        pixels[8 : height - 8, left : left + 6] = 20
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def draw_long_line():
    """Return a PNG of a line of words, 20 times as wide as high or more."""
    font = ImageFont.load_default(28)
    text = " ".join(["sach vo but muc ban ghe"] * 4)
    picture = Image.new("L", (round(font.getlength(text)) + 20, 40), 255)
    ImageDraw.Draw(picture).text((10, 2), text, 0, font)
    assert picture.width > 20 * picture.height
    picture.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def look(worker, data, text="nhìn"):
    answer, arrays = worker.handle({"job": "look", "query": {"text": text}}, [np.frombuffer(data, np.uint8)])
    return answer, json.loads(arrays[0].tobytes()) if arrays else None


def test_each_character_and_the_end_have_weights_whose_sum_is_one(worker):
    for text in ("nhìn", "nhìn", "a", "☃"):
        answer, tree = look(worker, draw(), text)
        (part,) = tree["parts"]
        assert answer == {"pages": 1}
        assert len(part["text"]) == len(part["weights"]) - 1 == {"a": 1, "☃": 1}.get(text, 4)
        assert part["left"] == 0
        assert part["right"] >= 1
        assert part["rows"] == 1
        np.testing.assert_allclose(np.sum(part["weights"], 1), 1, atol=0.01)


def test_a_long_line_has_parts_from_left_to_right(worker):
    _, tree = look(worker, draw_long_line())
    starts = [part["left"] for part in tree["parts"]]
    assert len(starts) > 1
    assert starts == sorted(starts)
    assert all(0 <= part["left"] < part["right"] for part in tree["parts"])


def test_what_is_no_line_is_refused(worker):
    for data in (b"x", draw(2000, 12)[:60], draw(3100, 20)):
        answer, tree = look(worker, data)
        assert tree is None
        assert answer["status"] == 422


def test_a_worker_whose_attention_failed_starts_it_again(worker):
    look(worker, draw())
    worker._attention._sandbox.close()
    assert "refused" in look(worker, draw())[0]
    assert look(worker, draw())[1]["parts"]


def test_the_route_takes_a_file_and_a_text(fake):
    seen = []

    def act(worker, values, data):
        seen.append((values["job"], values["query"]["text"], data))
        return {"pages": 1}, b'{"parts": []}'

    with TestClient(make_app(Service(ServiceSettings(), lambda: fake(act)))) as client:
        answers = [
            client.post("/v1/look", params=query, files={"file": ("a.png", b"x", "image/png")})
            for query in ({"text": "chữ"}, {}, {"text": "a" * (MAX_TEXT + 1)})
        ]
    assert [answer.status_code for answer in answers] == [200, 422, 422]
    assert answers[0].json() == {"parts": []}
    assert seen == [("look", "chữ", b"x")]
