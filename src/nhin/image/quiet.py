"""Keep the warnings of decoders quiet, in any number of threads at once."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_outside = warnings.catch_warnings()


@contextmanager
def ignore_warnings() -> Iterator[None]:
    """Ignore all warnings inside a ``with`` block.

    ``warnings.catch_warnings`` alone restores filters that another thread has set meanwhile, and they would
    stay. Here the first thread to enter sets them, and the last to leave restores those from before.
    """
    global _inside, _outside  # filters are those of the process
    with _lock:
        _inside += 1
        if _inside == 1:
            _outside = warnings.catch_warnings()
            _outside.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _outside.__exit__(None, None, None)
