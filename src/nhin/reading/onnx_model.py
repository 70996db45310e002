"""A recognizer on disk: two ONNX files and a manifest.

::

    NAME/encoder.onnx   pictures (B 1 height W) -> memory (B F C), ctc log-probabilities (B F V)
    NAME/decoder.onnx   memory (B F C), tokens (B T) -> logits (B T V)
    NAME/model.json     format, version, charset, height, temperatures, and a SHA-256 of each file
    NAME/CARD.md        for people: training data, accuracy, limits

Weights come from strangers: nothing is loaded before the manifest and the hashes are checked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.config import from_dict
from nhin.errors import CheckpointError, RecipeError, UnknownName
from nhin.files import hash_file, read_folder
from nhin.image.preprocess import HEIGHT
from nhin.reading.onnx_session import open_session
from nhin.reading.recognizer import Mode, Recognizer
from nhin.text.charset import Charset

FORMAT = "nhin-reader"
VERSION = 1
DEFAULT_MODEL = "vi-small"
DEFAULT_THREADS = 2
MANIFEST = "model.json"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """The contents of ``model.json``.

    Args:
        charset: The characters, in the order of their ids.
        files: SHA-256 of each file, in hexadecimal.
        temperatures: Per reading mode, from calibration.
        metrics: Measured at export, for people.
    """

    charset: str
    files: dict[str, str]
    format: str = FORMAT
    version: int = VERSION
    name: str = ""
    height: int = HEIGHT
    temperatures: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


class OnnxModel:
    """The two networks of a folder, run by ONNX Runtime with so many threads; an ``EncoderDecoder``."""

    def __init__(self, folder: Path, threads: int = DEFAULT_THREADS) -> None:
        self._encoder = open_session(folder / ENCODER, threads)
        self._decoder = open_session(folder / DECODER, threads)

    def encode(self, pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return memory and CTC log-probabilities."""
        memory, log_probs = self._encoder.run(["memory", "ctc"], {"pictures": pictures})
        return np.asarray(memory), np.asarray(log_probs)

    def decode(self, memory: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of the token after each token."""
        return np.asarray(self._decoder.run(["logits"], {"memory": memory, "tokens": tokens})[0])


def bundled_models() -> list[str]:
    """List the names of the weights bundled with nhin."""
    home = files("nhin").joinpath("weights")
    entries = home.iterdir() if home.is_dir() else ()
    return sorted(entry.name for entry in entries if entry.joinpath(MANIFEST).is_file())


def is_onnx_model(path: Path) -> bool:
    """Return whether a path is a folder of exported weights."""
    return bool(read_folder(path, lambda folder: (folder / MANIFEST).is_file()))


def load_recognizer(
    name: str | Path = DEFAULT_MODEL, *, mode: Mode = "both", threads: int = DEFAULT_THREADS
) -> Recognizer:
    """Load a recognizer by bundled name, or from a folder of exported weights.

    Raises:
        UnknownName: Neither a bundled name nor a folder.
        CheckpointError: The folder's files are missing, damaged, foreign or of another version.
    """
    if str(name) in bundled_models():
        with as_file(files("nhin").joinpath("weights", str(name))) as folder:
            return _load_folder(folder, mode, threads)
    # Another export may replace the folder meanwhile.
    recognizer = read_folder(Path(name), lambda folder: _load_folder(folder, mode, threads))
    if recognizer is None:
        raise UnknownName("weights", str(name), bundled_models())
    return recognizer


def read_manifest(folder: Path) -> ModelManifest:
    """Read ``model.json`` and check the hashes of both networks.

    Raises:
        CheckpointError: Something is missing, damaged, foreign or of another version.
    """
    path = folder / MANIFEST
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as why:
        raise CheckpointError(f"{folder} holds no weights: {MANIFEST} is missing") from why
    except (OSError, ValueError) as why:
        raise CheckpointError(f"{path} is torn: {why}") from why
    if not isinstance(tree, Mapping) or tree.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a manifest written by nhin export")
    if tree.get("version") != VERSION:
        raise CheckpointError(f"{folder} has format version {tree.get('version')}; this nhin reads {VERSION}")
    try:
        manifest = from_dict(ModelManifest, tree, str(path))
    except (RecipeError, UnknownName) as why:
        raise CheckpointError(f"{path} is damaged: {why}") from why
    for name in (ENCODER, DECODER):
        try:
            actual = hash_file(folder / name)
        except OSError as why:
            raise CheckpointError(
                f"{folder / name} is missing or cannot be read: {why.strerror or why}"
            ) from why
        if actual != manifest.files.get(name):
            raise CheckpointError(f"{folder / name} is torn or was changed: its SHA-256 is not in {MANIFEST}")
    return manifest


def _load_folder(folder: Path, mode: Mode, threads: int) -> Recognizer:
    manifest = read_manifest(folder)
    charset, model = Charset(manifest.charset), OnnxModel(folder, threads)
    return Recognizer(model, charset, manifest.height, mode, manifest.temperatures)
