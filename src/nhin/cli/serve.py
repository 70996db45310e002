"""``nhin serve``: the reader over HTTP, with a page for people."""

import asyncio
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nhin.errors import MissingExtra, UsageError, explain_install
from nhin.ranges import Range
from nhin.reading.onnx_model import DEFAULT_MODEL


@Parameter(name="*")
@dataclass(frozen=True)
class LimitOptions:
    """What the service takes, and for how long.

    Args:
        queue: Requests that may wait for a worker; more are answered 429.
        max_mib: MiB of an upload.
        max_megapixels: Megapixels of a page.
        max_pages: Pages read for one request.
        seconds: Seconds that a worker may take for one request.
        grace: Seconds for finishing accepted requests after SIGTERM or Ctrl-C.
        jobs_per_worker: Requests after which a worker is replaced.
    """

    queue: Annotated[int, Range(0, 100)] = 16
    max_mib: Annotated[float, Range(0.01, 160)] = 32.0
    max_megapixels: Annotated[float, Range(0.01, 120)] = 120.0
    max_pages: Annotated[int, Range(1, 10_000)] = 50
    seconds: Annotated[float, Range(0.1, 3600)] = 120.0
    grace: Annotated[float, Range(0, 3600)] = 30.0
    jobs_per_worker: Annotated[int, Range(1, 10**9)] = 500


_LIMITS = LimitOptions()
_HOST, _PORT = "127.0.0.1", 8000


@Parameter(name="*")
@dataclass(frozen=True)
class StaticOptions:
    """A page that reads in the browser alone.

    Args:
        static: Start no service; write this folder for any web server, whose page reads in the browser.
        runtime: With --static: the folder where ``npm install pyodide onnxruntime-web`` was run.
    """

    static: Path | None = None
    runtime: Path | None = None


_STATIC = StaticOptions()


def serve(
    *,
    host: str = _HOST,
    port: Annotated[int, Range(0, 65535)] = _PORT,
    workers: Annotated[int | None, Range(1, 64)] = None,
    weights: str = DEFAULT_MODEL,
    digest: str | None = None,
    limits: LimitOptions = _LIMITS,
    site: StaticOptions = _STATIC,
) -> None:
    """Read pictures and PDFs that are sent over HTTP, and serve a page where people can do so.

    POST /v1/read and /v1/picture, GET /healthz, /readyz, /metrics and /openapi.json. Nothing that is sent is
    kept. The log, JSON lines on standard error, holds no names and no contents. There is no password and no
    encryption: listen on other addresses than 127.0.0.1 only behind a server that adds them.

    Args:
        host: The address to listen on.
        port: The port; 0 for any that is free.
        workers: Processes that read, one file at a time each; by default one for each processor, at most 4.
        weights: The model: a name, or a folder with an ONNX pair.
        digest: The digest that these weights must have.
        limits: Limits.
        site: The page without a service.
    """
    if site.static or site.runtime:
        given = {"host": host != _HOST, "port": port != _PORT, "workers": workers, "digest": digest}
        _write_site(site, {**given, "weights": weights != DEFAULT_MODEL, "limits": limits != _LIMITS})
        return
    try:
        import fastapi  # noqa: F401  # the extra
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as why:
        raise MissingExtra(
            f"nhin serve needs {why.name}, which is missing: {explain_install('serve')}"
        ) from None
    from nhin.reading.detector import count_threads
    from nhin.serve.server import bind_socket, run_server
    from nhin.serve.service import Service
    from nhin.serve.settings import ServiceSettings

    settings = ServiceSettings(
        workers=workers or count_threads(),
        queue=limits.queue,
        max_bytes=round(limits.max_mib * 2**20),
        max_pixels=round(limits.max_megapixels * 1e6),
        max_pages=limits.max_pages,
        seconds=limits.seconds,
        grace=limits.grace,
        jobs_per_worker=limits.jobs_per_worker,
        weights=weights,
        digest=digest,
    )
    with bind_socket(host, port) as listener:
        asyncio.run(run_server(Service(settings), listener))


def _write_site(site: StaticOptions, service: Mapping[str, object]) -> None:
    """Write the page that needs no service; ``service`` is what was given of the service's options."""
    from nhin.serve.static_export import ADVICE, export_site

    if site.static is None:
        raise UsageError("--runtime is for --static OUT, and there is none")
    if name := next((name for name, is_given in service.items() if is_given), None):
        which = "limits are" if name == "limits" else f"--{name} is"
        raise UsageError(f"{which} for the service, and --static starts none; leave it out")
    if site.runtime is None:
        raise MissingExtra(f"--static needs --runtime DIR: in an empty folder, {ADVICE}")
    size = export_site(site.static, site.runtime)
    sys.stdout.write(
        f"{site.static}: {size / 1e6:.1f} MB; python -m http.server -d {shlex.quote(str(site.static))}\n"
    )
