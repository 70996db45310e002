"""What OpenAPI says of the routes beyond their signatures: bodies, answers and problems."""

from typing import Any

_FILE = {"type": "string", "format": "binary", "minLength": 1}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": _FILE}, "additionalProperties": False}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": _FORM},
        "application/octet-stream": {"schema": _FILE},
        "image/*": {"schema": _FILE},
        "application/pdf": {"schema": _FILE},
    },
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence."},
        "request_id": {"type": "string"},
    },
}
_PROBLEMS = {
    400: "The form is torn.",
    408: "The file did not arrive in time.",
    413: "The file is too large.",
    415: "The body is of another type.",
    422: "The file is no picture or PDF that can be read, or a value of the query is wrong.",
    429: "Too many requests are waiting; see Retry-After.",
    500: "The service failed.",
    501: "PDFs cannot be read: pypdfium2 is not installed.",
    503: "The service is shutting down, has no worker, or two workers crashed on this file.",
    504: "The file took too long to read.",
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/problem+json": {"schema": _PROBLEM}}}
    for status, text in _PROBLEMS.items()
}


def _describe(text: str, content: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    found = {name: {"description": note, "schema": {"type": "string"}} for name, note in headers.items()}
    answer = {"description": text, "content": content, "headers": found}
    return {"responses": {200: answer, **_ANSWERS}, "openapi_extra": {"requestBody": _BODY}}


_TEXTS = (
    "text/plain text/markdown application/jsonl text/tab-separated-values application/xhtml+xml "
    "application/xml application/pdf"
)
READ_DOCS = _describe(
    "The text, in the format that was asked for.",
    {
        "application/json": {"schema": {"type": "object"}},
        **{kind: {"schema": {"type": "string"}} for kind in _TEXTS.split()},
    },
    {"Nhin-Pages": "Pages that were read.", "Nhin-Warnings": "Codes of what may be missing."},
)
PICTURE_DOCS = _describe(
    "The page.",
    {"image/png": {"schema": _FILE}},
    {
        "Nhin-Width": "Pixels of the page, in which boxes count.",
        "Nhin-Height": "The same for its height.",
        "Nhin-Pages": "Pages of the file.",
    },
)
LOOK_DOCS = _describe(
    "The weights of the decoder's attention: for each part of the line and each of its characters.",
    {"application/json": {"schema": {"type": "object"}}},
    {},
)
