"""Run the service on a socket until a signal ends it; accepted requests are answered first."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from nhin.errors import UsageError
from nhin.serve.app import make_app
from nhin.serve.connection import ServiceConnection
from nhin.serve.log import log_libraries, write_log
from nhin.serve.service import Service

_BACKLOG = 128


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a socket that has an address, and does not listen yet.

    Raises:
        UsageError: The address is unknown, not of this machine, or in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise UsageError(
            f"--host {host!r} is no address of this machine; 127.0.0.1 and 0.0.0.0 are"
        ) from None
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as why:
        found.close()
        raise UsageError(f"cannot listen on port {port} of {host}: {why.strerror or why}") from None
    return found


class ServiceServer(uvicorn.Server):
    """Uvicorn, told by a signal to stop taking requests; a second one ends it at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals until the end; uvicorn would raise them again afterwards."""
        before = {sign: signal.signal(sign, self.handle_exit) for sign in (signal.SIGINT, signal.SIGTERM)}
        self._loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        for listener in sockets or ():
            host, port = listener.getsockname()[:2]
            write_log("listening", host=host, port=port, workers=self._service.settings.workers)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to shut down."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._service.drain)


async def run_server(service: Service, listener: socket.socket) -> None:
    """Answer requests until a signal ends it.

    Raises:
        NhinError: A worker cannot be started.
    """
    config = uvicorn.Config(
        make_app(service),
        http=ServiceConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=round(service.settings.grace) + 1,
    )
    with log_libraries():
        async with service.run():
            await ServiceServer(config, service).serve([listener])
    write_log("stopped")
