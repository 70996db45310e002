"""Errors of a request as ``application/problem+json`` (RFC 9457): one sentence, in the user's words."""

import re
from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
CLIENT_LEFT = 499
_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)")
_MAX_DETAIL = 500


class RequestProblem(Exception):
    """A request that is refused: its status, a sentence, and headers such as ``Retry-After``."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.detail, self.headers = status, detail, headers or {}
        super().__init__(detail)


def make_problem(request_id: str, why: RequestProblem) -> JSONResponse:
    """Return the answer; options of the command line become names of the query."""
    detail = _OPTION.sub(lambda found: found[1].replace("-", "_"), " ".join(why.detail.split()))
    title = HTTPStatus(why.status).phrase if why.status != CLIENT_LEFT else "Client Left"
    body = {"type": "about:blank", "title": title, "status": why.status, "detail": detail[:_MAX_DETAIL]}
    return JSONResponse({**body, "request_id": request_id}, why.status, why.headers, MEDIA_TYPE)


async def answer_problem(request: Request, why: Exception) -> JSONResponse:
    """Turn an exception of a request into its answer."""
    if isinstance(why, RequestValidationError):
        why = RequestProblem(422, "; ".join(map(_describe_invalid, why.errors()[:3])))
    elif isinstance(why, HTTPException):
        why = RequestProblem(why.status_code, str(why.detail), dict(why.headers or {}))
    elif not isinstance(why, RequestProblem):
        why = RequestProblem(500, "the service failed; its log says where, under this request_id")
    return make_problem(request.state.request_id, why)


def _describe_invalid(error: dict) -> str:
    """Return what is wrong with one value of the query."""
    name = str(error["loc"][-1])[:40]
    return f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"
