"""Break commands at random file operations, and check that the next command ends as if nothing had been.

    .venv/bin/python scripts/crash_runs.py --count 100 --seed 0

Each of ``--count`` kills (SIGKILL, in the middle of a write where it is one) and as many full disks (no room
from one operation on) hits one operation of: training a language model (start, log, validation, save, end; a
text prepared on the way), a resume, counting n-grams, training a reader, preparing a text, exports, an import
and drawing pictures. A full disk must end with one line and no traceback. Then the same command, or
``--resume``, must end with the bytes of an undisturbed one, and leave nothing half-written beside. Exit code
1 if any did not.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "lm")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Imported before the children are forked, which are then ready at once.
import matplotlib.backends.backend_agg  # noqa: E402
import matplotlib.figure  # noqa: E402, F401
import onnx  # noqa: E402, F401
import onnxruntime  # noqa: E402, F401
import onnxscript  # noqa: E402, F401
import torch  # noqa: E402
import torch.onnx._internal.exporter._core  # noqa: E402
from file_faults import FaultyFiles  # noqa: E402  # pyright: ignore[reportMissingImports]
from PIL import Image  # noqa: E402

import nhin.data.images.synthetic  # noqa: E402
import nhin.lm.huggingface.import_  # noqa: E402
import nhin.lm.task  # noqa: E402
import nhin.ocr.export  # noqa: E402
import nhin.ocr.task  # noqa: E402
from nhin.cli.app import main as nhin  # noqa: E402
from nhin.lm import artifacts  # noqa: E402

LM = """workflow = "lm"
[model]
depth = 1
dim = 8
heads = 2
context = 8
dropout = 0.1
[data]
batch = 4
tokenizer = "char"
[schedule]
steps = 4
[training]
threads = 1
precision = "float32"
log_seconds = 0.0
save_seconds = 0.0
validate_steps = 2
"""
READER = """workflow = "reader"
[model]
backbone = "tiny"
dim = 16
depth = 1
decoder_depth = 1
heads = 2
dropout = 0.1
[data]
real = ["CROPS"]
real_share = 1.0
chunk = 16
workers = 0
cache = "CACHE"
[schedule]
steps = 3
[training]
threads = 1
precision = "float32"
batch_pixels = 12000
log_seconds = 0.0
save_seconds = 0.0
validate_steps = 2
"""


@dataclass(frozen=True)
class Scenario:
    """A command that is broken, how it is begun again, and what is in its folder before."""

    name: str
    command: Callable[[Path], list[str]]
    resumes: bool = False
    before: Callable[[Path], None] = lambda folder: None


def draw_crops(folder: Path) -> None:
    """Draw pictures of bars whose count is the label."""
    folder.mkdir()
    rows = []
    for number in range(12):
        bars = 1 + number % 4
        picture = np.full((40, 24 + 12 * bars), 230, np.uint8)
        for bar in range(bars):
            picture[8:32, 12 + 12 * bar : 16 + 12 * bar] = 20
        Image.fromarray(picture).save(folder / f"{number}.png")
        rows.append(f"{number}.png\t{'ộ' * bars}\n")
    (folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")


def make_inputs(place: Path) -> None:
    """Make what the commands read: a text, crops, recipes, runs and an export."""
    (place / "text.txt").write_text("một hai ba bốn. " * 200, encoding="utf-8")
    draw_crops(place / "crops")
    (place / "lm.toml").write_text(LM)
    llama = 'positions = "rotary"\nnorm = "rms"\nmlp = "swiglu"\ncontext'
    (place / "llama.toml").write_text(LM.replace("context", llama, 1).replace('"char"', '"bpe:280"'))
    (place / "ngram.toml").write_text(LM.replace("[model]", "ngram = 2\n[model]"))
    reader = READER.replace("CROPS", str(place / "crops")).replace("CACHE", str(place / "work" / "cache"))
    (place / "reader.toml").write_text(reader)
    (place / "work").mkdir()
    text = str(place / "text.txt")
    for command in (
        ["train", str(place / "llama.toml"), "--data", text, "--out", str(place / "run")],
        ["export", str(place / "run"), str(place / "llama")],
        ["train", str(place / "reader.toml"), "--out", str(place / "reader")],
    ):
        code, _, err = run(command)
        assert code == 0, err


def list_scenarios(place: Path) -> list[Scenario]:
    """Return the scenarios; those that matter most, or are cheap, several times."""
    text, crops = str(place / "text.txt"), str(place / "crops")

    def train(recipe: str, *options: str) -> Callable[[Path], list[str]]:
        return lambda work: ["train", str(place / recipe), "--out", str(work / "run"), *options]

    def begin(work: Path) -> None:
        code, _, err = run([*train("lm.toml", "--data", text, "--set", "schedule.steps=2")(work)])
        assert code == 0, err

    def export_before(work: Path) -> None:
        shutil.copytree(place / "llama", work / "exported")

    lm = Scenario("train lm", train("lm.toml", "--data", text), True)
    resume = Scenario("resume lm", train("lm.toml", "--data", text, "--resume"), True, begin)
    reader = Scenario("train reader", train("reader.toml", "--validate", crops), True)
    prepare = Scenario(
        "prepare", lambda work: ["prepare", text, "--out", str(work / "data"), "--tokenizer", "bpe:280"]
    )
    ngram = Scenario("train ngram", train("ngram.toml", "--data", text), True)
    export = Scenario("export lm", lambda work: ["export", str(place / "run"), str(work / "exported")])
    replace = Scenario("export over another", export.command, before=export_before)
    bring = Scenario("import", lambda work: ["import", str(place / "llama"), "--out", str(work / "run")])
    pair = Scenario("export reader", lambda work: ["export", str(place / "reader"), str(work / "onnx")])
    synth = Scenario("synth", lambda work: ["synth", str(work / "pictures"), "--count", "4"])
    often = [lm, lm, lm, resume, resume, reader, reader, prepare, ngram, export, replace, bring, synth]
    return [*often, *often, pair]  # which takes 20 times as long as any other


def run(command: list[str], faults: FaultyFiles | None = None) -> tuple[int, int, str]:
    """Run a command in a child; return its exit code (-9: killed), its file operations and its errors."""
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as count:
        sys.stdout.flush()
        if (child := os.fork()) == 0:
            code = 70
            try:
                os.dup2(errors.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                with (faults or FaultyFiles(Path("/nowhere"))).installed() as files:
                    code = nhin(command)
                os.write(count.fileno(), str(len(files.actions)).encode())
            except BaseException:  # noqa: BLE001 - the child must not go on as its parent
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        errors.seek(0)
        count.seek(0)
        return os.waitstatus_to_exitcode(status), int(count.read() or 0), errors.read().decode()


def read_contents(folder: Path) -> dict[str, Any]:
    """Return all files; of logs what does not depend on time."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    contents: dict[str, Any] = {}
    for name, path in files.items():
        if path.name == "log.jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            times = ("time", "samples_per_second")
            contents[name] = [{key: x for key, x in row.items() if key not in times} for row in rows]
        elif path.suffix not in (".lock",) and path.name != ".lock":
            contents[name] = path.read_bytes()
    return contents


