"""Around every request: its id, headers that keep browsers safe, its line in the log, and its metrics."""

import re
import time
from collections.abc import MutableMapping
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Receive, Scope, Send

from nhin.serve.log import describe_error, write_log
from nhin.serve.metrics import ServiceMetrics
from nhin.serve.problems import RequestProblem, make_problem

API_ROUTES = ("/v1/read", "/v1/picture", "/v1/look", "/healthz", "/readyz", "/metrics", "/openapi.json")
_QUIET = ("/healthz", "/readyz", "/metrics")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class RequestObserver:
    """An ASGI app around another."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = choose_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        start, status = time.monotonic(), 0

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = {**HEADERS, "X-Request-ID": request_id, "Cache-Control": "no-cache"}
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in added.items()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as why:  # noqa: BLE001  # a fault of ours: the service goes on
            write_log("request-failed", request_id=request_id, **describe_error(why))
            if not status:
                problem = make_problem(
                    request_id, RequestProblem(500, "the service failed; its log says where")
                )
                await problem(scope, receive, send_with_headers)
        finally:
            self._record(scope, request_id, status, time.monotonic() - start)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = scope["path"] if scope["path"] in API_ROUTES else "page"
        self._metrics.add("nhin_requests_total", route=route, status=str(status))
        self._metrics.observe(route, seconds)
        if route not in _QUIET:
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
            numbers = scope["state"].get("numbers", {})
            write_log(
                "request",
                request_id=request_id,
                method=method,
                route=route,
                status=status,
                seconds=round(seconds, 4),
                **numbers,
            )


def choose_id(scope: Scope) -> str:
    """Return the request's own id if it is a plain word, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(text := value.decode("latin-1")):
            return text
    return uuid4().hex
