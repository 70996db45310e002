"""The reader inside a web page: Python runs in Pyodide, and ONNX Runtime Web runs the networks.

The modules of ``nhin.reading`` run as they are. They ask for a module ``onnxruntime``; here it is this one,
with as much of its interface as ``nhin.reading.onnx_session`` calls. Calls of ONNX Runtime Web are
asynchronous, so Python's stack waits (JavaScript Promise Integration).
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.errors import NhinError
from nhin.reading.reader import default_reader
from nhin.reading.writers import to_json_line

_ort: Any = None


def start(ort: Any) -> None:
    """Take ONNX Runtime Web's module, and load the networks."""
    global _ort  # one for the page
    _ort = ort
    sys.modules["onnxruntime"] = sys.modules[__name__]
    default_reader().load()


def read_picture(data: Any, name: str) -> str:
    """Read a file, and return the line of JSON that ``nhin read --format json`` prints.

    An error that nhin raises on purpose is returned as JSON too: ``{"error": "..."}``.

    Args:
        data: Its bytes, as a JavaScript array.
        name: Its name.
    """
    try:
        return to_json_line(default_reader().read(data.to_bytes(), name=name), name)
    except NhinError as why:
        return json.dumps({"error": str(why)}, ensure_ascii=False)


class SessionOptions:
    """Takes the options of ONNX Runtime; a page has one thread and no choice."""

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Do nothing."""


class InferenceSession:
    """A network that ONNX Runtime Web runs."""

    def __init__(self, network: str | bytes, options: SessionOptions, providers: Sequence[str]) -> None:
        from pyodide.ffi import run_sync, to_js  # pyright: ignore[reportMissingImports]

        data = network if isinstance(network, bytes) else Path(network).read_bytes()
        self._session = run_sync(_ort.InferenceSession.create(to_js(data)))

    def run(self, outputs: Sequence[str] | None, feeds: Mapping[str, NDArray]) -> list[NDArray]:
        """Return the outputs that are asked for, all by default."""
        from js import Object  # pyright: ignore[reportMissingImports]
        from pyodide.ffi import run_sync, to_js  # pyright: ignore[reportMissingImports]

        tensors = Object.new()
        for name, array in feeds.items():
            flat = to_js(np.ascontiguousarray(array).reshape(-1))
            setattr(tensors, name, _ort.Tensor.new(array.dtype.name, flat, to_js(array.shape)))
        found = run_sync(self._session.run(tensors))
        names = outputs or self._session.outputNames.to_py()
        return [_to_array(getattr(found, name)) for name in names]


def _to_array(tensor: Any) -> NDArray:
    return np.asarray(tensor.data.to_py()).reshape(tensor.dims.to_py())
