"""What was run: everything that is needed to run it again, and every choice the paper left open."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from nhin import __version__
from nhin.replication.choices import AMBIGUITIES, KINDS, RECONSTRUCTION
from nhin.replication.sweeps import Choices


def manifest(settings: Mapping[str, object], choices: Choices, folder: Path) -> str:
    """Return the manifest of a folder as JSON.

    Args:
        settings: What was asked for.
        choices: What the paper leaves open.
        folder: Holds every file but the manifest.
    """
    tree = {
        "about": "the numerical experiments of arXiv:2310.11685",
        "nhin": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "settings": dict(settings),
        "choices": asdict(choices),
        "cross-attention": f"{RECONSTRUCTION}; {choices.cross}: {KINDS[choices.cross]}",
        "ambiguities": [{"open": question, "choice": answer} for question, answer in AMBIGUITIES],
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
        },
    }
    return json.dumps(tree, ensure_ascii=False, indent=1) + "\n"
