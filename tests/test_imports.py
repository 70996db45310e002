"""What reading needs does not import torch, and `import nhin` imports almost nothing."""

import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import nhin

SRC = Path(__file__).resolve().parent.parent / "src"

FREE = set(
    "__main__ errors sandbox files format ranges config text image data decoding metrics reading serve "
    "cli".split()
)
HEAVY = ("torch", "einops", "jaxtyping", "safetensors", "onnx", "onnxscript", "fontTools", "matplotlib")


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh Python has imported after running some code."""
    report = "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    command, env = [sys.executable, "-c", code + report], os.environ | {"PYTHONPATH": str(SRC)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def reading_path() -> list[str]:
    names = [
        module.name for module in pkgutil.walk_packages(nhin.__path__, "nhin.", onerror=lambda name: None)
    ]
    own = [name for name in names if name.split(".")[1] in FREE]
    return [name for name in own if ".ocrmypdf_" not in name]  # those run inside OCRmyPDF


def test_the_reading_path_imports_without_torch():
    names = reading_path()
    assert len(names) > 40
    refuse = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {HEAVY}: raise ImportError(name + ' is not for reading')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    assert not loaded_by(refuse + "\n".join(f"import {name}" for name in names)) & set(HEAVY)


def test_importing_nhin_imports_nothing_heavy():
    assert not loaded_by("import nhin") & {
        *HEAVY,
        "numpy",
        "cv2",
        "PIL",
        "onnxruntime",
        "rapidocr",
        "cyclopts",
    }


def test_the_table_of_commands_imports_nothing_heavy():
    assert not loaded_by("import nhin.cli.app") & {*HEAVY, "numpy", "cv2", "onnxruntime", "rapidocr"}


def test_what_shards_weights_is_imported_only_where_weights_are_sharded():
    """It takes a second to import, in commands that shard nothing."""
    at_import = re.compile(r"^(from|import) torch\.distributed\.(tensor|fsdp)\b", re.MULTILINE)
    assert not [path for path in (SRC / "nhin").rglob("*.py") if at_import.search(path.read_text("utf-8"))]
