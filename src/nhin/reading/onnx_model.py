"""A recognizer on disk: two ONNX files and a manifest.

::

    NAME/encoder.onnx   pictures (B 1 height W) -> memory (B F C), ctc log-probabilities (B F V)
    NAME/decoder.onnx   memory (B F C), tokens (B T) -> logits (B T V)
    NAME/model.json     format, version, charset, height, calibrations, and a SHA-256 of each file
    NAME/CARD.md        for people: training data, accuracy, limits

Weights come from strangers. The hashes in the manifest find files that are torn or of two exports; whoever
made the files made the hashes too. The digest of the manifest, which covers all of it, pins a known folder.
Only bundled networks run in this process, see ``isolated_model``.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.config import from_dict
from nhin.decoding.protocol import EncoderDecoder
from nhin.decoding.text_prior import TextPrior
from nhin.errors import CheckpointError, RecipeError, UnknownName, UsageError
from nhin.files import parse_json, read_bytes, read_folder
from nhin.image.preprocess import HEIGHT
from nhin.ranges import check_range
from nhin.reading.candidate_ranker import CandidateRanker
from nhin.reading.confidence import ReadingCalibration
from nhin.reading.isolated_model import IsolatedModel
from nhin.reading.onnx_session import open_session
from nhin.reading.recognizer import DEFAULT_MODE, Mode, Recognizer
from nhin.text.charset import Charset

FORMAT = "nhin-reader"
VERSION, OLD_VERSIONS = 2, (1,)  # 1 had no calibrations
DEFAULT_MODEL, SMALL_MODEL = "default", "slim"
DEFAULT_THREADS = 2
MANIFEST = "model.json"
ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
PRIOR = "prior.npy"
MAX_MANIFEST, MAX_NETWORK, MAX_PRIOR = 2**20, 64 * 2**20, 64 * 2**20
"""The most bytes of ``model.json``, of a network and of a prior that are read."""
_HEIGHTS, _TEMPERATURES, _MAX_CHARS = (8, 256), (0.01, 100.0), 2**16


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """The contents of ``model.json``.

    Args:
        charset: The characters, in the order of their ids.
        files: SHA-256 of each file, in hexadecimal.
        temperatures: Per reading mode, the divisor of the logits.
        calibrations: Per reading mode, written by ``nhin calibrate``.
        metrics: Measured at export, for people.
    """

    charset: str
    files: dict[str, str]
    format: str = FORMAT
    version: int = VERSION
    name: str = ""
    height: int = HEIGHT
    temperatures: dict[str, float] = field(default_factory=dict)
    calibrations: dict[str, ReadingCalibration] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text of ``model.json``."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"


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


@contextmanager
def locate_model(name: str | Path) -> Iterator[Path]:
    """Yield the folder of bundled weights, for their name, or the path of others, whatever is there."""
    if str(name) in bundled_models():
        with as_file(files("nhin").joinpath("weights", str(name))) as folder:
            yield folder
    else:
        yield Path(name)


def load_recognizer(
    name: str | Path = DEFAULT_MODEL,
    *,
    mode: Mode = DEFAULT_MODE,
    threads: int = DEFAULT_THREADS,
    digest: str | None = None,
    prior: TextPrior | None = None,
) -> Recognizer:
    """Load a recognizer by bundled name, or from a folder of exported weights.

    Args:
        name: The name or the folder.
        mode: See ``Recognizer``.
        threads: Threads of one call of a network.
        digest: The digest that the weights must have, or its first 16 digits or more.
        prior: For mode ``beam``; the bundled one when None.

    Raises:
        UnknownName: Neither a bundled name nor a folder.
        UsageError: The digest is none.
        CheckpointError: The files are missing, damaged, foreign, of another version or of another digest.
    """
    check_digest(digest)
    if str(name) in bundled_models():
        with locate_model(name) as folder:
            manifest, _ = read_model(folder, digest)
            is_small = str(name) == SMALL_MODEL
            model = _open_small(threads) if is_small else OnnxModel(folder, threads)
            return _make_recognizer(model, manifest, mode, prior, None if is_small else threads)
    # Another export may replace the folder meanwhile.
    found = read_folder(Path(name), lambda folder: read_model(folder, digest))
    if found is None:
        raise UnknownName("weights", str(name), bundled_models())
    manifest, networks = found
    vocab = len(Charset(manifest.charset))
    model = IsolatedModel(str(name), networks, vocab, threads)
    return _make_recognizer(model, manifest, mode, prior, threads)


def _make_recognizer(
    model: EncoderDecoder, manifest: ModelManifest, mode: Mode, prior: TextPrior | None, threads: int | None
) -> Recognizer:
    charset = Charset(manifest.charset)
    ranker = make_ranker(model, charset, manifest.height, prior, threads) if mode == "beam" else None
    temperatures, calibrations = manifest.temperatures, manifest.calibrations
    return Recognizer(model, charset, manifest.height, mode, temperatures, calibrations, ranker)


def make_ranker(
    model: EncoderDecoder, charset: Charset, height: int, prior: TextPrior | None, threads: int | None
) -> CandidateRanker:
    """Make what ranks candidates with a network.

    Args:
        model: The network.
        charset: Its characters.
        height: Its input height in pixels.
        prior: How likely texts are; the bundled prior when None.
        threads: Of the small network, which is asked too if it has the same characters and height; None if
            ``model`` is the small one.
    """
    second = None if threads is None else _find_second(charset, height, threads)
    return CandidateRanker(model, charset, height, prior or load_prior(), second)


def _find_second(charset: Charset, height: int, threads: int) -> Callable[[], EncoderDecoder] | None:
    """Return what loads the small network, if it has the same characters and height."""
    with locate_model(SMALL_MODEL) as folder:
        if not (folder / MANIFEST).is_file():
            return None
        manifest = _parse_manifest(read_manifest(folder), folder)
    is_same = (manifest.charset, manifest.height) == (charset.chars, height)
    return partial(_open_small, threads) if is_same else None


@cache
def _open_small(threads: int) -> EncoderDecoder:
    """Open the small network, once for all who use it."""
    with locate_model(SMALL_MODEL) as folder:
        return OnnxModel(folder, threads)


def load_prior() -> TextPrior:
    """Load the bundled prior over texts."""
    return read_prior(str(files("nhin").joinpath("weights", PRIOR)))


@cache
def read_prior(path: str) -> TextPrior:
    """Read a prior made by ``scripts/make_prior.py``.

    Raises:
        CheckpointError: It cannot be read, or is something else.
    """
    return TextPrior.from_bytes(read_bytes(Path(path), MAX_PRIOR), path)


def check_out_folder(out: Path) -> None:
    """Refuse to write weights over what is not an earlier export.

    Raises:
        UsageError: The folder holds something else, or is a file.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file())):
        raise UsageError(f"{out} is there already and is not an earlier export; name another folder")


