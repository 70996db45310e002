"""The routes of the service: reading, pictures of pages, health, metrics, and the page for people."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from nhin import __version__
from nhin.errors import UnknownName
from nhin.reading.confidence import MIN_CONFIDENCE
from nhin.serve.look import MAX_TEXT
from nhin.serve.metrics import MEDIA_TYPE
from nhin.serve.observer import RequestObserver
from nhin.serve.openapi import LOOK_DOCS, PICTURE_DOCS, READ_DOCS
from nhin.serve.problems import CLIENT_LEFT, RequestProblem, answer_problem
from nhin.serve.service import Service
from nhin.serve.uploads import receive_upload
from nhin.serve.worker_process import WorkerAnswer

PAGE = Path(__file__).with_name("page")
MEDIA_TYPES = {
    "text": "text/plain; charset=utf-8",
    "markdown": "text/markdown; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "hocr": "application/xhtml+xml",
    "alto": "application/xml",
    "page": "application/xml",
    "pdf": "application/pdf",
}
Format = Literal["text", "markdown", "json", "jsonl", "tsv", "hocr", "alto", "page", "pdf"]
MAX_PAGE = 10**6
_MAX_NAME = 40


def make_app(service: Service) -> ASGIApp:
    """Return the service as an ASGI app; its lifespan starts and ends the workers."""
    app = FastAPI(
        title="nhin",
        version=__version__,
        description="Reads Vietnamese text in pictures and PDFs.",
        docs_url=None,
        redoc_url=None,
        lifespan=lambda app: service.run(),
    )
    for kind in (RequestProblem, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_problem)
    _add_reading(app, service)
    _add_health(app, service)
    # No mount: that would answer the other methods of the routes above, too.
    app.router.default = StaticFiles(directory=PAGE, html=True)
    return RequestObserver(app, service.metrics)


def _add_reading(app: FastAPI, service: Service) -> None:
    @app.post("/v1/read", **READ_DOCS)
    async def read(
        request: Request,
        format: Format = "json",
        pages: Annotated[
            str | None, Query(max_length=200, description="Such as 3-7,9 or 12-; all if not given.")
        ] = None,
        ocr: Annotated[
            Literal["auto", "always", "never"],
            Query(
                description="When a page of a PDF is read as a picture; auto: if its text cannot be trusted."
            ),
        ] = "auto",
        crop: Annotated[bool, Query(description="The picture is a single word or line.")] = False,
        min_confidence: Annotated[float, Query(ge=0, le=1)] = MIN_CONFIDENCE,
    ) -> Response:
        """Read the text of a picture or a PDF."""
        query = {"format": format, "pages": pages, "ocr": ocr, "crop": crop, "min_confidence": min_confidence}
        numbers, result = await _run_job(service, request, "read", query)
        service.metrics.add("nhin_pages_total", numbers["pages"])
        headers = {"Nhin-Pages": str(numbers["pages"])}
        if numbers["warnings"]:
            headers["Nhin-Warnings"] = ", ".join(numbers["warnings"])
        return Response(result, headers=headers, media_type=MEDIA_TYPES[format])

    @app.post("/v1/picture", **PICTURE_DOCS)
    async def picture(request: Request, page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1) -> Response:
        """Return a page as it is read: upright, as a PNG, which may be smaller than the page."""
        numbers, result = await _run_job(service, request, "picture", {"page": page})
        headers = {f"Nhin-{name.title()}": str(numbers[name]) for name in ("width", "height", "pages")}
        return Response(result, headers=headers, media_type="image/png")

    @app.post("/v1/look", **LOOK_DOCS)
    async def look(
        request: Request,
        text: Annotated[str, Query(min_length=1, max_length=MAX_TEXT, description="What was read there.")],
    ) -> Response:
        """Return where the decoder looked, in the picture of one word or line, at each character."""
        _, result = await _run_job(service, request, "look", {"text": text})
        return Response(result, media_type="application/json")


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Say that the service runs."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse, responses={503: {"description": "Not ready."}})
    async def readyz() -> Response:
        """Say whether the service takes requests: not while it shuts down or has no worker."""
        word = "ready" if service.is_ready else "shutting down" if service.is_draining else "no worker"
        return PlainTextResponse(f"{word}\n", 200 if service.is_ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counts and times, for Prometheus."""
        return Response(service.format_metrics(), media_type=MEDIA_TYPE)


async def _run_job(service: Service, request: Request, job: str, query: dict[str, Any]) -> WorkerAnswer:
    """Receive a file, have a worker read it, and return its answer."""
    _check_query(request, query)
    settings = service.settings
    async with service.admit():
        upload = await receive_upload(request, settings.max_bytes, settings.upload_seconds)
        try:
            query = {**query, "path": upload.name}
            values = {"job": job, "query": query, "request_id": request.state.request_id}
            request.state.numbers = {"bytes": upload.file.seek(0, 2)}
            numbers, result = await _run_while_connected(request, service.pool.run(values, upload.read))
        finally:
            upload.file.close()
    if "refused" in numbers:
        raise RequestProblem(numbers["status"], numbers["refused"])
    request.state.numbers["pages"] = numbers["pages"]
    return numbers, result


def _check_query(request: Request, known: Iterable[str]) -> None:
    """Refuse names that mean nothing here, and names that are given twice."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            raise RequestProblem(422, str(UnknownName("value of the query", name[:_MAX_NAME], known)))
        if names.count(name) > 1:
            raise RequestProblem(422, f"{name} is given {names.count(name)} times; give it once")


async def _run_while_connected(request: Request, work: Any) -> WorkerAnswer:
    """Wait for some work, and cancel it when the client leaves."""
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_wait_until_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RequestProblem(CLIENT_LEFT, "the client left")
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _wait_until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
