"""The networks of a stranger's weights, run in a child process with limits, and checked at each answer."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nhin.errors import CheckpointError
from nhin.image.preprocess import STRIDE
from nhin.sandbox import Sandbox, SandboxError

MEMORY = 512 * 2**20
"""Bytes that the child may take."""
OPEN_SECONDS = 4.0
RUN_SECONDS = 3.0
SECONDS_PER_COLUMN = 1e-3
"""CPU time for opening and for running: an allowance, and more for each column of the pictures; `default`
takes a tenth of that."""
_SECONDS_PER_LOGIT = 2e-8  # of the time that decoding takes in this process, counted as the network's
_ROUNDING = 1e-2

_INTEGERS = ("source", "tokens")


@dataclass(frozen=True, slots=True)
class NetworkEnds:
    """What a network must be: its name, its inputs and outputs, and the ids that its last output scores."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    vocab: int | None = None


class IsolatedNetworks:
    """The networks of a stranger's folder; they may be called from several threads.

    Args:
        name: The folder's, for errors.
        networks: Their bytes.
        ends: What each of them must be. Inputs named source or tokens are ids, all else is of float32.
        threads: Threads of one call.

    Raises:
        CheckpointError: They cannot be loaded, or are other networks.
    """

    def __init__(
        self, name: str, networks: Sequence[bytes], ends: Sequence[NetworkEnds], threads: int
    ) -> None:
        self.name, self._ends, self._failure = name, tuple(ends), ""
        self._networks, self._threads = tuple(networks), threads
        self._lock = threading.RLock()  # the child's time is counted for all calls together
        self._sandbox = self._open()

    def _open(self) -> Sandbox:
        self._seconds = OPEN_SECONDS
        try:
            sandbox = Sandbox("nhin.reading.onnx_worker", MEMORY)
            arrays = [np.frombuffer(data, np.uint8) for data in self._networks]
            answer, _ = sandbox.call({"open": self._threads}, arrays, self._seconds)
        except SandboxError as why:
            raise CheckpointError(f"{self.name} cannot be loaded: its process {why.reason}") from why
        for found, ends in zip(answer["networks"], self._ends, strict=True):
            if problem := _find_problem(found, ends):
                sandbox.close()
                raise CheckpointError(f"{self.name}: {ends.name}.onnx is not the {ends.name}: {problem}")
        self._seconds += RUN_SECONDS
        return sandbox

    def run(self, number: int, arrays: list[NDArray], seconds: float) -> list[NDArray]:
        """Run a network; ``seconds`` are added to the CPU time that all calls together may take."""
        with self._lock:
            self._seconds += seconds
            return self._call(number, arrays)

    def _call(self, number: int, arrays: list[NDArray]) -> list[NDArray]:
        if self._failure:
            raise CheckpointError(self._failure)
        if not self._sandbox.is_open:  # this process is a fork of the one that started it
            self._sandbox = self._open()
        ends = self._ends[number]
        names = {"run": number, "inputs": ends.inputs, "outputs": ends.outputs}
        try:
            results = self._sandbox.call(names, arrays, max(0.0, self._seconds))[1]
        except SandboxError as why:
            self._failure = f"{self.name} cannot read: {ends.name}.onnx {why.reason}"
            raise CheckpointError(self._failure) from why
        if len(results) != len(ends.outputs) or any(r.dtype != np.float32 for r in results):
            raise self.refuse("another number or type of results")
        return results

    def check_logits(self, logits: NDArray, shape: tuple[int, ...]) -> None:
        """Refuse logits of another shape, or that are not finite.

        Raises:
            CheckpointError: They are.
        """
        if logits.shape != shape:
            raise self.refuse(f"scores of shape {logits.shape}, not {shape}")
        if not np.isfinite(logits).all():
            raise self.refuse("scores that are not finite")

    def refuse(self, found: str) -> CheckpointError:
        """Return the error of this call and of all later ones, for what the networks gave."""
        self._failure = f"{self.name} cannot read: its networks gave {found}"
        return CheckpointError(self._failure)


class IsolatedModel(IsolatedNetworks):
    """The two networks of a stranger's recognizer; an ``EncoderDecoder``.

    Args:
        name: The folder's, for errors.
        networks: The bytes of the encoder and of the decoder.
        vocab: Number of ids; both networks must have as many.
        threads: Threads of one call.
    """

    def __init__(self, name: str, networks: Sequence[bytes], vocab: int, threads: int) -> None:
        self._vocab = vocab
        encoder = NetworkEnds("encoder", ("pictures",), ("memory", "ctc"), vocab)
        decoder = NetworkEnds("decoder", ("memory", "tokens"), ("logits",), vocab)
        super().__init__(name, networks, (encoder, decoder), threads)

    def encode(self, pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return memory and CTC log-probabilities."""
        rows, frames = len(pictures), pictures.shape[3] // STRIDE
        memory, log_probs = self.run(0, [pictures], SECONDS_PER_COLUMN * rows * pictures.shape[3])
        if memory.ndim != 3 or memory.shape[:2] != (rows, frames) or not np.isfinite(memory).all():
            raise self.refuse(f"memory of shape {memory.shape}, or values that are not finite")
        self.check_logits(log_probs, (rows, frames, self._vocab))
        totals = np.logaddexp.reduce(log_probs, axis=-1)
        if abs(totals).max() > _ROUNDING:
            raise self.refuse("log-probabilities whose sum is not one")
        return memory, log_probs

    def decode(self, memory: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of the token after each token."""
        (logits,) = self.run(1, [memory, tokens], -_SECONDS_PER_LOGIT * tokens.size * self._vocab)
        self.check_logits(logits, (*tokens.shape, self._vocab))
        return logits


def _find_problem(found: dict[str, Any], ends: NetworkEnds) -> str:
    """Return what is wrong with the inputs and outputs of a network; empty if all is well."""
    for kind, names in (("inputs", ends.inputs), ("outputs", ends.outputs)):
        given = [name for name, _, _ in found[kind]]
        if given != list(names):
            return f"its {kind} are {given}, not {list(names)}"
    for name, dtype, _ in found["inputs"] + found["outputs"]:
        want = "tensor(int64)" if name in _INTEGERS else "tensor(float)"
        if dtype != want:
            return f"{name} is {dtype}, not {want}"
    last = found["outputs"][-1][2][-1:]
    if ends.vocab is not None and last and last[0] not in (None, ends.vocab):
        return f"it knows {last[0]} ids, but model.json makes {ends.vocab}"
    return ""
