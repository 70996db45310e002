"""Write a folder that any web server can serve, whose page reads pictures in the browser alone.

The page runs nhin's Python modules in Pyodide and its networks in ONNX Runtime Web. Both, and the builds of
numpy, Pillow and OpenCV for Pyodide, come from a folder of the user's: nhin downloads nothing.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from nhin.errors import CheckpointError, MissingExtra, UsageError
from nhin.files import explain_os_error, parse_json, read_bytes, write_folder

PACKAGE = Path(__file__).parents[1]
SITE = Path(__file__).parent / "static_site"
ARCHIVE, RUNTIME = "nhin.zip", "runtime"
ADVICE = "run npm install pyodide@0.29.3 onnxruntime-web@1.30.0, and see docs/browser.md"
"""How to get the runtime, of the versions that the page was tested with; others may do."""
LOCK = "pyodide-lock.json"
FILES = (
    "pyodide.mjs",
    "pyodide.asm.js",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm",
)
WHEELS = ("numpy", "pillow", "opencv-python")
MAX_FILE = 128 * 2**20
"""The most bytes of a file that is read."""
_FOLDERS = (".", "node_modules/pyodide", "node_modules/onnxruntime-web/dist", "pyodide")
_PARTS = (
    "[!_]*.py",
    "__init__.py",
    "decoding/*.py",
    "image/*.py",
    "reading/*.py",
    "text/**/*.py",
    "serve/__init__.py",
    "serve/in_browser.py",
    "weights/detector.onnx",
    "weights/prior.npy",
    "weights/marks.npy",
    "weights/default/*",
    "weights/slim/*",
)


def export_site(out: Path, runtime: Path) -> int:
    """Write the page, the reader and what runs it into a folder, which appears whole or not at all.

    Args:
        out: A new or an empty folder, or an earlier export, which is replaced.
        runtime: Where the npm packages ``pyodide`` and ``onnxruntime-web`` were installed, with the wheels
            that Pyodide's lock file names.

    Returns:
        The number of bytes written.

    Raises:
        UsageError: ``out`` is something else.
        MissingExtra: A file of the runtime is missing.
        CheckpointError: A file of the runtime is torn, or the folder cannot be written.
    """
    out = out.resolve()
    site = {path.name: path.read_bytes() for path in sorted(SITE.iterdir()) if path.is_file()}
    check_out(out, {*site, ARCHIVE, RUNTIME})
    site |= {f"{RUNTIME}/{name}": data for name, data in collect_runtime(runtime).items()}
    site[ARCHIVE] = pack_reader()
    with explain_os_error(f"write {out}"), write_folder(out) as folder:
        (folder / RUNTIME).mkdir()
        for name, data in site.items():
            (folder / name).write_bytes(data)
    return sum(map(len, site.values()))


def check_out(out: Path, names: set[str]) -> None:
    """Refuse to replace a folder that holds anything but an earlier export.

    Raises:
        UsageError: It does, or is a file.
    """
    if Path.cwd().is_relative_to(out):
        raise UsageError(f"{out} is the folder you are in, or around it; name another folder")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if (out.exists() and not out.is_dir()) or found - names or (found and ARCHIVE not in found):
        raise UsageError(f"{out} is there already and is not an earlier export; name another folder")


def collect_runtime(folder: Path) -> dict[str, bytes]:
    """Read the files that the page runs on, by name, and compare the wheels with Pyodide's lock file.

    Raises:
        MissingExtra: Some are missing; the message says which, and how to get them.
        CheckpointError: The lock file is damaged, or a wheel is not the one it names.
    """
    files = _read_files(folder, (*FILES, LOCK), f"in that folder, {ADVICE}")
    hashes = _read_lock(files[LOCK], f"{folder}: {LOCK}")
    wheels = _read_files(folder, hashes, "get them from the same release of Pyodide, see docs/browser.md")
    for name, data in wheels.items():
        if hashlib.sha256(data).hexdigest() != hashes[name]:
            raise CheckpointError(f"{folder}: {name} is torn, or not of the release that {LOCK} is of")
    return files | wheels


def _read_files(folder: Path, names: Iterable[str], advice: str) -> dict[str, bytes]:
    paths = {name: [folder / part / name for part in _FOLDERS] for name in names}
    found = {name: next((path for path in places if path.is_file()), None) for name, places in paths.items()}
    if missing := [name for name, path in found.items() if path is None]:
        raise MissingExtra(f"{folder} lacks {', '.join(missing)}; {advice}")
    return {name: read_bytes(path, MAX_FILE) for name, path in found.items() if path}


def _read_lock(data: bytes, where: str) -> dict[str, str]:
    """Return the SHA-256 of each wheel, by its name."""
    tree = parse_json(data, where)
    hashes = {}
    for package in WHEELS:
        try:
            entry = tree["packages"][package]
            name, hashes[name] = str(entry["file_name"]), str(entry["sha256"])
        except (LookupError, TypeError):
            raise CheckpointError(f"{where} names no wheel of {package}") from None
        if not name.endswith(".whl") or Path(name).name != name:
            raise CheckpointError(f"{where} names no wheel of {package}: {name[:80]!r}")
    return hashes


def pack_reader() -> bytes:
    """Return a ZIP of the modules and the weights that reading needs, the same bytes at each call."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted({path for part in _PARTS for path in PACKAGE.glob(part) if path.is_file()}):
            entry = zipfile.ZipInfo(f"nhin/{path.relative_to(PACKAGE).as_posix()}")  # of 1980, not of today
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
