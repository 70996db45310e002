"""Recipes of strangers: damaged TOML and overrides, given to ``nhin train`` and ``nhin inspect``.

    PYTHONPATH=src python scripts/fuzz/recipes.py --count 5000

A mutant that is a right recipe is built, and trains one step on a text of 2,000 characters if it is small: a
large model may take its time.
"""

import os
import resource
import sys
import tempfile
from dataclasses import replace
from inspect import signature
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))

# A thread's stack takes 8 MB of addresses, which are limited here, though no memory.
os.environ.setdefault("OMP_STACKSIZE", "256k")

import torch
from mutate import damage_bytes
from runner import MAX_BYTES, main

from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import MECHANISMS
from nhin.cli.app import is_out_of_memory
from nhin.config import from_dict, load_recipe, override, read_recipe
from nhin.data.text.prepare import prepare
from nhin.data.text.splits import SplitConfig
from nhin.errors import UsageError
from nhin.layers.presets import PRESETS
from nhin.lm.budget import scale_schedule
from nhin.lm.recipe import LMDataConfig, LMRecipe
from nhin.lm.summary import summarize
from nhin.lm.task import LanguageModelTask, train_language_model
from nhin.lm.train_data import open_corpus
from nhin.ocr.recipe import OCRRecipe
from nhin.ocr.task import RecognizerTask
from nhin.training.distributed import ProcessGroup

LM = """workflow = "lm"
seed = 0
[schedule]
rate = 0.01
steps = 10
warmup = 2
[model]
depth = 1
dim = 16
heads = 2
context = 8
mechanism = "softmax"
settings = {}
mlp = "gelu"
dropout = 0.0
[data]
tokenizer = "char"
batch = 4
accumulate = 1
[training]
threads = 1
precision = "float32"
weight_decay = 0.1
betas = [0.9, 0.95]
"""
READER = """workflow = "reader"
seed = 0
[model]
backbone = "tiny"
dim = 16
depth = 1
decoder_depth = 1
heads = 2
[data]
chunk = 4
workers = 0
[training]
threads = 1
batch_pixels = 4096
"""
MAX_WORK = 10**7  # weights times tokens of a step
_VALUES = (
    *(
        "0",
        "-1",
        "1",
        "nan",
        "inf",
        "-inf",
        "1e308",
        "1e400",
        "1000000000",
        "1000000000000",
        "9" * 30,
        "9" * 5000,
    ),
    *("0x" + "f" * 4000, "true", '""', '"x"', '"' + "x" * 5000 + '"', '"\\u0000"', "2020-01-01", "12:00:00"),
    *(
        "[]",
        "{}",
        "[[[[[[1]]]]]]",
        "[" * 3000,
        "{a = " * 900,
        "{a = 1, b = 2}",
        "[0.9]",
        "[nan, 2]",
        "'../../etc'",
    ),
    *("65536", "4194304", "1024", "1048576", "3", "7", "-0.0", "0.5", "{window = 0}", "{window = 1e9}"),
    *(
        '"window"',
        '"performer"',
        '"linear"',
        '"longformer"',
        '"lsh"',
        '"bigbird"',
        '"t5"',
        '"none"',
        '"relu2"',
    ),
)
_KEYS = {  # settings of the model, and a right value of each
    **dict.fromkeys(("head_dim", "kv_heads", "memory", "segments", "experts", "top_k"), "2"),
    **dict.fromkeys(("mlp_ratio", "hidden_dim", "eps", "dropout", "balance_loss", "token_noise", "ctc"), "1"),
    **dict.fromkeys(("exits", "qk_norm", "tie_embeddings", "checkpointing", "final_norm"), "true"),
    **{"positions": '"rotary"', "position": "{}", "preset": '"gpt2"', "norm": '"rms"', "norm_order": '"pre"'},
    **{"init": '"zero"', "bias_parts": '"qkv"', "height": "32", "x": "1"},
}
_NAMES = [f'"{name}"' for name in (*MECHANISMS, *POSITIONS, *PRESETS, "none", "zero", "post", "layer")]
_NUMBERS = ("0", "-1", "1", "2", "3", "7", "16", "64", "0.5", "-0.5", "1e-9", "1000000000", "65536", "9" * 13)


def _other_value(random: Random, value: str) -> str:
    """Return another value, mostly of the kind of ``value``."""
    if random.random() < 0.2:
        return random.choice(_VALUES)
    if value.startswith('"'):
        return random.choice(_NAMES)
    if value.startswith(("{", "[")):
        inside = random.choices(_NUMBERS, k=random.choice((1, 2)))
        keys = random.choices(("base", "buckets", "factor", "window", "features", "context"), k=2)
        pairs = dict(zip(keys, inside, strict=False))
        table = ", ".join(f"{key} = {number}" for key, number in pairs.items())
        return f"[{', '.join(inside)}]" if value.startswith("[") else f"{{{table}}}"
    return random.choice(("true", "false") if value == "true" else (*_NUMBERS, "nan", "1024", "4194304"))


