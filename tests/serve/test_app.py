"""What a client gets for what it sends; the workers are objects of the test."""

import json

import pytest
from starlette.testclient import TestClient

from nhin.reading.document_writer import SUFFIXES
from nhin.serve.app import MEDIA_TYPES, make_app
from nhin.serve.service import Service
from nhin.serve.settings import ServiceSettings

SETTINGS = ServiceSettings(workers=1, queue=1, max_bytes=1000)


def echo(worker, values, data):
    return {"pages": 1, "warnings": ["too-small"], "width": 4, "height": 3}, data + json.dumps(
        values
    ).encode()


@pytest.fixture
def client(fake):
    with TestClient(make_app(Service(SETTINGS, lambda: fake(echo)))) as client:
        yield client


def send(client, data=b"picture", kind="image/png", **query):
    return client.post("/v1/read", content=data, headers={"Content-Type": kind}, params=query)


def test_a_file_arrives_the_same_as_a_body_and_as_a_field_of_a_form(client):
    body = send(client, b"\0\xff" * 300)
    form = client.post("/v1/read", files={"file": ("../ảnh.png", b"\0\xff" * 300, "image/png")})
    for answer, name in ((body, "upload"), (form, "ảnh.png")):
        assert answer.status_code == 200
        data, _, rest = answer.content.partition(b"{")
        assert data == b"\0\xff" * 300
        assert json.loads(b"{" + rest)["query"]["path"] == name
        assert (answer.headers["nhin-pages"], answer.headers["nhin-warnings"]) == ("1", "too-small")


def test_every_format_of_nhin_read_is_served_with_its_type(client):
    assert {*SUFFIXES, "jsonl"} == set(MEDIA_TYPES)
    for format, kind in MEDIA_TYPES.items():
        assert send(client, format=format).headers["content-type"] == kind


@pytest.mark.parametrize(
    ("status", "data", "kind", "query", "words"),
    [
        (413, b"x" * 1001, "image/png", {}, "larger than"),
        (422, b"", "image/png", {}, "empty"),
        (415, b"x", "text/plain", {}, "send a picture"),
        (415, b"x", "application/x-www-form-urlencoded", {}, "send a picture"),
        (422, b"x", "image/png", {"format": "docx"}, "format"),
        (422, b"x", "image/png", {"min_confidence": "2"}, "min_confidence"),
        (422, b"x", "image/png", {"ocr": "maybe"}, "ocr"),
        (422, b"x", "image/png", {"page": "3"}, "did you mean pages"),
        (422, b"x", "image/png", {"pages": ["1", "2"]}, "give it once"),
        (400, b"x", "multipart/form-data", {}, "form"),
        (400, b"x", "multipart/form-data; boundary=y", {}, "form"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(client, status, data, kind, query, words):
    answer = send(client, data, kind, **query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert words in problem["detail"]
    assert "\n" not in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_another_method_is_refused_with_those_that_there_are(client):
    answer = client.get("/v1/read")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.post("/").status_code == 405
    assert client.get("/nothing").status_code == 404


def test_a_disk_without_room_fails_one_request(client, monkeypatch):
    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("nhin.serve.uploads.SpooledTemporaryFile", fail)
        answer = send(client)
    assert answer.status_code == 503
    assert "No space left" in answer.json()["detail"]
    assert send(client).status_code == 200


def test_a_body_without_a_length_is_read_up_to_the_limit(client):
    assert send(client, iter([b"x" * 500] * 2)).status_code == 200
    assert send(client, iter([b"x" * 500, b"x" * 501])).status_code == 413


def test_the_page_may_load_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/docs").status_code == 404
