"""A run as a folder that Hugging Face's libraries read: config, weights, tokenizer."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from nhin import __version__
from nhin.errors import CheckpointError, UnknownName, UsageError
from nhin.lm.huggingface.config_json import read_json
from nhin.lm.huggingface.formats import CheckpointFormat
from nhin.lm.huggingface.gpt2 import GPT2
from nhin.lm.huggingface.llama import LLAMA
from nhin.lm.huggingface.tokenizer import build_tokenizer_config, to_hf_tokenizer
from nhin.lm.huggingface.weights import SINGLE_FILE
from nhin.lm.loading import LMRun
from nhin.models.config import ModelConfig

FORMATS = {layout.name: layout for layout in (GPT2, LLAMA)}
EXPORT_MARK = "exported_by"


@dataclass(frozen=True, slots=True)
class HFExport:
    """What an export came to: the layout, how many tensors, the bytes written."""

    format: str
    tensors: int
    size: int


def export_folder(run: LMRun, out: Path, format: str = "auto") -> HFExport:
    """Write a run into a new folder in one of Hugging Face's layouts.

    Args:
        run: Its weights are written in float32.
        out: A folder that is not there, or holds an earlier export, which is then replaced.
        format: A name of ``LAYOUTS``, or auto for the one that holds the design.

    Raises:
        UsageError: The design does not fit, and the message says what stands in the way; or the folder holds
            something else.
        CheckpointError: There is no room; nothing is left behind.
    """
    layout = select_format(run.model.config, format)
    if not _is_replaceable(out):
        raise UsageError(f"{out} is there already and is not an earlier export; name another folder")
    weights = {
        name: tensor.detach().to("cpu", torch.float32).clone(memory_format=torch.contiguous_format)
        for name, tensor in layout.to_hf_weights(run.model.state_dict(), run.model.config).items()
    }
    beside = out.with_name(f".{out.name}.new")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        save_file(weights, beside / SINGLE_FILE, metadata={"format": "pt"})
        (beside / SINGLE_FILE).chmod(0o644)  # safetensors lets nobody else read it
        for name, tree in _build_json_files(run, layout).items():
            _write_text(beside / name, json.dumps(tree, ensure_ascii=False, indent=1))
        _write_text(beside / "tokenizer.json", to_hf_tokenizer(run.tokenizer))
        size = sum(path.stat().st_size for path in beside.iterdir())
        if out.exists():
            shutil.rmtree(out)
        beside.rename(out)
    except (OSError, SafetensorError) as why:
        raise CheckpointError(f"cannot write {out}: {getattr(why, 'strerror', None) or why}") from why
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return HFExport(layout.name, len(weights), size)


def select_format(config: ModelConfig, format: str = "auto") -> CheckpointFormat:
    """Return the layout that holds a settled design.

    Raises:
        UnknownName: There is no such layout.
        UsageError: It does not hold it, or none does; the message says what stands in the way.
    """
    if format not in (*FORMATS, "auto"):
        raise UnknownName("layout", format, (*FORMATS, "auto"))
    asked = list(FORMATS.values()) if format == "auto" else [FORMATS[format]]
    found = {layout: list(layout.find_unsupported(config)) for layout in asked}
    for layout, obstacles in found.items():
        if not obstacles:
            return layout
    told = "; ".join(f"not {layout.name}: {', '.join(obstacles)}" for layout, obstacles in found.items())
    raise UsageError(f"this model has no such layout; {told}")


def _is_replaceable(out: Path) -> bool:
    """Say whether a folder may be written to: new, empty, or an earlier export."""
    if not out.exists():
        return True
    if not out.is_dir():
        return False
    if not any(out.iterdir()):
        return True
    return (out / "config.json").is_file() and EXPORT_MARK in read_json(out / "config.json")


def _build_json_files(run: LMRun, format: CheckpointFormat) -> dict[str, Any]:
    """Return the JSON files of an export, but for the tokenizer."""
    design, end = run.model.config, run.tokenizer.eos_id
    ends = {"bos_token_id": end, "eos_token_id": end}
    common = {
        "vocab_size": run.model.vocab,
        **ends,
        "torch_dtype": "float32",
        "use_cache": True,
        EXPORT_MARK: f"nhin {__version__}",
    }
    return {
        "config.json": format.to_hf_config(design) | common,
        "generation_config.json": ends,
        "tokenizer_config.json": build_tokenizer_config(design.context),
    }


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
