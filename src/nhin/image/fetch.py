"""Fetch a picture or a PDF from the public internet, with limits; never from a private network.

A name is resolved once, every address it has is checked, and the connection goes to one that was: a name that
points elsewhere a moment later gains nothing. The same holds for each redirection. No proxy is asked, and
nothing is sent but the request: no cookies, no credentials, no referrer.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit

from nhin.errors import PictureError
from nhin.image.source import MAX_BYTES
from nhin.version import __version__

MAX_SECONDS = 30.0
MAX_REDIRECTIONS = 5
_REDIRECTIONS = (301, 302, 303, 307, 308)
_CHUNK = 2**16
_SAFE = "/%:@!$&'()*+,;=~-._"
_TRANSLATING = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public internet, and so is the IPv4 address in an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if any(address in network for network in _TRANSLATING):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(part is not None and not is_public(part) for part in inner):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What may be fetched.

    Args:
        max_bytes: Of the file.
        seconds: For everything, resolving names and redirections included.
        is_allowed: Whether a connection may go to an address.
        context: How certificates are verified; by default against those of the system.
    """

    max_bytes: int = MAX_BYTES
    seconds: float = MAX_SECONDS
    is_allowed: Callable[[Address], bool] = is_public
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)


def fetch(url: str, limits: FetchLimits | None = None) -> bytes:
    """Return the bytes of the file at an address.

    Raises:
        PictureError: The address is none of http or https, or not public; the server does not answer with a
            file; a limit is exceeded.
    """
    with _Fetcher(url, limits or FetchLimits()) as fetcher:
        return fetcher.run()


def resolve_host(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses of a name, within a number of seconds.

    The system's own call has no limit: it runs in a thread, which is left behind when it takes longer.

    Raises:
        TimeoutError: It takes longer.
        OSError: There is no such name.
    """
    found: list[str] = []
    failures: list[Exception] = []

    def resolve() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(str(entry[4][0]) for entry in entries)
        except Exception as why:  # noqa: BLE001  # raised again in the thread that waits
            failures.append(why)

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if failures:
        raise failures[0]
    if not found:
        raise TimeoutError(f"{host} is not resolved in time")
    return found


class _Fetcher:
    """One fetch: its deadline, and the socket that is shut down when that has passed."""

    def __init__(self, url: str, limits: FetchLimits) -> None:
        self.url, self.limits = url, limits
        self.deadline = time.monotonic() + limits.seconds
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(limits.seconds, self._stop)
        self._timer.daemon = True

    def __enter__(self) -> "_Fetcher":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._socket is not None:
            self._socket.close()

    def _stop(self) -> None:
        """End every read and write of the socket, however slowly the server sends."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def run(self) -> bytes:
        target = self.url
        try:
            for _ in range(MAX_REDIRECTIONS + 1):
                answer = self._request(target)
                if isinstance(answer, bytes):
                    return answer
                target = answer
        except (OSError, http.client.HTTPException, ValueError) as why:
            if time.monotonic() >= self.deadline:
                raise self._refuse(f"it takes more than {self.limits.seconds:g} seconds") from None
            reason = " ".join(str(why).split())[:200] or type(why).__name__
            raise self._refuse(reason) from None
        raise self._refuse(f"it is redirected more than {MAX_REDIRECTIONS} times")

    def _request(self, target: str) -> bytes | str:
        """Return the file at an address, or the address it is redirected to."""
        parts = urlsplit(target)
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host:
            raise self._refuse(f"{target[:200]} is no address of http or https")
        if parts.username is not None or parts.password is not None:
            raise self._refuse("names and passwords in addresses are not sent")
        is_secure = parts.scheme == "https"
        port = parts.port or (443 if is_secure else 80)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._connect(host.encode("idna").decode(), port, is_secure)
        path = quote(parts.path or "/", safe=_SAFE) + (
            "?" + quote(parts.query, safe=_SAFE + "?") if parts.query else ""
        )
        head = {"User-Agent": f"nhin/{__version__}", "Accept-Encoding": "identity", "Connection": "close"}
        connection.request("GET", path, headers=head)
        with closing(connection), connection.getresponse() as answer:
            if answer.status in _REDIRECTIONS and (place := answer.getheader("Location")):
                following = urljoin(target, place)
                if is_secure and urlsplit(following).scheme == "http":
                    raise self._refuse("it is redirected from https to http")
                return following
            if answer.status != 200:
                raise self._refuse(f"the server answers {answer.status} {answer.reason[:80]}")
            return self._read(answer)

    def _connect(self, host: str, port: int, is_secure: bool) -> socket.socket:
        """Open a connection to an address that was checked."""
        addresses = resolve_host(host, port, self.deadline - time.monotonic())
        for address in addresses:
            if not self.limits.is_allowed(ipaddress.ip_address(address.partition("%")[0])):
                raise self._refuse(f"{host} is {address}, which is not on the public internet")
        if self._socket is not None:
            self._socket.close()
        remaining = max(0.1, self.deadline - time.monotonic())
        self._socket = socket.create_connection((addresses[0], port), remaining)
        if is_secure:
            self._socket = self.limits.context.wrap_socket(self._socket, server_hostname=host)
        return self._socket

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        if answer.getheader("Content-Encoding", "identity").lower() != "identity":
            raise self._refuse("the server packs the file, though it was asked not to")
        parts, size = [], 0
        while part := answer.read(min(_CHUNK, self.limits.max_bytes + 1 - size)):
            size += len(part)
            if size > self.limits.max_bytes:
                raise self._refuse(f"it is larger than {self.limits.max_bytes >> 20} MiB")
            if time.monotonic() >= self.deadline:
                raise TimeoutError
            parts.append(part)
        if answer.length:  # an end before the length that was announced
            raise self._refuse("the server stops in the middle")
        return b"".join(parts)

    def _refuse(self, reason: str) -> PictureError:
        return PictureError(f"{self.url[:300]} cannot be fetched: {reason}")
