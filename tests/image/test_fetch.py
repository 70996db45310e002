"""What is fetched comes from the public internet, within limits; a server of our own stands in for it."""

import ipaddress
import socket
import threading
from contextlib import contextmanager

import pytest

from nhin.errors import PictureError
from nhin.image import fetch as module
from nhin.image.fetch import FetchLimits, fetch, is_public

OURS = FetchLimits(max_bytes=1000, seconds=20, is_allowed=lambda address: address.is_loopback)


@contextmanager
def serve(*answers: bytes, hold: threading.Event | None = None):
    """Yield the address of a server that gives each connection the next answer, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            for answer in answers:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(10_000))
                    connection.sendall(answer)
                    if hold:
                        hold.wait(20)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        if hold:
            hold.set()


def ok(body: bytes, head: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def move(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


def refuse(url: str, says: str, limits: FetchLimits = OURS) -> None:
    with pytest.raises(PictureError, match=says) as caught:
        fetch(url, limits)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1 "
    "192.0.2.1 198.18.0.1 240.0.0.1 :: ::1 fe80::1 fc00::1 fd12::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 "
    "::ffff:169.254.169.254 2002:7f00:1:: 2002:a00:1:: 64:ff9b::7f00:1 64:ff9b::a00:1 "
    "2001:0:4136:e378:8000:63bf:80ff:fffe 2001:db8::1 ::7f00:1".split(),
)
def test_no_address_of_a_private_network_is_public_in_any_form(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", "93.184.215.14 8.8.8.8 2606:4700::1111 ::ffff:8.8.8.8".split())
def test_addresses_of_the_internet_are_public(address):
    assert is_public(ipaddress.ip_address(address))


def test_a_file_is_fetched_and_only_the_request_is_sent():
    with serve(ok(b"%PDF-1.7")) as (url, asked):
        assert fetch(f"{url}/thư mục/a.pdf?x=ă&y=1", OURS) == b"%PDF-1.7"
    line, *head = asked[0].decode().split("\r\n")
    assert line == "GET /th%C6%B0%20m%E1%BB%A5c/a.pdf?x=%C4%83&y=1 HTTP/1.1"
    names = {row.partition(":")[0].lower() for row in head if row}
    assert names == {"host", "user-agent", "accept-encoding", "connection"}


def test_redirections_are_followed_and_counted():
    with serve(move("/b"), ok(b"b")) as (url, asked):
        assert fetch(f"{url}/a", OURS) == b"b"
    assert asked[1].startswith(b"GET /b ")
    with serve(*[move("/a")] * 9) as (url, asked):
        refuse(f"{url}/a", "redirected more than 5 times")
    assert len(asked) == 6


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://example.org/a", "gopher://x", "data:,x"])
def test_a_redirection_to_anything_but_http_is_refused(place):
    with serve(move(place)) as (url, _):
        refuse(url, "no address of http or https")


def test_a_redirection_is_checked_as_the_first_address_is():
    with serve(move("http://10.0.0.1/secret")) as (url, _):
        refuse(url, r"10\.0\.0\.1, which is not on the public internet")


def test_the_connection_goes_to_the_address_that_was_checked_though_the_name_moves(monkeypatch):
    """A name that is public when it is checked and private a moment later is resolved once."""
    resolved = []

    def resolve(host, port, **options):
        resolved.append(host)
        address = "8.8.8.8" if len(resolved) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected = []

    def connect(address, timeout):
        connected.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(module.socket, "create_connection", connect)
    refuse("http://rebinding.example/a", "refused", FetchLimits())
    assert connected == [("8.8.8.8", 80)]
    assert resolved == ["rebinding.example"]


def test_a_name_with_one_private_address_among_others_is_refused(monkeypatch):
    entries = [(0, 0, 0, "", (address, 80)) for address in ("8.8.8.8", "::ffff:192.168.0.1")]
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *given, **options: entries)
    refuse("http://both.example/a", "not on the public internet", FetchLimits())


@pytest.mark.parametrize(
    "url",
    "http://127.0.0.1/ http://localhost:631/ http://[::1]/ http://[::ffff:127.0.0.1]/ http://0/ "
    "http://2130706433/ http://0x7f000001/ http://127.1/ https://127.0.0.1/".split(),
)
def test_this_machine_is_refused_however_it_is_written(url):
    refuse(url, "not on the public internet|cannot be fetched", FetchLimits())


@pytest.mark.parametrize(
    "url, says",
    [
        ("http://user:secret@example.org/", "names and passwords"),
        ("file:///etc/passwd", "no address"),
        ("example.org/a.png", "no address"),
        ("http:///a", "no address"),
        ("http://[::1", "cannot be fetched"),
        ("http://example.org:99999/", "cannot be fetched"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(url, says):
    refuse(url, says)


@pytest.mark.parametrize(
    "answer, says",
    [
        (ok(b"x" * 1001), "larger than"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, "larger than"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + b"x" * 4095, "larger than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf", "in the middle|cannot be fetched"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404 Not Found"),
        (ok(b"x", "Content-Encoding: gzip\r\n"), "packs the file"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "cannot be fetched"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be fetched"),
        (b"", "cannot be fetched"),
    ],
)
def test_an_answer_beyond_a_limit_or_that_is_no_file_is_one_line(answer, says):
    with serve(answer) as (url, _):
        refuse(url, says)


def test_a_server_that_sends_slowly_is_given_up():
    hold = threading.Event()
    with serve(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", hold=hold) as (url, _):
        refuse(url, "takes more than 0.3 seconds", FetchLimits(1000, 0.3, OURS.is_allowed))


def test_a_name_that_is_not_resolved_in_time_is_given_up(monkeypatch):
    hold = threading.Event()

    def resolve(host, port, **options):
        hold.wait(20)
        return []

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    refuse("http://slow.example/", "takes more than 0.1 seconds", FetchLimits(1000, 0.1, OURS.is_allowed))
    assert not hold.is_set()
    hold.set()


def test_a_certificate_that_nobody_vouches_for_is_refused():
    """The server speaks no TLS at all, which is refused as a wrong certificate is."""
    with serve(b"HTTP/1.1 200 OK\r\n\r\nplain") as (url, _):
        refuse(url.replace("http:", "https:"), "cannot be fetched")
    context = FetchLimits().context
    assert (context.check_hostname, context.verify_mode) == (True, module.ssl.CERT_REQUIRED)
