"""The picture in the clipboard, or the files that were copied, through Pillow.

On Linux Pillow asks ``wl-paste`` (Wayland) or ``xclip`` (X11), one of which must be installed.
"""

from pathlib import Path

from PIL import Image, ImageGrab

from nhin.errors import PictureError


def read_clipboard() -> Image.Image | list[Path]:
    """Return the picture in the clipboard; the paths of files where they were copied.

    Raises:
        PictureError: It holds neither, or the system gives no access to it.
    """
    try:
        found = ImageGrab.grabclipboard()
    except NotImplementedError:
        raise PictureError("the clipboard cannot be read: install wl-clipboard, or xclip for X11") from None
    except (OSError, ValueError, SyntaxError, EOFError) as why:
        reason = " ".join(str(why).split())[:200] or type(why).__name__
        raise PictureError(f"the clipboard cannot be read: {reason}") from None
    if found is None or found == []:
        raise PictureError("the clipboard holds no picture")
    return [Path(name) for name in found] if isinstance(found, list) else found
