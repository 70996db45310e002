"""Weights of a reader on disk: two ONNX files and a table of contents that says what they are.

::

    NAME/encoder.onnx   pictures (B 1 height W) -> memory (B F C), ctc log-probabilities (B F V)
    NAME/decoder.onnx   memory (B F C), tokens (B T) -> logits (B T V)
    NAME/model.json     format, version, charset, height, temperatures, and a SHA-256 of each file
    NAME/CARD.md        for people: what it learnt from, what it reaches, what it cannot do

Weights come from strangers: nothing is loaded before the table of contents and the sums agree.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nhin.config import from_dict
from nhin.errors import CheckpointError, RecipeError, UnknownName
from nhin.image.preprocess import HEIGHT
from nhin.reading.recognizer import Mode, Recognizer
from nhin.text.charset import Charset

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FORMAT = "nhin-reader"
VERSION = 1
DEFAULT_MODEL = "vi-small"
DEFAULT_THREADS = 2
MANIFEST = "model.json"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """What ``model.json`` says.

    Args:
        charset: The characters, in the order of their ids.
        files: SHA-256 of each file, in hexadecimal.
        temperatures: Per reading mode, from calibration.
        metrics: Figures measured on the way out, for people.
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
    """The two networks of a reader, run by ONNX Runtime; keeps the ``Pair`` protocol."""

    def __init__(self, folder: Path, threads: int = DEFAULT_THREADS) -> None:
        """Open the two files of a folder; ``threads`` is how many processors one call may use."""
        self._encoder = _open_session(folder / ENCODER, threads)
        self._decoder = _open_session(folder / DECODER, threads)

    def encode(self, pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return memory and CTC log-probabilities."""
        memory, log_probs = self._encoder.run(["memory", "ctc"], {"pictures": pictures})
        return np.asarray(memory), np.asarray(log_probs)

    def decode(self, memory: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of what follows each token."""
        return np.asarray(self._decoder.run(["logits"], {"memory": memory, "tokens": tokens})[0])


def bundled_models() -> list[str]:
    """List the names of the weights that come with nhin."""
    home = files("nhin").joinpath("weights")
    if not home.is_dir():
        return []
    return sorted(entry.name for entry in home.iterdir() if entry.joinpath(MANIFEST).is_file())


def is_onnx_model(path: Path) -> bool:
    """Tell whether a path is a folder of exported weights."""
    return (path / MANIFEST).is_file()


def load_recognizer(
    name: str | Path = DEFAULT_MODEL, *, mode: Mode = "both", threads: int = DEFAULT_THREADS
) -> Recognizer:
    """Load a reader by shipped name, or from a folder of exported weights.

    Raises:
        UnknownName: Neither a shipped name nor a folder.
        CheckpointError: The folder's files are missing, torn, foreign or of another version.
    """
    if str(name) in bundled_models():
        with as_file(files("nhin").joinpath("weights", str(name))) as folder:
            return _load_folder(folder, mode, threads)
    if not Path(name).is_dir():
        raise UnknownName("weights", str(name), bundled_models())
    return _load_folder(Path(name), mode, threads)


def read_manifest(folder: Path) -> ModelManifest:
    """Read ``model.json`` and check every file it names against its sum.

    Raises:
        CheckpointError: Something is missing, torn, foreign or of another version.
    """
    path = folder / MANIFEST
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as why:
        raise CheckpointError(f"{folder} holds no weights: {MANIFEST} is missing") from why
    except (OSError, ValueError) as why:
        raise CheckpointError(f"{path} is torn: {why}") from why
    if not isinstance(tree, Mapping) or tree.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a table of contents written by nhin export")
    if tree.get("version") != VERSION:
        raise CheckpointError(f"{folder} has format version {tree.get('version')}; this nhin reads {VERSION}")
    try:
        contents = from_dict(ModelManifest, tree, str(path))
    except (RecipeError, UnknownName) as why:
        raise CheckpointError(f"{path} is damaged: {why}") from why
    for name in (ENCODER, DECODER):
        _check_hash(folder / name, contents.files.get(name, ""))
    return contents


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _load_folder(folder: Path, mode: Mode, threads: int) -> Recognizer:
    contents = read_manifest(folder)
    charset = Charset(contents.charset)
    pair = OnnxModel(folder, threads)
    return Recognizer(pair, charset, contents.height, mode, contents.temperatures)


def _check_hash(path: Path, expected: str) -> None:
    try:
        same = sha256_of(path) == expected
    except OSError as why:
        raise CheckpointError(f"{path} is missing or cannot be read: {why.strerror or why}") from why
    if not same:
        raise CheckpointError(f"{path} is torn or was changed: its SHA-256 is not the one in {MANIFEST}")


def _open_session(path: Path, threads: int) -> "InferenceSession":
    """Open one ONNX file, quietly; threads that wait do not spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as why:  # its own errors share no public base class
        raise CheckpointError(f"{path} cannot be loaded: {why}") from why
