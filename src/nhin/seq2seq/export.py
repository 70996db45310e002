"""Export an encoder-decoder model to ONNX, accepted only if its scores are those of torch.

The recurrent networks are traced, since only that exporter knows packed sequences; the Transformer, whose
shapes a trace would fix, is exported as a graph. Weights and arithmetic are of single precision.
"""

import copy
import io
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.export import Dim

from nhin.errors import CheckpointError, MissingExtra, explain_install
from nhin.files import explain_os_error, hash_file, write_folder
from nhin.models.seq2seq.alignment import SourceAttention
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.decoders import RecurrentDecoder
from nhin.models.seq2seq.memory import DecoderState, Hidden, Memory
from nhin.models.seq2seq.network import Seq2Seq
from nhin.reading.onnx_model import DECODER, ENCODER, MANIFEST, check_out_folder
from nhin.seq2seq.loading import Seq2SeqRun
from nhin.seq2seq.onnx_model import OnnxSteps, Seq2SeqManifest
from nhin.seq2seq.torch_steps import TorchSteps
from nhin.text.charset import PAD, SOS, SPECIALS

TOLERANCE = 1e-3
"""Largest difference of two logits, of those within one of zero; of others a share of their size."""
_ROWS, _LENGTH, _STEPS, _MAX_SIDE = 4, 7, 8, 4096
_CARD = """# {name}

An encoder-decoder model of the task {task}, exported by nhin.

| | |
|---|---|
| weights | {weights:,}, {size:.2f} MB |
| tokens | {source} of sources, {target} of targets |
| architecture | {settings} |
| trained | {step} steps |

## Accuracy

Not measured. Its logits are those of torch, apart by {difference:.1e} at most.
"""


@dataclass(frozen=True, slots=True)
class Seq2SeqExport:
    """The largest difference of a logit, and the bytes of both networks."""

    max_difference: float
    size: int


def export_seq2seq(run: Seq2SeqRun, out: Path, name: str = "") -> Seq2SeqExport:
    """Write the ONNX files, the manifest and the card of a run into a folder.

    Args:
        run: The run.
        out: A new folder, or one with an earlier export, which is replaced.
        name: For the manifest and the card; the folder's name when empty.

    Raises:
        UsageError: The folder holds something else.
        CheckpointError: The scores differ from those of torch, or the disk is full; nothing is written.
        MissingExtra: The package onnx is missing.
    """
    check_out_folder(out)
    networks = trace_networks(run.model)
    with explain_os_error(f"write {out}"), write_folder(out) as folder:
        for file, data in zip((ENCODER, DECODER), networks, strict=True):
            (folder / file).write_bytes(data)
        manifest = Seq2SeqManifest(
            run.task,
            *(table.tokens for table in run.tables),
            carried=list_carried(run.model.config),
            files={file: hash_file(folder / file) for file in (ENCODER, DECODER)},
            name=name or out.name,
        )
        difference = compare(run.model, OnnxSteps(str(out), networks, manifest, 1), len(run.tables[0]))
        result = Seq2SeqExport(difference, sum(map(len, networks)))
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        (folder / "CARD.md").write_text(_write_card(run, manifest, result), encoding="utf-8")
    return result


def compare(model: Seq2Seq, exported: OnnxSteps, source_vocab: int) -> float:
    """Take the same steps with torch and with ONNX Runtime; return the largest difference of a logit.

    Raises:
        CheckpointError: It is above ``TOLERANCE``.
    """
    draw, worst = np.random.default_rng(0), 0.0
    source = draw.integers(0, source_vocab, (_ROWS, _LENGTH))
    source[source == PAD] = source_vocab - 1
    for row in range(1, _ROWS):
        source[row, 2 * row :] = PAD
    ours = TorchSteps(model)
    states, tokens = (ours.start(source), exported.start(source)), np.full(_ROWS, SOS)
    for _ in range(_STEPS):
        (want, first), (got, second) = ours.step(tokens, states[0]), exported.step(tokens, states[1])
        difference = float((abs(got - want) / np.maximum(1, abs(want))).max())
        if not difference <= TOLERANCE:
            raise CheckpointError(
                f"the export differs by {difference:.3g} from torch, so nothing was written"
            )
        states, tokens, worst = (first, second), want.argmax(1), max(worst, difference)
    return worst


def list_carried(config: Seq2SeqConfig) -> tuple[str, ...]:
    """Return what the decoder hands to its next step, of ``onnx_model.CARRIED``."""
    if config.decoder == "transformer":
        return ()
    more = {
        "c": config.cell == "lstm",
        "context": config.decoder == "fixed",
        "feed": config.input_feeding,
        "step": config.alignment == "local-m",
    }
    return ("h", *(name for name, is_carried in more.items() if is_carried))


class _StepAttention(SourceAttention):
    """Luong's local-m at a position that is a tensor: global attention to the keys near it."""

    step: Float[Tensor, " B"]

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__(replace(config, alignment="global"))
        self.reach = config.reach

    def forward(self, q: Hidden, memory: Memory, step: int) -> Hidden:
        """Attend around the position ``self.step``."""
        near = (torch.arange(memory.states.shape[1]) - self.step[:, None]).abs() <= self.reach
        return super().forward(q, replace(memory, keep=memory.keep & near), 0)


