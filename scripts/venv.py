"""Make .venv hold what one job needs; do nothing when it already does.

    python3 scripts/venv.py read    the reader: base dependencies only, no torch
    python3 scripts/venv.py test    everything: the torch, pdf, serve and dev extras as well

A stamp in .venv remembers what was asked for (pyproject.toml, constraints.txt, the place of the clone),
so a second run starts at once and needs no network. A .venv that was cut off half way, or whose parts no
longer import, is made again. Older Pythons must be able to read this file, to be told that they are old.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
HALF = VENV / ".half-made"
OLDEST = (3, 11)
READ = ["numpy", "PIL", "cv2", "onnxruntime", "cyclopts", "rich", "nhin.cli.app"]
# job: (extras, modules that must import, jobs that are served as well)
JOBS = {
    "read": ("", READ, []),
    "test": (
        "[torch,pdf,serve,dev]",
        [
            *READ,
            "pypdfium2",
            "fastapi",
            "uvicorn",
            "python_multipart",
            "torch",
            "onnxscript",
            "safetensors",
            "pytest",
            "hypothesis",
        ],
        ["read"],
    ),
}


def main(words):
    """Serve one job; the exit code says whether .venv can do it now."""
    if sys.version_info < OLDEST:
        return _fail(
            "Python 3.11 or newer is needed and {} is {}.{}; name another, as in PYTHON=python3.12".format(
                sys.executable, *sys.version_info[:2]
            )
        )
    if len(words) != 1 or words[0] not in JOBS:
        return _fail("say which job: " + " or ".join(JOBS))
    job = words[0]
    if _stamped(job):
        return 0
    made = not _alive()
    if made and not _make():
        return 1
    if _install(job) and _works(job):
        return _stamp(job)
    if made:
        return _fail("the packages could not be installed; the lines above say why")
    # Packages torn by an earlier interruption are not always mended by installing over them.
    if _works_offline_again(job):
        return _stamp(job)
    return _fail("the packages could not be installed; `make clean` starts again from nothing")


def _works_offline_again(job):
    """Make a .venv whose packages install but do not import once more from nothing."""
    if not _install(job):
        return False
    _say("the packages in .venv are torn: making it again")
    return _make() and _install(job) and _works(job)


def _stamped(job):
    stamp = VENV / (".ready-" + job)
    return stamp.is_file() and os.access(str(PYTHON), os.X_OK) and stamp.read_text() == _wanted(job)


def _stamp(job):
    for done in [job, *JOBS[job][2]]:
        (VENV / (".ready-" + done)).write_text(_wanted(done))
    HALF.unlink(missing_ok=True)
    return 0


def _wanted(job):
    """Return what a stamp must say: change any of these, and the packages are looked at again."""
    asked = [str(ROOT), JOBS[job][0], *((ROOT / name).read_text("utf-8") for name in NAMES)]
    return hashlib.sha256("\0".join(asked).encode()).hexdigest()


NAMES = ["pyproject.toml", "constraints.txt"]


def _alive():
    """Say whether .venv has a Python that runs, is new enough and has pip, and was made to the end."""
    if HALF.exists() or not PYTHON.exists():
        return False
    probe = "import pip, sys; sys.exit(sys.version_info < {})".format(OLDEST)
    return subprocess.run([str(PYTHON), "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode == 0


def _make():
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(str(VENV))
    VENV.mkdir()
    HALF.touch()
    if subprocess.run([sys.executable, "-m", "venv", str(VENV)], stdout=sys.stderr, check=False).returncode:
        _fail("no virtual environment could be made; on Debian and Ubuntu, install python3-venv first")
        return False
    return True


def _install(job):
    """Install the build tool, then nhin in place; built here, so that later no network is asked."""
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    pip = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        *quiet,
        "--disable-pip-version-check",
        "-c",
        "constraints.txt",
    ]
    _say("installing what `make {}` needs into .venv (the first time takes minutes)".format(job))
    for what in (["setuptools>=77"], ["--no-build-isolation", "--editable", "." + JOBS[job][0]]):
        if subprocess.run(pip + what, cwd=str(ROOT), stdout=sys.stderr, check=False).returncode:
            return False
    return True


def _works(job):
    probe = "import " + ", ".join(JOBS[job][1])
    return subprocess.run([str(PYTHON), "-c", probe], cwd=str(ROOT), check=False).returncode == 0


def _say(sentence):
    sys.stderr.write(sentence + "\n")


def _fail(sentence):
    _say("nhin: " + sentence)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
