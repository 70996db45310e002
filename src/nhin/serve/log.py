"""The log of a service: one JSON object in each line of standard error, never names or contents of files."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from traceback import extract_tb


def write_log(event: str, **fields: object) -> None:
    """Write one line: the time, what happened, and more."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    with suppress(OSError, ValueError):  # a full disk, or closed: the service goes on
        sys.stderr.write(json.dumps(line, ensure_ascii=True) + "\n")
        sys.stderr.flush()


def describe_error(why: BaseException) -> dict[str, object]:
    """Return where an unexpected error was raised; its message may hold what a user sent, and is left out."""
    trace = [f"{frame.filename}:{frame.lineno}" for frame in extract_tb(why.__traceback__)[-8:]]
    return {"error": type(why).__name__, "trace": trace}


@contextmanager
def log_libraries() -> Iterator[None]:
    """Write what uvicorn and asyncio log in the same way, and nothing of other libraries."""
    handlers = {"": logging.NullHandler(), **dict.fromkeys(("uvicorn.error", "asyncio"), JsonHandler())}
    for name, handler in handlers.items():
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name, handler in handlers.items():
            logging.getLogger(name).removeHandler(handler)


class JsonHandler(logging.Handler):
    """Writes records in the same way, without their arguments, which may hold what a user sent."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        extra = describe_error(record.exc_info[1]) if record.exc_info and record.exc_info[1] else {}
        write_log("server", level=record.levelname.lower(), message=str(record.msg).split("%")[0], **extra)
