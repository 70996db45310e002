"""The mechanisms that are compared by default, and their settings at the lengths of tiny tasks."""

from collections.abc import Iterable
from math import isqrt
from typing import Any

from nhin.attention.registry import MECHANISMS
from nhin.errors import UnknownName, UsageError
from nhin.recommend.quality import TASK_TITLES, TaskName

DEFAULT_MECHANISMS = (
    "softmax additive general local-p alibi window sinks longformer strided bigbird lsh linear performer "
    "nystromformer"
)


def scale_settings(mechanism: str, length: int) -> dict[str, Any]:
    """Return settings for sequences of a length, where the defaults would make every pattern dense.

    A query of a sparse mechanism attends to about a quarter of the positions, of one with strides to about
    two square roots of their number; what is not named here keeps its defaults.
    """
    quarter, root = max(2, length // 4), max(2, isqrt(length))
    block = max(1, length // 16)
    return {
        "window": {"window": quarter},
        "dilated": {"window": quarter},
        "sinks": {"window": quarter - 1, "sinks": 1},
        "longformer": {"window": quarter - 1},
        "strided": {"stride": root},
        "fixed": {"stride": root, "summary": 1},
        "interleaved": {"stride": root},
        "block-local": {"block": quarter},
        "block-sparse": {"block": max(1, length // 8)},
        "bigbird": {"block": block, "window": 2, "globals": 1, "random": 1},
        "lsh": {"buckets": 4},
        "local-m": {"reach": max(1, quarter // 2), "context": length},
        "local-p": {"reach": max(1, quarter // 2), "context": length},
        "location": {"context": length},
        "global": {"context": length},
        "linformer": {"rank": quarter, "context": length},
        "nystromformer": {"landmarks": quarter},
    }.get(mechanism, {})


def parse_mechanisms(text: str | None) -> tuple[str, ...]:
    """Return the mechanisms of a list with commas; those by default for None, every one for ``all``."""
    if text is None:
        return tuple(DEFAULT_MECHANISMS.split())
    return tuple(MECHANISMS) if text == "all" else _parse_names("mechanism", text, MECHANISMS)


def parse_tasks(text: str | None) -> tuple[TaskName, ...]:
    """Return the tasks of a list with commas; all for None."""
    return tuple(TASK_TITLES) if text is None else _parse_names("task", text, TASK_TITLES)  # pyright: ignore[reportReturnType]


def _parse_names(kind: str, text: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a list, if each is known and none is there twice."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)
    if len(set(names)) < len(names):
        raise UsageError(f"a {kind} is named twice; name each once")
    return names