class _TracedNetwork(nn.Module):
    """One of the networks that are exported."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def flatten(self, memory: Memory, state: DecoderState, step: Tensor) -> list[Tensor]:
        """Return what is carried, a row first for each target."""
        found = dict(zip("hc", (part.transpose(0, 1) for part in state.carried), strict=False))
        found |= {"step": step} | ({} if state.feed is None else {"feed": state.feed})
        found |= {"context": memory.last[0][-1]} if memory.last else {}
        return [found[name] for name in list_carried(self.model.config)]


class _SourceEncoder(_TracedNetwork):
    def forward(self, source: Int[Tensor, "B S"]) -> tuple[Tensor, ...]:
        """Return the states of sources, and what is carried before the first token."""
        memory = self.model.encode(source)
        step = source[:, 0].float() * 0
        return (memory.states, *self.flatten(memory, self.model.start(memory), step))


class _RecurrentStep(_TracedNetwork):
    def forward(
        self, tokens: Int[Tensor, "B 1"], source: Int[Tensor, "B S"], states: Hidden, *carried: Tensor
    ) -> tuple[Tensor, ...]:
        """Return what is carried after a token, and the logits of the next."""
        given = dict(zip(list_carried(self.model.config), carried, strict=True))
        memory = Memory(states, source != PAD, (given["context"][None],) if "context" in given else ())
        layers = tuple(given[name].transpose(0, 1).contiguous() for name in "hc" if name in given)
        attention = self.model.decoder.attention
        if isinstance(attention, _StepAttention):
            attention.step = given["step"]
        state = DecoderState(layers, given.get("feed"))
        logits, _, after = self.model.decode(tokens, memory, state)
        step = given.get("step", tokens[:, 0].float()) + 1
        return (*self.flatten(memory, after, step), logits[:, 0])


class _TransformerStep(_TracedNetwork):
    def forward(
        self, tokens: Int[Tensor, "B T"], source: Int[Tensor, "B S"], states: Hidden
    ) -> Float[Tensor, "B V"]:
        """Return the logits of the token after those written."""
        memory = Memory(states, source != PAD, ())
        return self.model.decode(tokens, memory, self.model.start(memory))[0][:, -1]


def trace_networks(model: Seq2Seq) -> tuple[bytes, bytes]:
    """Return the encoder and the decoder as ONNX; the model stays as it is.

    Raises:
        MissingExtra: The package onnx is missing.
    """
    try:
        import onnx  # noqa: F401 - torch's exporter needs it
    except ImportError as why:
        raise MissingExtra(f"exporting needs onnx: {explain_install()}") from why
    model, config = copy.deepcopy(model).eval().float(), model.config
    carried, decoder = list_carried(config), model.decoder
    if "step" in carried and isinstance(decoder, RecurrentDecoder) and decoder.attention is not None:
        attention = _StepAttention(config)
        attention.load_state_dict(decoder.attention.state_dict())
        decoder.attention = attention
    encoder, step = _SourceEncoder(model), (_RecurrentStep if carried else _TransformerStep)(model)
    source = torch.tensor([[len(SPECIALS)] * 3, [len(SPECIALS), PAD, PAD]])
    with torch.no_grad():
        memory = encoder(source)
    tokens = torch.full((2, 1 if carried else 5), SOS)
    after = [*(f"next_{name}" for name in carried), "logits"]
    return (
        _export_network(encoder, {"source": source}, ["states", *carried]),
        _export_network(
            step,
            {"tokens": tokens, "source": source, **dict(zip(("states", *carried), memory, strict=True))},
            after,
        ),
    )


def _export_network(network: _TracedNetwork, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> bytes:
    """Export a network whose rows, length of sources and, of the Transformer, tokens may vary."""
    is_recurrent = bool(list_carried(network.model.config))
    rows, length, written = (Dim(name, max=_MAX_SIDE) for name in ("rows", "length", "written"))
    axes = {name: {0: rows} for name in (*inputs, *outputs)}
    for name, size in {"source": length, "states": length, "tokens": written}.items():
        if name in axes and (name != "tokens" or not is_recurrent):
            axes[name][1] = size
    options: dict[str, Any] = {"input_names": list(inputs), "output_names": list(outputs)}
    buffer, given = io.BytesIO(), tuple(inputs.values())
    with _silence_exporter(), torch.no_grad():
        if is_recurrent:
            options["dynamic_axes"] = {
                name: {axis: size.__name__ for axis, size in sizes.items()} for name, sizes in axes.items()
            }
            torch.onnx.export(network.eval(), given, buffer, dynamo=False, **options)  # pyright: ignore[reportArgumentType] - it takes files too
        else:
            options["dynamic_shapes"] = {name: axes[name] for name in inputs}
            program = torch.onnx.export(network.eval(), given, dynamo=True, verbose=False, **options)
            assert program is not None
            return program.model_proto.SerializeToString()
    return buffer.getvalue()


def _write_card(run: Seq2SeqRun, manifest: Seq2SeqManifest, result: Seq2SeqExport) -> str:
    settings = asdict(run.recipe.model)
    return _CARD.format(
        name=manifest.name,
        task=run.task,
        weights=sum(weight.numel() for weight in run.model.parameters()),
        size=result.size / 1e6,
        source=len(manifest.source),
        target=len(manifest.target),
        settings=", ".join(f"{key} {value}" for key, value in settings.items() if value is not None),
        step=run.step,
        difference=result.max_difference,
    )


@contextmanager
def _silence_exporter() -> Iterator[None]:
    """Suppress the exporter's warnings, also those that it writes past Python to standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing, warnings.catch_warnings():
            os.dup2(nothing.fileno(), 2)
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
