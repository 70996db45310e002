"""The child process that decodes pictures whose cost does not follow from their header; see ``load``."""

import time
from typing import Any

from numpy.typing import NDArray

from nhin.errors import PictureError
from nhin.image.decode import decode_file
from nhin.sandbox import Message, serve

_file = b""


def handle(values: dict[str, Any], arrays: list[NDArray]) -> Message:
    """Decode the bytes of a file, or another page of the file of the last request."""
    global _file  # kept between the pages of a file
    data = arrays[0].tobytes() if arrays else _file
    _file = data if values["has_more"] else b""
    try:
        picture = decode_file(data, values["name"], values["offset"], values["frame"])
    except PictureError as why:
        return {"refused": str(why), "used": time.process_time()}, []
    numbers = {"width": picture.width, "height": picture.height, "others": picture.others}
    return {**numbers, "used": time.process_time()}, [picture.pixels]


if __name__ == "__main__":
    from PIL import Image

    from nhin.image.heic import register_heic

    Image.init()  # no file can be opened later
    register_heic()
    serve(handle)
