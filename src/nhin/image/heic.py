"""HEIC and HEIF, the photographs of phones: Pillow opens them where pillow-heif is installed."""

import re
from importlib.util import find_spec

from nhin.errors import MissingExtra, explain_install

HEIC = re.compile(rb"(?s)^.{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)")


def register_heic() -> bool:
    """Let Pillow open HEIC, in this process; return whether it can."""
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return True


def check_heic(data: bytes, name: str) -> None:
    """Refuse a HEIC that nothing here can open.

    Raises:
        MissingExtra: The message says what to install.
    """
    if HEIC.match(data) and find_spec("pillow_heif") is None:
        install = explain_install("heic")
        raise MissingExtra(f"{name} is a HEIC photo, which needs pillow-heif, and that is missing: {install}")
