"""What README and docs tell people to type exists, and what exists is told."""

import contextlib
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nhin.cli.app import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def typed(page: Path) -> list[str]:
    """Return the lines people are told to type: consoles, and backticked words that begin with a command."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).splitlines()
    return [line.partition("  #")[0] for line in blocks] + re.findall(r"`((?:nhin|make) [^`]+)`", text)


@pytest.fixture(scope="module")
def options():
    """Return the options of each command, as its help tells them."""
    known = {}
    for name in COMMANDS:
        with contextlib.redirect_stdout(io.StringIO()) as text:
            main([name, "--help"])
        known[name] = set(re.findall(r"--[a-z-]+", text.getvalue())) | {"--help"}
    return known


@each_page
def test_every_nhin_command_told_exists_with_its_options(page, options):
    for line in typed(page):
        for name, rest in re.findall(r"(?:^|[ $|&])nhin ([a-z]+)(.*)$", line):
            assert name in COMMANDS, line
            assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options[name], line


@each_page
def test_every_make_target_told_exists(page):
    for line in typed(page):
        for target in re.findall(r"(?:^|[ $&])make (?!-)([a-z]+)", line):
            assert target in TARGETS, line


@each_page
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in link and "weights/" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", ["README.md", "README.vi.md"])
def test_every_command_is_in_the_readme(page):
    text = (ROOT / page).read_text("utf-8")
    assert all(f"| `nhin {name}" in text for name in COMMANDS)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")
def test_help_lists_every_target_and_is_what_make_alone_does():
    text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    alone = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert alone.splitlines()[-1] == text.splitlines()[-1]
    assert set(re.findall(r"^  make ([\w-]+)", text, re.MULTILINE)) == TARGETS


def test_every_target_is_a_job_and_no_file():
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == TARGETS
