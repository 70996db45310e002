"""``nhin doctor``: what is installed, what it runs on, and whether the bundled weights are whole."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nhin import __version__
from nhin.cli.output import print_tables, to_json
from nhin.errors import CheckpointError, NhinError, explain_install

PACKAGES = ("numpy", "pillow", "opencv-python-headless", "onnxruntime", "cyclopts", "rich")
EXTRAS = {
    "pdf": ("pypdfium2",),
    "heic": ("pillow-heif",),
    "serve": ("fastapi", "uvicorn", "python-multipart"),
    "ocrmypdf": ("ocrmypdf",),
    "ray": ("ray",),
    "torch": ("torch", "safetensors", "tokenizers", "onnx"),
}
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def doctor(*, json: bool = False) -> int:
    """Tell versions, processors, threads and weights; the exit code is 4 if reading cannot work.

    Args:
        json: Write one JSON object.
    """
    problems: list[str] = []
    tree: dict[str, Any] = {
        "nhin": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _find_version(name) for name in PACKAGES},
        "extras": {extra: {name: _find_version(name) for name in names} for extra, names in EXTRAS.items()},
        "providers": _list_providers(problems),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": {name: os.environ[name] for name in THREAD_SETTINGS if name in os.environ},
        "detector": _find_detector(problems),
        "weights": _hash_weights(problems),
    }
    missing = [name for name, found in tree["packages"].items() if found is None]
    problems += [f"{name} is not installed" for name in missing]
    tree["problems"] = problems
    if json:
        sys.stdout.write(to_json(tree))
    else:
        print_tables(*_format_lines(tree))
    return CheckpointError.exit_code if problems else 0


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _list_providers(problems: list[str]) -> list[str]:
    try:
        import onnxruntime

        return list(onnxruntime.get_available_providers())
    except ImportError as why:
        problems.append(f"onnxruntime cannot be loaded: {why}")
        return []


def _find_detector(problems: list[str]) -> dict[str, str] | None:
    """Return the name and the SHA-256 of the detector's file."""
    from nhin.files import hash_file
    from nhin.reading.detector import BUNDLED

    try:
        return {"name": BUNDLED.name, "sha256": hash_file(BUNDLED)}
    except OSError as why:
        problems.append(str(why))
        return None


def _hash_weights(problems: list[str]) -> dict[str, str | None]:
    """Return the digest of each of the bundled weights, whose files are compared with their hashes."""
    from nhin.reading.onnx_model import bundled_models, hash_model, locate_model, read_model

    digests: dict[str, str | None] = {}
    for name in bundled_models():
        try:
            with locate_model(name) as folder:
                digests[name] = hash_model(folder)
                read_model(folder)
        except NhinError as why:
            problems.append(str(why))
            digests[name] = None
    if not digests:
        problems.append("no weights come with this nhin")
    return digests


def _format_lines(tree: dict[str, Any]) -> list[str]:
    """Return a line for each thing that was found, problems last."""
    lines = [f"nhin {tree['nhin']}, Python {tree['python']}, {tree['system']}"]
    lines.append("packages: " + ", ".join(f"{name} {found}" for name, found in tree["packages"].items()))
    for extra, packages in tree["extras"].items():
        found = ", ".join(f"{name} {number}" for name, number in packages.items() if number)
        lines.append(f"extra {extra}: " + (found or f"not installed; {explain_install(extra)}"))
    settings = "".join(f", {name}={value}" for name, value in tree["threads"].items())
    lines.append(
        f"providers: {', '.join(tree['providers'])} (nhin reads on the CPU); {tree['cores']} cores{settings}"
    )
    if tree["detector"]:
        lines.append(f"detector: {tree['detector']['name']} {tree['detector']['sha256'][:16]}")
    lines += [f"weights {name}: {digest or 'damaged'}" for name, digest in tree["weights"].items()]
    return (
        lines
        + [f"problem: {problem}" for problem in tree["problems"]]
        + ["all is well"] * (not tree["problems"])
    )
