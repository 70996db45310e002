"""A worker process of ``ReadPool``: it has a reader of one thread, and reads one picture at a time.

Requests: ``{"open": settings}``, once, then the pixels of a picture with its name and its size.
"""

import json
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nhin.errors import NhinError
from nhin.image.decode import Picture
from nhin.reading.reader import Reader
from nhin.reading.reading_tree import make_tree
from nhin.sandbox import Message, serve


class ReadWorker:
    """Answers the requests of one worker process."""

    def handle(self, values: dict[str, Any], arrays: list[NDArray]) -> Message:
        """Answer one request."""
        try:
            if "open" in values:
                cv2.setNumThreads(1)
                self._reader = Reader(**values["open"], threads=1).load(values["crop"])
                return {}, []
            picture = Picture(arrays[0], *values["size"])
            reading = self._reader.read_picture(picture, values["crop"], values["name"])
        except NhinError as why:
            return {"refused": str(why)[:1000], "kind": type(why).__name__}, []
        return {}, [np.frombuffer(json.dumps(make_tree(reading)).encode(), np.uint8)]


if __name__ == "__main__":
    serve(ReadWorker().handle)
