"""What is installed from the wheel, built from the sdist and without a network, reads as the source does."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import nhin
from nhin.data.images.synthetic import SyntheticSource
from nhin.reading.reader import Reader

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "nhin"
SIGN = SOURCE / "examples" / "street_sign.txt"
BUILD = "from setuptools.build_meta import build_{kind}; build_{kind}({out!r})"
READ = """
import json, sys
import nhin
readings = [nhin.read(path, crop) for path, crop in json.loads(sys.argv[1])]
print(json.dumps([nhin.__file__, nhin.__version__, [reading.text for reading in readings]]))
"""


def run(code: str, cwd: Path, *words: str, **env: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", code, *words],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def list_files(package: Path) -> dict[str, bytes]:
    """Return the contents of all files of the package but compiled and hidden ones."""
    return {
        path.relative_to(package).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def install_wheel(home: Path) -> Path:
    """Build an sdist from a copy of the source, and a wheel from that; return where it is installed."""
    copy = home / "copy"
    shutil.copytree(SOURCE, copy / "src" / "nhin", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(BUILD.format(kind="sdist", out=str(home)), copy)
    (sdist,) = home.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(home / "sdist", filter="data")
    (tree,) = (home / "sdist").iterdir()
    run(BUILD.format(kind="wheel", out=str(home)), tree)
    (wheel,) = home.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:  # all that an installation of a wheel without data does
        archive.extractall(home / "installed")
    return home / "installed"


def test_what_is_installed_is_the_source_file_by_file_and_reads_the_same(tmp_path):
    pytest.importorskip("setuptools", "77", reason="wheels are built by setuptools 77, which is not here")
    installed = install_wheel(tmp_path)
    files, want = list_files(installed / "nhin"), list_files(SOURCE)
    assert files.keys() == want.keys()
    assert [name for name in want if files[name] != want[name]] == []
    source, reader = SyntheticSource(seed=3, lines=0.0, blanks=0.0, prints=0.0), Reader()
    inputs, texts = [(str(installed / "nhin" / "examples" / "street_sign.png"), False)], []
    for i in range(3):
        inputs.append((str(tmp_path / f"{i}.png"), True))
        picture = source.sample(i).picture
        Image.fromarray(picture).save(inputs[-1][0])
        texts.append(reader.read(picture, crop=True).text)
    where, version, found = json.loads(run(READ, tmp_path, json.dumps(inputs), PYTHONPATH=str(installed)))
    assert Path(where).is_relative_to(installed)
    assert version == nhin.__version__
    assert found == [SIGN.read_text("utf-8").rstrip("\n"), *texts]
    assert any(texts)
