"""A connection with deadlines for what uvicorn waits for without end: headers, late bodies, slow readers."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""For the headers of a request, from the first byte or the end of the answer before on."""
LINGER_SECONDS = 10.0
"""For a body whose request has its answer already."""
DOWNLOAD_SECONDS = 300.0
"""For taking an answer."""
MAX_CONNECTIONS = 256


class ServiceConnection(H11Protocol):
    """One connection."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin; one connection too many is closed."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        self._set_timer(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._set_timer(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the headers of one request must arrive together in time."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            if self._timer is None:
                self._set_timer(HEADER_SECONDS)
        elif self.cycle is not None and not self.cycle.response_complete:
            self._set_timer(None)

    def on_response_complete(self) -> None:
        """Wait until the body has come and the answer has been taken, but not for ever."""
        is_taken = not self.transport.get_write_buffer_size()
        has_more = self.conn.their_state is h11.SEND_BODY
        self._set_timer(LINGER_SECONDS if has_more else None if is_taken else DOWNLOAD_SECONDS)
        super().on_response_complete()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
