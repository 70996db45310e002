"""A running service: its end, clients that leave or are slow, its log and its metrics."""

import asyncio
import json
import re
import signal
import socket
import threading
from contextlib import suppress

import pytest
from starlette.testclient import TestClient

from nhin.errors import UsageError
from nhin.serve import connection, service
from nhin.serve.app import make_app
from nhin.serve.connection import ServiceConnection
from nhin.serve.server import bind_socket, run_server
from nhin.serve.service import Service
from nhin.serve.settings import ServiceSettings

HEAD = b"POST /v1/read HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"


class Live:
    """A service on a socket, in the event loop of a test; its worker reads when it is told to ``go``."""

    def __init__(self, fake, numbers, **settings):
        self.busy, self.go, self.numbers = threading.Event(), threading.Event(), numbers
        self.worker = fake(self.act)
        self.service = Service(ServiceSettings(**{"queue": 2, "grace": 60, **settings}), lambda: self.worker)

    def act(self, worker, values, data):
        self.busy.set()
        while not (self.go.wait(0.01) or worker.ended.is_set()):
            pass
        return self.numbers, data

    async def until_busy(self):
        await asyncio.to_thread(self.busy.wait, 60)

    async def connect(self, data=b""):
        """Send bytes to the service; return the streams."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        self.writers.append(writer)
        return reader, writer

    async def send(self, data=b"picture"):
        return await self.connect(HEAD % len(data) + data)

    async def __aenter__(self):
        self.writers = []
        listener = bind_socket("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.running = asyncio.ensure_future(run_server(self.service, listener))
        while not (self.running.done() or await self.is_listening()):
            await asyncio.sleep(0.01)
        return self

    async def is_listening(self):
        try:
            (await self.connect())[1].close()
        except OSError:
            return False
        return True

    async def __aexit__(self, *why):
        self.go.set()
        if not self.service.is_draining:
            signal.raise_signal(signal.SIGTERM)
        for writer in self.writers:
            writer.close()
        await self.running


@pytest.fixture
def live(fake, numbers):
    """Return what runs a coroutine function with a live service."""

    def run(scenario, **settings):
        async def with_service():
            async with Live(fake, numbers, **settings) as service:
                await asyncio.wait_for(scenario(service), 60)

        asyncio.run(with_service())

    return run


async def read_status(reader):
    return int((await reader.readline()).split()[1])


def test_requests_that_were_accepted_are_answered_after_sigterm_and_new_ones_refused(live):
    async def scenario(live):
        answers = [(await live.send(b"%d" % i))[0] for i in range(3)]
        kept, late = await live.connect(HEAD % 4)  # its body is on its way
        await live.until_busy()
        while len(live.service._requests) < 4:
            await asyncio.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)
        while not live.service.is_draining:
            await asyncio.sleep(0.01)
        assert not live.service.is_ready
        late.write(b"late")
        live.go.set()
        for i, reader in enumerate([*answers, kept]):
            assert await read_status(reader) == 200
            assert (await reader.read()).endswith(b"late" if i == 3 else b"%d" % i)
        await live.running
        with pytest.raises(OSError, match="Connect"):
            await live.connect()

    live(scenario, queue=4)


def test_requests_that_are_not_done_at_the_end_of_the_grace_time_are_told(live, monkeypatch):
    monkeypatch.setattr(service, "_ANSWER_SECONDS", 60.0)

    async def scenario(live):
        answers = [(await live.send())[0] for _ in range(2)]
        await live.until_busy()
        while len(live.service._requests) < 2:
            await asyncio.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)
        assert [await read_status(reader) for reader in answers] == [503, 503]

    live(scenario)


def test_a_client_that_leaves_is_not_read_for(live):
    async def scenario(live):
        first, _ = await live.send(b"first")
        await live.until_busy()
        _, writer = await live.send(b"left")
        while live.service.pool.waiting == 0:
            await asyncio.sleep(0.01)
        writer.close()
        while live.service.pool.waiting:
            await asyncio.sleep(0.01)
        live.go.set()
        assert await read_status(first) == 200

    live(scenario)


@pytest.mark.parametrize("data", [b"", b"POST /v1/read HTT", b"GET /healthz HTTP/1.1\r\nX: "])
def test_a_client_that_does_not_finish_its_headers_is_cut_off(live, monkeypatch, data):
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.01)

    async def scenario(live):
        reader, _ = await live.connect(data)
        assert await reader.read() == b""

    live(scenario)


def test_a_client_whose_body_does_not_come_is_told_and_another_is_answered(live):
    async def scenario(live):
        live.go.set()
        slow, writer = await live.connect(HEAD % 10 + b"half")
        assert await read_status(slow) == 408
        assert not live.service._requests
        writer.close()

    live(scenario, upload_seconds=0.01)


def test_connections_beyond_the_limit_are_closed(live, monkeypatch):
    async def scenario(live):
        live.go.set()
        monkeypatch.setattr(connection, "MAX_CONNECTIONS", 0)
        monkeypatch.setattr(connection, "HEADER_SECONDS", 1000)
        reader, _ = await live.connect()
        with suppress(ConnectionError):
            assert await reader.read() == b""

    live(scenario)


def test_a_client_that_sends_on_after_its_answer_is_cut_off(live, monkeypatch):
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.05)

    async def scenario(live):
        reader, writer = await live.connect(HEAD % 10**9)
        assert await read_status(reader) == 413
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.001)
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1000), 0.001)

    live(scenario)


def test_a_client_that_does_not_take_its_answer_is_cut_off(live, monkeypatch):
    monkeypatch.setattr(connection, "DOWNLOAD_SECONDS", 0.01)
    size = 2**25

    async def scenario(live):
        lost, end = asyncio.Event(), ServiceConnection.connection_lost
        monkeypatch.setattr(ServiceConnection, "connection_lost", lambda *args: (end(*args), lost.set()))
        live.go.set()
        reader, writer = await live.send(bytes(size))
        await writer.drain()
        await lost.wait()
        with suppress(ConnectionError):
            assert len(await reader.read()) < size

    live(scenario)


@pytest.mark.parametrize(
    ("length", "status"),
    [(b"1001", 413), (b"9" * 20, 413), (b"9" * 30, 400), (b"-1", 400), (b"1, 2", 400), (b"x", 400)],
)
def test_a_length_that_is_too_large_or_no_number_is_refused_before_the_body_comes(live, length, status):
    async def scenario(live):
        reader, _ = await live.connect(HEAD.replace(b"%d", length) + b"some of it")
        assert await read_status(reader) == status

    live(scenario, max_bytes=1000)


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 4",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked, identity",
        b"Content-Length : 3",
        b"X: a\0b",
        b"Content-Length: 3\r\nHost: other",
    ],
)
def test_headers_with_two_meanings_are_refused(live, lines):
    async def scenario(live):
        reader, _ = await live.connect(HEAD.replace(b"Content-Length: %d", lines) + b"abc")
        assert await read_status(reader) in (400, 501)

    live(scenario)


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_large(live):
    async def scenario(live):
        head = HEAD.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
        reader, _ = await live.connect(head + b"3e9\r\n" + bytes(1001) + b"\r\n")  # and no end
        assert await read_status(reader) == 413

    live(scenario, max_bytes=1000)


def test_the_log_and_the_metrics_say_what_happened_and_hold_nothing_of_a_file(fake, numbers, capsys):
    def act(worker, values, data):
        if data == b"fault":
            raise ValueError("secret content")
        return numbers, data

    with TestClient(make_app(Service(ServiceSettings(), lambda: fake(act)))) as client:
        for name, data in (
            ("secret name.png", b"secret content"),
            ("secret name.png", b"fault"),
            ("secret", b""),
        ):
            client.post("/v1/read?pages=1", files={"file": (name, data)}, headers={"X-Request-ID": "abc-1"})
        client.get("/secret path")
        metrics = client.get("/metrics").text
    logged = capsys.readouterr().err
    assert "secret" not in logged + metrics
    lines = [json.loads(line) for line in logged.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 500, 422, 404]
    assert requests[0]["request_id"] == "abc-1"
    assert requests[0]["bytes"] == 14
    assert 'nhin_requests_total{route="/v1/read",status="200"} 1' in metrics
    assert 'nhin_requests_total{route="/v1/read",status="500"} 1' in metrics
    assert "nhin_pages_total 1" in metrics
    assert all(
        re.fullmatch(r'#.*|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line)
        for line in metrics.splitlines()
    )


@pytest.mark.parametrize("sent", ["a b", "x" * 65, 'a"b', "<b>"])
def test_an_id_that_is_no_plain_word_is_replaced(fake, numbers, sent):
    with TestClient(make_app(Service(ServiceSettings(), lambda: fake(lambda *_: (numbers, b""))))) as client:
        found = client.get("/healthz", headers={"X-Request-ID": sent}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", found)


def test_a_service_that_shuts_down_says_that_it_is_not_ready(fake, numbers):
    service = Service(ServiceSettings(), lambda: fake(lambda *_: (numbers, b"")))
    with TestClient(make_app(service)) as client:
        assert client.get("/readyz").status_code == 200
        service.is_draining = True
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        refused = client.post("/v1/read", content=b"x", headers={"Content-Type": "image/png"})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.7", "a" * 300])
def test_a_host_that_is_not_there_is_refused_in_one_line(host):
    with pytest.raises(UsageError) as why:
        bind_socket(host, 0)
    assert "\n" not in str(why.value)


def test_a_port_in_use_is_refused_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as busy, pytest.raises(UsageError, match="in use"):
        bind_socket("127.0.0.1", busy.getsockname()[1])
