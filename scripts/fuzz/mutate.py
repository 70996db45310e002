"""Ways to damage bytes and JSON, for every harness."""

import json
from random import Random
from typing import Any

_NUMBERS = (0, 1, -1, -40, 2, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_VALUES = (
    *(0, -1, -40, 1, 10**9, 10**30, 0.5, 1e308, -1e-9, float("nan"), float("inf"), float("-inf")),
    *("", "x", "\x00", "\ud800", "é" * 1000, "../../etc/passwd", None, True, [], {}, [[]], [0] * 1000),
)


def damage_bytes(random: Random, data: bytes) -> tuple[bytes, str]:
    """Return damaged bytes and a sentence: flips, cuts, copies, numbers written over others."""
    kind = random.choice(("flip", "flip", "flips", "cut", "copy", "insert", "number", "number", "zero"))
    out, at = bytearray(data), random.randrange(max(1, len(data)))
    if random.random() < 0.5:
        at = random.randrange(max(1, min(len(data), 512)))  # headers
    length = min(random.choice((1, 2, 4, 8, 64, 1024)), max(1, len(data) - at))
    if kind == "cut":
        return bytes(out[:at]), f"cut at {at}"
    if kind == "copy":
        start = random.randrange(max(1, len(data)))
        out[at : at + length] = data[start : start + length]
    elif kind == "insert":
        out[at:at] = random.randbytes(length)
    elif kind == "zero":
        out[at : at + length] = bytes(length)
    elif kind == "number":
        size, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
        value = random.choice(_NUMBERS) % 256**size
        out[at : at + size] = value.to_bytes(size, order)  # pyright: ignore[reportArgumentType]
    else:
        for place in [at, *(random.randrange(len(out)) for _ in range(99 * (kind == "flips")))]:
            if out:
                out[place] ^= 1 << random.randrange(8)
    return bytes(out), f"{kind} at {at}"


def damage_json(random: Random, text: str) -> tuple[str, str]:
    """Return damaged JSON and a sentence: a value replaced, a key dropped or renamed, or deep nesting."""
    tree = json.loads(text)
    if random.random() < 0.05:
        depth = random.choice((100, 2000, 100_000))
        return "[" * depth + "]" * depth, f"nested {depth} deep"
    places = list(_iter_places(tree))
    home, key = random.choice(places)
    kind = random.choice(("value", "value", "value", "drop", "name"))
    if kind == "drop":
        del home[key]
    elif kind == "name" and isinstance(home, dict):
        home[f"{key}x"] = home.pop(key)
    else:
        home[key] = random.choice(_VALUES)
    return json.dumps(tree), f"{kind} of {key!r}"


def _iter_places(tree: Any) -> Any:
    """Yield each container and key of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _iter_places(value)