def hash_model(folder: Path) -> str:
    """Return the digest of a folder: the SHA-256 of its manifest, which has those of both networks.

    Raises:
        CheckpointError: The manifest is missing or too large.
    """
    return hashlib.sha256(read_manifest(folder)).hexdigest()


def check_digest(digest: str | None) -> None:
    """Refuse what is no digest of a folder, nor the first 16 digits of one or more.

    Raises:
        UsageError: It is none.
    """
    if digest is not None and not re.fullmatch("[0-9a-fA-F]{16,64}", digest):
        raise UsageError(f"a digest is 16 to 64 hexadecimal digits, not {digest[:70]!r}")


def read_manifest(folder: Path, digest: str | None = None, max_bytes: int = MAX_MANIFEST) -> bytes:
    """Read ``model.json``, which must have a digest if one is given.

    Raises:
        CheckpointError: It is missing, too large or of another digest.
    """
    if not (folder / MANIFEST).exists():
        raise CheckpointError(f"{folder} holds no weights: {MANIFEST} is missing")
    data = read_bytes(folder / MANIFEST, max_bytes)
    if digest is not None and not (found := hashlib.sha256(data).hexdigest()).startswith(digest.lower()):
        raise CheckpointError(f"{folder} has another digest than was given: {found}")
    return data


def read_model(folder: Path, digest: str | None = None) -> tuple[ModelManifest, tuple[bytes, bytes]]:
    """Read ``model.json`` and both networks; compare their hashes.

    Raises:
        CheckpointError: Something is missing, damaged, foreign, of another version or of another digest.
    """
    manifest = _parse_manifest(read_manifest(folder, digest), folder)
    return manifest, read_networks(folder, manifest.files)


def _parse_manifest(data: bytes, folder: Path) -> ModelManifest:
    path = folder / MANIFEST
    tree = parse_json(data, str(path))
    if not isinstance(tree, Mapping) or tree.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a manifest written by nhin export")
    if tree.get("version") not in (VERSION, *OLD_VERSIONS):
        version = str(tree.get("version"))[:20]
        raise CheckpointError(f"{folder} has format version {version}; this nhin reads up to {VERSION}")
    try:
        manifest = from_dict(ModelManifest, tree, str(path))
        check_range("height", manifest.height, *_HEIGHTS, error=RecipeError)
        check_range("the number of characters", len(manifest.charset), 1, _MAX_CHARS, error=RecipeError)
        for mode, value in manifest.temperatures.items():
            if type(value) not in (int, float):
                raise RecipeError(f"the temperature of {mode[:20]!r} is no number")
            check_range(f"the temperature of {mode[:20]!r}", value, *_TEMPERATURES, error=RecipeError)
        Charset(manifest.charset)
    except (RecipeError, UnknownName, CheckpointError) as why:
        raise CheckpointError(f"{path} is damaged: {str(why)[:300]}") from why
    except RecursionError:
        raise CheckpointError(f"{path} is nested too deeply") from None
    return manifest


def read_networks(folder: Path, hashes: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Read the encoder and the decoder; compare their SHA-256.

    Raises:
        CheckpointError: One is missing, too large, torn or changed.
    """
    encoder, decoder = (_read_network(folder / name, hashes) for name in (ENCODER, DECODER))
    return encoder, decoder


def _read_network(path: Path, hashes: Mapping[str, str]) -> bytes:
    data = read_bytes(path, MAX_NETWORK)
    if hashlib.sha256(data).hexdigest() != hashes.get(path.name):
        raise CheckpointError(f"{path} is torn or was changed: its SHA-256 is not in {MANIFEST}")
    return data
