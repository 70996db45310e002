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
from nhin.lm.huggingface.config import read_json
from nhin.lm.huggingface.gpt2 import GPT2
from nhin.lm.huggingface.layout import Layout
from nhin.lm.huggingface.llama import LLAMA
from nhin.lm.huggingface.tokens import as_library, settings
from nhin.lm.huggingface.weights import ONE
from nhin.lm.run import Run
from nhin.models.design import Design

LAYOUTS = {layout.name: layout for layout in (GPT2, LLAMA)}
MARK = "exported_by"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to: the layout, how many tensors, the bytes written."""

    layout: str
    tensors: int
    size: int


def export(run: Run, out: Path, form: str = "auto") -> Exported:
    """Write a run into a new folder in one of Hugging Face's layouts.

    Args:
        run: Its weights are written in float32.
        out: A folder that is not there, or holds an earlier export, which is then replaced.
        form: A name of ``LAYOUTS``, or auto for the one that holds the design.

    Raises:
        UsageError: The design does not fit, and the message says what stands in the way; or the folder holds
            something else.
        CheckpointError: There is no room; nothing is left behind.
    """
    layout = chosen(run.model.design, form)
    if not _free(out):
        raise UsageError(f"{out} is there already and is not an earlier export; name another folder")
    weights = {
        name: tensor.detach().to("cpu", torch.float32).clone(memory_format=torch.contiguous_format)
        for name, tensor in layout.outward(run.model.state_dict(), run.model.design).items()
    }
    beside = out.with_name(f".{out.name}.new")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        save_file(weights, beside / ONE, metadata={"format": "pt"})
        (beside / ONE).chmod(0o644)  # safetensors lets nobody else read it
        for name, tree in _trees(run, layout).items():
            _write(beside / name, json.dumps(tree, ensure_ascii=False, indent=1))
        _write(beside / "tokenizer.json", as_library(run.tokenizer))
        size = sum(path.stat().st_size for path in beside.iterdir())
        if out.exists():
            shutil.rmtree(out)
        beside.rename(out)
    except (OSError, SafetensorError) as why:
        raise CheckpointError(f"cannot write {out}: {getattr(why, 'strerror', None) or why}") from why
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Exported(layout.name, len(weights), size)


def chosen(design: Design, form: str = "auto") -> Layout:
    """Return the layout that holds a settled design.

    Raises:
        UnknownName: There is no such layout.
        UsageError: It does not hold it, or none does; the message says what stands in the way.
    """
    if form not in (*LAYOUTS, "auto"):
        raise UnknownName("layout", form, (*LAYOUTS, "auto"))
    asked = list(LAYOUTS.values()) if form == "auto" else [LAYOUTS[form]]
    found = {layout: list(layout.obstacles(design)) for layout in asked}
    for layout, obstacles in found.items():
        if not obstacles:
            return layout
    told = "; ".join(f"not {layout.name}: {', '.join(obstacles)}" for layout, obstacles in found.items())
    raise UsageError(f"this model has no such layout; {told}")


def _free(out: Path) -> bool:
    """Say whether a folder may be written to: new, empty, or an earlier export."""
    if not out.exists():
        return True
    if not out.is_dir():
        return False
    if not any(out.iterdir()):
        return True
    return (out / "config.json").is_file() and MARK in read_json(out / "config.json")


def _trees(run: Run, layout: Layout) -> dict[str, Any]:
    """Return the JSON files of an export, but for the tokenizer."""
    design, end = run.model.design, run.tokenizer.end
    ends = {"bos_token_id": end, "eos_token_id": end}
    common = {
        "vocab_size": run.model.vocab,
        **ends,
        "torch_dtype": "float32",
        "use_cache": True,
        MARK: f"nhin {__version__}",
    }
    return {
        "config.json": layout.config(design) | common,
        "generation_config.json": ends,
        "tokenizer_config.json": settings(design.context),
    }


def _write(path: Path, words: str) -> None:
    path.write_text(words, encoding="utf-8")