def make(random: Random, folder: Path) -> str:
    """Write a mutant: a value replaced or added, bytes damaged, or bombs of keys and depth."""
    text: str = random.choice((LM, LM, LM, READER))
    kind = random.choice((*("value",) * 4, *("add",) * 3, *("mechanism",) * 3, "bytes", "bomb"))
    lines = list(map(str, text.splitlines()))
    sentence, data = kind, text.encode()
    if kind == "value":
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            number = random.choice([i for i, line in enumerate(lines) if " = " in line])
            key, _, value = lines[number].partition(" = ")
            lines[number] = f"{key} = {_other_value(random, value)}"
            sentence += f" {lines[number][:60]}"
    elif kind == "add":
        number = lines.index("[model]")
        taken = {line.split(" = ")[0] for line in lines}
        for key in random.sample([key for key in _KEYS if key not in taken], random.choice((1, 1, 2, 3))):
            lines.insert(number + 1, f"{key} = {_other_value(random, _KEYS[key])}")
            sentence += f" {lines[number + 1][:60]}"
    elif kind == "mechanism" and text == LM:
        name = random.choice(sorted(MECHANISMS))
        settings = [key for key in signature(MECHANISMS[name]).parameters if key not in ("heads", "head_dim")]
        chosen = random.sample(settings, min(len(settings), random.choice((1, 2))))
        table = ", ".join(f"{key} = {_other_value(random, '1')}" for key in chosen)
        lines = [line for line in lines if not line.startswith(("mechanism", "settings"))]
        at = lines.index("[model]")
        lines[at + 1 : at + 1] = [f'mechanism = "{name}"', f"settings = {{{table}}}"]
        sentence += f" {name} {table[:60]}"
    elif kind == "bytes":
        for _ in range(random.choice((1, 1, 3))):
            data, what = damage_bytes(random, data)
            sentence += f" {what}"
    else:
        count = random.choice((10, 1000, 100_000))
        lines.append(
            random.choice(
                (
                    "a" + ".a" * count + " = 1",
                    "[" + "a." * count + "a]",
                    "\n".join(f"k{i} = 1" for i in range(count)),
                    "\n".join(f"[t{i}]" for i in range(count)),
                    "x = [" + "1," * count + "]",
                    "#" * count,
                    "x = '" + "é" * count + "'",
                )
            )
        )
        sentence += f" {lines[-1][:10]} {count}"
    if kind != "bytes":
        data = "\n".join(lines).encode(random.choice(("utf-8",) * 29 + ("utf-16",)))
    (folder / "recipe.toml").write_bytes(data)
    return sentence


def attempt(folder: Path) -> None:
    """Train one step, or summarize the model, with no more memory than a stranger's file may take."""
    limit_memory()
    try:
        _use(folder)
    except (MemoryError, RuntimeError) as why:
        if is_out_of_memory(why):  # as nhin.cli.app.main does
            raise UsageError("there is not enough memory") from why
        raise


def limit_memory() -> None:
    """Let this process allocate so much more that all of it stays below the largest memory of a mutant."""
    pages, resident = map(int, Path("/proc/self/statm").read_text().split()[:2])
    more = MAX_BYTES - resident * resource.getpagesize() - 50_000_000
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _use(folder: Path) -> None:
    name = str(folder / "recipe.toml")
    tree = override(read_recipe(name), ["training.save_seconds=1"])
    if tree.get("workflow") == "reader":
        task = RecognizerTask(from_dict(OCRRecipe, tree, name))
        task.init_state(ProcessGroup())
        return
    recipe = scale_schedule(from_dict(LMRecipe, tree, name), 1)
    corpus = open_corpus(LMDataConfig(path=str(TOKENS)), folder)
    if recipe.ngram:
        return
    # As many threads as a mutant asks for would be missing elsewhere on this machine.
    recipe = replace(recipe, training=replace(recipe.training, threads=1))
    task = LanguageModelTask(recipe, corpus)
    weights = sum(weight.numel() for weight in task.init_state(ProcessGroup()).model.parameters())
    model = recipe.model
    tokens = task.windows.length + 2 * model.memory * model.segments
    if weights * recipe.data.batch * tokens < MAX_WORK:
        train_language_model(recipe, corpus, folder / "run", False)
    load_recipe(LMRecipe, name)
    summarize(corpus.tokenizer.vocab, recipe.model, seeds=())


TOKENS = Path(tempfile.gettempdir()) / "nhin-fuzz-tokens"


def prepare_tokens() -> None:
    """Prepare the text that every mutant trains on."""
    torch.set_num_threads(1)
    if not TOKENS.exists():
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write("Một con mèo nhìn ra cửa sổ. " * 80)
            file.flush()
            prepare(file.name, "char", TOKENS, SplitConfig(test=0.0, validation=0.2))


if __name__ == "__main__":
    prepare_tokens()
    sys.exit(main("recipes", make, attempt, 5000))
