"""Train nanoGPT, by its own code in a user's clone, for ``lm.py``; see https://github.com/karpathy/nanoGPT.

Its command for a CPU, from its README. Nothing of it is changed: a seed is added to the one that it sets, and
its script that prepares the text finds the text where it would download it.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Logits, nats_of_windows, run_timed
from numpy.typing import NDArray

from nhin.errors import DataError

COMMAND = (
    "train.py config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 "
    "--block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 "
    "--lr_decay_iters=2000 --dropout=0.0"
).split()

_WITH_SEED = """
import runpy, sys, torch
seed, set_seed = int(sys.argv[1]), torch.manual_seed
torch.manual_seed = lambda number: set_seed(number + seed)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# It imports requests for the download, which is not needed here.
_PREPARE = """
import runpy, sys, types
sys.modules["requests"] = types.ModuleType("requests")
runpy.run_path("data/shakespeare_char/prepare.py", run_name="__main__")
"""


def copy_clone(clone: Path, text: Path, folder: Path) -> Path:
    """Copy a clone, so that it stays as it is, and prepare the text there by its own script.

    Raises:
        DataError: It is no clone of nanoGPT.
    """
    if not (clone / "train.py").is_file() or not (clone / "data" / "shakespeare_char").is_dir():
        raise DataError(f"{clone} is no clone of nanoGPT: git clone https://github.com/karpathy/nanoGPT")
    copy = folder / "nanogpt"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(clone, copy, ignore=shutil.ignore_patterns(".git"))
    shutil.copy(text, copy / "data" / "shakespeare_char" / "input.txt")
    subprocess.run([sys.executable, "-c", _PREPARE], cwd=copy, check=True, stdout=subprocess.DEVNULL)
    return copy


def train_nanogpt(copy: Path, seed: int) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Train by its own code; return its row, and the nats of every held-out token but the first."""
    out = copy.parent / f"nanogpt-{seed}"
    command = [sys.executable, "-c", _WITH_SEED, str(seed), *COMMAND, f"--out_dir={out}"]
    spent = run_timed(command, cwd=copy, env=os.environ | {"OMP_NUM_THREADS": "1"})
    saved = torch.load(out / "ckpt.pt", weights_only=True)
    spec = importlib.util.spec_from_file_location("nanogpt_model", copy / "model.py")
    assert spec is not None and spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    model = code.GPT(code.GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    model.eval()

    def predict(rows: torch.Tensor) -> Logits:
        return model(rows, rows)[0]  # without targets it returns the last token's logits alone

    ids = np.fromfile(copy / "data" / "shakespeare_char" / "val.bin", np.uint16).astype(np.int64)
    weights = sum(p.numel() for p in model.parameters())
    row = {"seed": seed, "cpu_seconds": round(spent, 1), "steps": saved["iter_num"], "weights": weights}
    return row, nats_of_windows(predict, ids, saved["model_args"]["block_size"])