def clear(work: Path, scenario: Scenario) -> None:
    """Put into the folder what is there before the command."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    scenario.before(work)


def try_once(
    work: Path, scenario: Scenario, kind: Any, at: int, whole: dict[str, Any], rng: random.Random
) -> str:
    """Break a command once and do it again; return what was wrong, or nothing."""
    clear(work, scenario)
    command = scenario.command(work)
    code, _, errors = run(command, FaultyFiles(work, at, kind, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    if kind == "kill" and code != -signal.SIGKILL:
        return f"it was not killed but ended with {code}: {errors[-300:]}"
    lines = [line for line in errors.splitlines() if line.startswith("nhin: ")]
    if kind == "full" and (code not in (0, 2, 3, 4) or "Traceback" in errors or len(lines) != (code != 0)):
        return f"a full disk ended with {code}: {errors[-2000:]}"
    has_checkpoint = any((work / "run").glob("*checkpoint*"))
    if scenario.resumes and (work / "run").is_dir() and (has_checkpoint or rng.random() < 0.5):
        command = [*command, "--resume"] if "--resume" not in command else command
    if not (command[0] == "import" and (work / "run").exists()):
        code, _, errors = run(command)
        if code != 0:
            return f"{command[0]} once more ended with {code}: {errors[-300:]}"
    contents = read_contents(work)
    different = [name for name in whole.keys() | contents.keys() if whole.get(name) != contents.get(name)]
    return f"it left other files: {sorted(different)}" if different else ""


def main() -> int:
    """Break commands; print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="kills, and as many full disks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only scenarios with this word in their name")
    options = parser.parse_args()
    artifacts._SAMPLE_TOKENS = artifacts._FINAL_SAMPLE_TOKENS = 8
    torch.set_num_threads(1)  # a process that has computed with several cannot fork
    rng, begin = random.Random(options.seed), time.monotonic()
    tried: Counter[tuple[str, str]] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        work = place / "work"
        make_inputs(place)
        scenarios = [s for s in list_scenarios(place) if options.only in s.name]
        wholes: dict[str, tuple[int, dict[str, Any]]] = {}
        for number in range(2 * options.count):
            kind, scenario = ("kill", "full")[number % 2], rng.choice(scenarios)
            if scenario.name not in wholes:
                clear(work, scenario)
                code, operations, errors = run(scenario.command(work), FaultyFiles(work))
                assert code == 0, errors
                wholes[scenario.name] = operations, read_contents(work)
            operations, whole = wholes[scenario.name]
            at = rng.randint(1, operations)
            if wrong := try_once(work, scenario, kind, at, whole, rng):
                failures.append(f"{scenario.name}, {kind} at operation {at} of {operations}: {wrong}")
                print(failures[-1], flush=True)
            tried[scenario.name, kind] += 1
    for name, (operations, _) in sorted(wholes.items()):
        kills, fulls = tried[name, "kill"], tried[name, "full"]
        print(f"{name:<20} {operations:>4} file operations   {kills:>3} kills   {fulls:>3} full disks")
    print(f"{options.count} kills, {options.count} full disks, {len(failures)} wrong, "
          f"seed {options.seed}, {time.monotonic() - begin:.0f} s")  # fmt: skip
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
