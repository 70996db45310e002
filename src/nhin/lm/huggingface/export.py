"""Export a run to a folder that Hugging Face's libraries read: config, weights, tokenizer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from nhin import __version__
from nhin.errors import CheckpointError, UnknownName, UsageError
from nhin.files import explain_os_error, write_folder
from nhin.lm.huggingface.config_json import read_json
from nhin.lm.huggingface.formats import CheckpointFormat
from nhin.lm.huggingface.gpt2 import GPT2
from nhin.lm.huggingface.llama import LLAMA, QWEN2, QWEN3
from nhin.lm.huggingface.tokenizer import build_generation_config, build_tokenizer_config, to_hf_tokenizer
from nhin.lm.huggingface.weights import SINGLE_FILE
from nhin.lm.loading import LMRun
from nhin.models.config import ModelConfig
from nhin.text.tokenizers import Tokenizer
from nhin.training.checkpoint import write_tensors

FORMATS = {format.name: format for format in (GPT2, QWEN2, LLAMA, QWEN3)}
EXPORT_MARK = "exported_by"


@dataclass(frozen=True, slots=True)
class HFExport:
    """The format of an export, the number of its tensors and the bytes written."""

    format: str
    tensors: int
    size: int


def export_folder(run: LMRun, out: Path, format: str = "auto") -> HFExport:
    """Write a run to a new folder in one of Hugging Face's formats.

    Args:
        run: Its weights are written as float32.
        out: A new folder, or an earlier export, which is then replaced.
        format: A name of ``FORMATS``, or auto for the one that fits the config.

    Raises:
        UsageError: No format fits the config, and the message says why; or the folder holds something else.
        CheckpointError: The folder cannot be written; nothing is left behind.
    """
    target = select_format(run.model.config, format, run.tokenizer)
    if not _is_replaceable(out):
        raise UsageError(f"{out} is there already and is not an earlier export; name another folder")
    weights = {
        name: tensor.detach().to("cpu", torch.float32)
        for name, tensor in target.to_hf_weights(run.model.state_dict(), run.model.config).items()
    }
    texts = {
        name: json.dumps(tree, ensure_ascii=False, indent=1)
        for name, tree in _build_json_files(run, target).items()
    }
    texts["tokenizer.json"] = to_hf_tokenizer(run.tokenizer)
    try:
        with explain_os_error(f"write {out}"), write_folder(out) as folder:
            write_tensors(folder / SINGLE_FILE, weights, {"format": "pt"})
            for name, text in texts.items():
                _write_text(folder / name, text)
            size = sum(path.stat().st_size for path in folder.iterdir())
    except SafetensorError as why:
        raise CheckpointError(f"cannot write {out}: {why}") from why
    return HFExport(target.name, len(weights), size)


def select_format(
    config: ModelConfig, format: str = "auto", tokenizer: Tokenizer | None = None
) -> CheckpointFormat:
    """Return the format that fits a resolved config, and a tokenizer if one is given.

    Raises:
        UnknownName: There is no format of this name.
        UsageError: It does not fit, or none does; the message says why.
    """
    if format not in (*FORMATS, "auto"):
        raise UnknownName("format", format, (*FORMATS, "auto"))
    reasons = []
    for candidate in FORMATS.values() if format == "auto" else [FORMATS[format]]:
        unsupported = list(candidate.find_unsupported(config))
        splitting = getattr(tokenizer, "splitting", None)
        if not unsupported and tokenizer is not None and candidate.splitting not in (None, splitting):
            unsupported.append(f"its texts are always split as those of {candidate.splitting}")
        if not unsupported:
            return candidate
        reasons.append(f"not {candidate.name}: {', '.join(unsupported)}")
    raise UsageError(f"this model has no such format; {'; '.join(reasons)}")


def _is_replaceable(out: Path) -> bool:
    """Return whether a folder may be written to: new, empty, or an earlier export."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return True
    return (out / "config.json").is_file() and EXPORT_MARK in read_json(out / "config.json")


def _build_json_files(run: LMRun, format: CheckpointFormat) -> dict[str, Any]:
    """Return the JSON files of an export, except the tokenizer."""
    config, ends = run.model.config, build_generation_config(run.tokenizer)
    common = {"vocab_size": run.model.vocab, **ends, "torch_dtype": "float32", "use_cache": True}
    mark = {EXPORT_MARK: f"nhin {__version__}"}
    return {
        "config.json": format.to_hf_config(config) | common | mark,
        "generation_config.json": ends,
        "tokenizer_config.json": build_tokenizer_config(run.tokenizer, config.context),
    }


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
