"""The child process that runs the networks of a stranger's weights; see ``nhin.sandbox``.

Requests: ``{"open": threads}`` with the bytes of the networks, one or more, then ``{"run": number,
"inputs": names, "outputs": names}`` with the inputs' arrays.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nhin.reading.onnx_session import make_session
from nhin.sandbox import Message, serve

_MAX_NAMES, _MAX_NAME = 8, 64


@dataclass(slots=True)
class Worker:
    """The networks that are open."""

    sessions: list[onnxruntime.InferenceSession] = field(default_factory=list)

    def handle(self, values: dict[str, Any], arrays: list[NDArray]) -> Message:
        """Answer one request."""
        if "open" in values:
            for data in arrays:
                self.sessions.append(make_session(data.tobytes(), values["open"]))
            return {"networks": [describe(session) for session in self.sessions]}, []
        feeds = dict(zip(values["inputs"], arrays, strict=True))
        results = self.sessions[values["run"]].run(values["outputs"], feeds)
        return {}, [np.asarray(result) for result in results]


def describe(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    """Return the inputs and outputs of a network, each with its name, type and shape."""
    ends = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
    return {
        kind: [[end.name[:_MAX_NAME], end.type[:_MAX_NAME], _sizes(end.shape)] for end in found[:_MAX_NAMES]]
        for kind, found in ends.items()
    }


def _sizes(shape: list[Any]) -> list[int | None]:
    """Return the sizes of axes; None for one that may vary."""
    return [side if isinstance(side, int) else None for side in shape[:_MAX_NAMES]]


if __name__ == "__main__":
    serve(Worker().handle)
