"""Checkpoints of strangers: safetensors and JSON, damaged; sampled from, resumed, exported and read.

PYTHONPATH=src python scripts/fuzz/checkpoints.py --count 5000
"""

import json
import shutil
import struct
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import recipes
import torch
from mutate import damage_bytes, damage_json
from runner import main

import nhin.lm.huggingface.export
from nhin.config import from_dict, read_recipe
from nhin.decoding.sampling import SamplingParams
from nhin.errors import NhinError
from nhin.lm.generate import generate
from nhin.lm.loading import LMRun, open_any_run
from nhin.lm.recipe import LMDataConfig, LMRecipe
from nhin.lm.summary import summarize
from nhin.lm.task import train_language_model
from nhin.lm.train_data import open_corpus
from nhin.ocr.recipe import OCRRecipe, load_model
from nhin.ocr.task import RecognizerTask
from nhin.training import checkpoint as checkpoints
from nhin.training.distributed import ProcessGroup

HOME = Path(tempfile.gettempdir()) / "nhin-fuzz-checkpoints"
_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "C64", "F4", "I2", "X", "")
_NUMBERS = (0, 1, -1, 3, 2**31, 2**40, 2**63, 1.5, "1", None, [], 10**30)


def _recipe(steps: int) -> LMRecipe:
    recipe = from_dict(LMRecipe, read_recipe(HOME / "recipe.toml"), "recipe")
    return replace(recipe, schedule=replace(recipe.schedule, steps=steps))


def prepare_runs() -> None:
    """Train the runs that are damaged: a language model and a reader, of one step each."""
    recipes.prepare_tokens()
    if HOME.exists():
        return
    HOME.mkdir()
    (HOME / "recipe.toml").write_text(recipes.LM, encoding="utf-8")
    corpus = open_corpus(LMDataConfig(path=str(recipes.TOKENS)), HOME)
    train_language_model(_recipe(1), corpus, HOME / "lm", False)
    (HOME / "reader.toml").write_text(recipes.READER, encoding="utf-8")
    task = RecognizerTask(from_dict(OCRRecipe, read_recipe(HOME / "reader.toml"), "reader"))
    state = task.init_state(ProcessGroup())
    checkpoints.save(HOME / "reader" / "checkpoint", state.to_checkpoint(task.recipe, task.files))


def make(random: Random, folder: Path) -> str:
    """Write a mutant: one or two files of a checkpoint damaged, removed or exchanged."""
    kind = random.choice(("lm", "lm", "lm", "reader"))
    shutil.copytree(HOME / kind, folder / kind)
    paths = sorted((folder / kind / "checkpoint").iterdir())
    paths += [path for path in (folder / kind).iterdir() if path.suffix in (".json", ".jsonl")]
    sentence = kind
    for _ in range(random.choice((1, 1, 1, 2))):
        path = random.choice([path for path in paths if path.exists()])
        data = path.read_bytes()
        what = random.choice(("json", "json", "json", "bytes", "swap", "gone"))
        if what == "swap":
            others = [other.read_bytes() for other in paths if other.exists()]
            data = random.choice((*others, b"{}", b""))
        elif what == "gone":
            path.unlink()
        elif what == "json" and path.suffix == ".safetensors":
            data, what = _damage_header(random, data)
        elif what == "json" and path.suffix == ".json":
            try:
                text, what = damage_json(random, data.decode())
            except (ValueError, IndexError):
                text = "[]"
            data = text.encode("utf-8", "surrogatepass")
        else:
            data, what = damage_bytes(random, data)
        if path.exists():
            path.write_bytes(data)
        sentence += f", {path.name}: {what}"
    return sentence


def _damage_header(random: Random, data: bytes) -> tuple[bytes, str]:
    """Change the header of a safetensors file: its length, a dtype, a shape, an offset, names, numbers."""
    size = int.from_bytes(data[:8], "little")
    if size > len(data) or not data[8 : 8 + size].lstrip().startswith(b"{"):
        return data[:4], "cut at 4"
    if random.random() < 0.1:
        length = random.choice((0, 1, size - 1, size + 1, 2**20, 2**31, 2**40, 2**63))
        return struct.pack("<Q", length) + data[8:], f"header of {length}"
    header = json.loads(data[8 : 8 + size])
    name = random.choice([name for name in header if name != "__metadata__"] or ["x"])
    entry = header.get(name, {})
    kind = random.choice(("dtype", "shape", "offsets", "name", "many", "metadata", "drop"))
    if kind == "dtype":
        entry["dtype"] = random.choice(_DTYPES)
    elif kind in ("shape", "offsets"):
        values: list[Any] = entry.get("shape" if kind == "shape" else "data_offsets") or [0]
        values[random.randrange(len(values))] = random.choice(_NUMBERS)
    elif kind == "name":
        other = random.choice(("", "\x00", "../x", "\ud800", "a" * 10**5, "0.step", "x.y.z"))
        header[other] = header.pop(name, {})
    elif kind == "many":
        header |= {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)}
    elif kind == "metadata":
        marks = ({}, {"nhin": "{}"}, {"nhin": "[" * 5000}, {"nhin": 1}, [], "x")
        header["__metadata__"] = random.choice(marks)
    else:
        header.pop(name, None)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :], f"{kind} of {name}"


def attempt(folder: Path) -> None:
    """Use a checkpoint as every command does, with no more memory than a stranger's file may take."""
    torch.set_num_threads(1)
    recipes.limit_memory()
    if (folder / "reader").exists():
        load_model(folder / "reader" / "checkpoint")
        return
    run, failed = folder / "lm", None
    for use in (_sample, _resume):
        try:
            use(run)
        except NhinError as why:
            if "\n" in str(why) or not str(why):
                raise RuntimeError(f"not one line: {why}") from why
            failed = why
    if failed is not None:
        raise failed


def _sample(path: Path) -> None:
    run = open_any_run(path)
    if isinstance(run, LMRun):
        list(generate(run.model, [0], tokens=3, sampling=SamplingParams(seed=0)))
        summarize(run.model.vocab, run.model.config, seeds=())
        nhin.lm.huggingface.export.export_folder(run, path / "out", "auto")


def _resume(path: Path) -> None:
    corpus = open_corpus(LMDataConfig(path=str(recipes.TOKENS)), path)
    train_language_model(_recipe(2), corpus, path, True)


if __name__ == "__main__":
    prepare_runs()
    sys.exit(main("checkpoints", make, attempt, 5000))
