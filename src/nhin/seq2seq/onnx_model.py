"""An encoder-decoder model on disk for use without torch: two ONNX files and a manifest.

::

    NAME/encoder.onnx   source (B S) -> states (B S C), carried
    NAME/decoder.onnx   tokens (B 1), source, states, carried -> next carried, logits (B V)
    NAME/model.json     format, version, task, tokens of sources and targets, and a SHA-256 of each file
    NAME/CARD.md        for people: task, settings, size

``carried`` are the arrays of ``CARRIED`` that the manifest names, each with a row for each target. Where it
names none, the decoder takes all tokens written so far. Its networks come from strangers, and run in a child
process, see ``reading.isolated_model``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nhin.config import from_dict
from nhin.data.pairs.batches import IdRows, TokenTable
from nhin.errors import CheckpointError, RecipeError
from nhin.files import parse_json, read_folder
from nhin.reading.isolated_model import IsolatedNetworks, NetworkEnds
from nhin.reading.onnx_model import MANIFEST, check_digest, read_manifest, read_networks
from nhin.seq2seq.steps import NextLogits

FORMAT, VERSION = "nhin-seq2seq", 1
CARRIED = ("h", "c", "context", "feed", "step")
"""States of the layers, cells of an LSTM, the vector of a fixed decoder, what is fed back, the position."""
MAX_MANIFEST = 2**24
SECONDS_PER_TOKEN = 1e-2
"""CPU time that a step may take for each row; a network of 30 million weights takes a third of that."""


@dataclass(frozen=True, slots=True)
class Seq2SeqManifest:
    """The contents of ``model.json``.

    Args:
        task: What was learned, as in the recipe.
        source: The tokens of sources, in the order of their ids.
        target: The tokens of targets.
        carried: What the decoder hands to its next step.
        files: SHA-256 of each file, in hexadecimal.
    """

    task: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    carried: tuple[str, ...]
    files: dict[str, str]
    format: str = FORMAT
    version: int = VERSION
    name: str = ""

    def to_json(self) -> str:
        """Return the text of ``model.json``."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"

    def ends(self) -> tuple[NetworkEnds, NetworkEnds]:
        """Return what the two networks must be."""
        # A fixed vector is all that its decoder takes of the source.
        memory = () if "context" in self.carried else ("source", "states")
        vocab = len(TokenTable(self.target))
        after = tuple(f"next_{name}" for name in self.carried)
        return (
            NetworkEnds("encoder", ("source",), ("states", *self.carried)),
            NetworkEnds("decoder", ("tokens", *memory, *self.carried), (*after, "logits"), vocab),
        )


@dataclass(frozen=True, slots=True)
class OnnxState:
    """What an exported decoder takes besides its tokens: a row for each target, and the tokens written."""

    source: IdRows
    states: NDArray[np.float32]
    carried: tuple[NDArray[np.float32], ...]
    written: IdRows


class OnnxSteps:
    """Exported networks as a ``StepModel``, each answer checked."""

    def __init__(
        self, name: str, networks: tuple[bytes, bytes], manifest: Seq2SeqManifest, threads: int
    ) -> None:
        self._ends = manifest.ends()
        self._networks = IsolatedNetworks(name, networks, self._ends, threads)

    def start(self, source: IdRows) -> OnnxState:
        """Encode sources; see ``StepModel``.

        Raises:
            CheckpointError: The network breaks a limit, or its answer is not what it must be.
        """
        states, *carried = self._networks.run(0, [source], SECONDS_PER_TOKEN * source.size)
        if states.ndim != 3 or states.shape[:2] != source.shape:
            raise self._networks.refuse(f"states of shape {states.shape}")
        self._check_rows([states, *carried], len(source))
        return OnnxState(source, states, tuple(carried), source[:, :0])

    def step(self, tokens: NDArray[np.int64], state: OnnxState) -> tuple[NextLogits, OnnxState]:
        """Append a token to each row; see ``StepModel``.

        Raises:
            CheckpointError: The network breaks a limit, or its answer is not what it must be.
        """
        ends = self._ends[1]
        last = tokens[:, None]
        written = last if state.carried else np.concatenate([state.written, last], 1)
        inputs = [written, *((state.source, state.states) if "states" in ends.inputs else ()), *state.carried]
        *carried, logits = self._networks.run(1, inputs, SECONDS_PER_TOKEN * written.size)
        assert ends.vocab is not None
        self._networks.check_logits(logits, (len(tokens), ends.vocab))
        self._check_rows(carried, len(tokens))
        return logits, OnnxState(state.source, state.states, tuple(carried), written)

    def _check_rows(self, arrays: list[NDArray], rows: int) -> None:
        for array in arrays:
            if array.shape[:1] != (rows,) or not np.isfinite(array).all():
                raise self._networks.refuse("states of other rows, or values that are not finite")


@dataclass(frozen=True, slots=True)
class ExportedSeq2Seq:
    """An exported model: its task, its tables of tokens, and its networks; a ``SourceReader``."""

    task: str
    tables: tuple[TokenTable, TokenTable]
    steps: OnnxSteps


def load_exported(folder: Path, threads: int = 1, digest: str | None = None) -> ExportedSeq2Seq:
    """Load a folder that ``nhin export`` wrote.

    Args:
        folder: The folder.
        threads: Threads of one call of a network.
        digest: The digest that it must have, or its first 16 digits or more.

    Raises:
        UsageError: The digest is none.
        CheckpointError: The files are missing, damaged, foreign, of another version or of another digest.
    """
    check_digest(digest)

    def read(path: Path) -> tuple[Seq2SeqManifest, tuple[bytes, bytes]]:
        manifest = _parse_manifest(read_manifest(path, digest, MAX_MANIFEST), path)
        return manifest, read_networks(path, manifest.files)

    found = read_folder(folder, read)
    if found is None:
        raise CheckpointError(f"{folder} is no folder of an exported model")
    manifest, networks = found
    tables = TokenTable(manifest.source), TokenTable(manifest.target)
    return ExportedSeq2Seq(manifest.task, tables, OnnxSteps(str(folder), networks, manifest, threads))


def _parse_manifest(data: bytes, folder: Path) -> Seq2SeqManifest:
    path = folder / MANIFEST
    tree = parse_json(data, str(path))
    if not isinstance(tree, Mapping) or tree.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not the manifest of an exported encoder-decoder model")
    if tree.get("version") != VERSION:
        version = str(tree.get("version"))[:20]
        raise CheckpointError(f"{folder} has format version {version}; this nhin reads {VERSION}")
    try:
        manifest = from_dict(Seq2SeqManifest, tree, str(path))
    except RecipeError as why:
        raise CheckpointError(f"{path} is damaged: {str(why)[:300]}") from why
    except RecursionError:
        raise CheckpointError(f"{path} is nested too deeply") from None
    if manifest.carried != tuple(name for name in CARRIED if name in manifest.carried):
        raise CheckpointError(f"{path} is damaged: a decoder cannot carry {manifest.carried!r:.100}")
    return manifest
