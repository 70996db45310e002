"""Receive the file of a request: as the body, or as a field of a form; never more bytes than are allowed."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from tempfile import SpooledTemporaryFile
from typing import IO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from nhin.serve.problems import CLIENT_LEFT, RequestProblem

FIELD = "file"
_FORM = "multipart/form-data"
_TYPES = ("image/", "application/pdf", "application/octet-stream", "binary/octet-stream")
_IN_MEMORY = 2**20
_FORM_BYTES = 2**14
"""Bytes that a form may have beside the file."""
_MAX_NAME = 200
_HOW = f"send a picture or a PDF as the body, with its Content-Type, or as the field '{FIELD}' of a {_FORM}"


@dataclass(slots=True)
class Upload:
    """A file that was sent: open, without a name on the disk, and what its sender calls it."""

    file: IO[bytes]
    name: str = "upload"

    def read(self) -> bytes:
        """Return its bytes."""
        self.file.seek(0)
        return self.file.read()


async def receive_upload(request: Request, max_bytes: int, seconds: float) -> Upload:
    """Receive the file of a request; close it afterwards.

    Raises:
        RequestProblem: It is too large, too slow, empty, or not sent in one of the two ways.
    """
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestProblem(415, "send the file as it is, without a Content-Encoding")
    if kind != _FORM and not kind.startswith(_TYPES):
        raise RequestProblem(415, _HOW)
    limit = max_bytes + (_FORM_BYTES if kind == _FORM else 0)
    length = request.headers.get("content-length", "0")
    too_large = RequestProblem(
        413, f"the file is larger than {max_bytes / 2**20:g} MiB, the most that is read"
    )
    if int(length) > limit:  # a number: h11 sees to it
        raise too_large
    stream = _limit_stream(request, limit, too_large)
    try:
        async with asyncio.timeout(seconds):
            upload = await (_receive_form if kind == _FORM else _receive_body)(request, stream)
    except TimeoutError:
        raise RequestProblem(408, f"the file did not arrive within {seconds:g} seconds") from None
    except OSError as why:
        reason = why.strerror or "it cannot be written to"
        raise RequestProblem(503, f"there is no room to receive the file: {reason}") from None
    except ClientDisconnect:
        raise RequestProblem(CLIENT_LEFT, "the client left") from None
    size = upload.file.seek(0, 2)
    if not 0 < size <= max_bytes:
        upload.file.close()
        raise too_large if size else RequestProblem(422, "the file is empty")
    return upload


async def _limit_stream(request: Request, limit: int, problem: RequestProblem) -> AsyncGenerator[bytes, None]:
    """Yield the body; raise ``problem`` once it has more bytes than are allowed."""
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit:
            raise problem
        yield chunk


async def _receive_body(request: Request, stream: AsyncGenerator[bytes, None]) -> Upload:
    file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # its caller closes it
    try:
        async for chunk in stream:
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    return Upload(file)


async def _receive_form(request: Request, stream: AsyncGenerator[bytes, None]) -> Upload:
    try:
        parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=0)
        form = await parser.parse()
    except MultiPartException as why:
        raise RequestProblem(400, f"the form cannot be read: {why.message}") from None
    upload = form.get(FIELD)
    if not isinstance(upload, UploadFile):
        await form.close()
        raise RequestProblem(422, f"the form has no file in a field '{FIELD}'")
    return Upload(upload.file, _clean_name(upload.filename or ""))


def _clean_name(name: str) -> str:
    """Return the last part of a path, without what cannot be printed."""
    last = PureWindowsPath(PurePosixPath(name).name).name
    return "".join(char for char in last if char.isprintable())[:_MAX_NAME].strip() or "upload"
