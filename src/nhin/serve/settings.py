"""The settings of a service: where it listens, and its limits."""

from dataclasses import dataclass

from nhin.image.decode import MAX_PIXELS
from nhin.reading.onnx_model import DEFAULT_MODEL


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What a service takes, and what it may take for it.

    ``workers`` are processes; ``queue`` is how many accepted requests may wait for one. ``max_bytes`` of an
    upload, ``max_pixels`` of a page, ``max_pages`` of a request. Seconds on the clock: ``seconds`` of a
    worker for one request, ``load_seconds`` for its networks, ``upload_seconds`` for a body to arrive,
    ``wait_seconds`` in the queue, ``grace`` for finishing accepted requests at the end. A worker is replaced
    after ``jobs_per_worker`` requests.
    """

    workers: int = 1
    queue: int = 16
    max_bytes: int = 32 * 2**20
    max_pixels: int = MAX_PIXELS
    max_pages: int = 50
    seconds: float = 120.0
    load_seconds: float = 120.0
    upload_seconds: float = 60.0
    wait_seconds: float = 120.0
    grace: float = 30.0
    jobs_per_worker: int = 500
    weights: str = DEFAULT_MODEL
    digest: str | None = None
