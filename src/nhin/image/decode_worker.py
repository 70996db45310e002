"""The child process that decodes pictures whose cost does not follow from their header; see ``load``."""

import time
from typing import Any

from numpy.typing import NDArray

from nhin.errors import PictureError
from nhin.image.load import decode_file
from nhin.sandbox import Message, serve


def handle(values: dict[str, Any], arrays: list[NDArray]) -> Message:
    """Decode the bytes of a file."""
    try:
        picture = decode_file(arrays[0].tobytes(), values["name"])
    except PictureError as why:
        return {"refused": str(why), "used": time.process_time()}, []
    size = {"width": picture.width, "height": picture.height}
    return {**size, "used": time.process_time()}, [picture.pixels]


if __name__ == "__main__":
    from PIL import Image

    Image.init()  # no file can be opened later
    serve(handle)
