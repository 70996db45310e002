"""What holds of the files of the page without a browser."""

import io
import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from nhin.reading.document_writer import DocumentWriter
from nhin.reading.documents import ReadPage
from nhin.reading.reading import Reading
from nhin.reading.result import WARNING_CODES, Line, TextBlock
from nhin.serve.app import PAGE

FILES = {path.name: path.read_text("utf-8") for path in sorted(PAGE.iterdir())}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}
HTML = FILES["index.html"]
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def read_texts(language):
    """Return the texts of the page in a language, by key."""
    body = FILES["texts.js"].partition(f"const {language} = {{")[2].partition("\n};")[0]
    lines = [line for line in body.splitlines() if line.strip()]
    found = [re.fullmatch(r'  "?([\w-]+)"?: "(.+)",', line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {match[1]: match[2] for match in found}


def test_every_text_is_there_in_both_languages_with_the_same_values():
    vietnamese, english = read_texts("VI"), read_texts("EN")
    assert list(vietnamese) == list(english)
    for key, text in vietnamese.items():
        for form in english[key].split("|"):
            assert set(re.findall(r"\{\w+\}", form)) == set(re.findall(r"\{\w+\}", text)), key


def test_texts_that_are_used_are_there_and_others_are_not():
    texts = set(read_texts("EN"))
    marked = set(re.findall(r'data-(?:text|label)="(\w+)"', HTML))
    code = "".join(text for name, text in SCRIPTS.items() if name != "texts.js") + 'say("title")'
    quoted = set(re.findall(r'"([\w-]+)"', code))
    states = {"waiting", "reading", "done", "cancelled", "failed"}
    built = states | {"cancelFile", "retryFile", "removeFile", "wordCorrected", "lineCorrected"}
    assert marked | set(re.findall(r'say\("(\w+)"', code)) <= texts
    assert texts - {f"warning-{code}" for code in WARNING_CODES} <= marked | quoted | built


def test_every_warning_of_a_reading_has_its_sentence():
    assert {key for key in read_texts("VI") if key.startswith("warning-")} == {
        f"warning-{code}" for code in WARNING_CODES
    }


def test_nothing_comes_from_elsewhere_and_nothing_stands_inline():
    names = ("http://www.w3.org/2000/svg",)
    for name, text in FILES.items():
        for found in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`]*", text):
            assert found.startswith(names), (name, found)
        assert "innerHTML" not in text
        assert "eval(" not in text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", HTML)


def test_ids_and_files_that_are_named_are_there():
    ids = re.findall(r'\bid="([\w-]+)"', HTML)
    assert len(ids) == len(set(ids))
    code = "".join(SCRIPTS.values())
    used = set(re.findall(r'(?:getElementById|\bid)\("([\w-]+)"\)', code)) | set(
        re.findall(r'(?:href="#|for="|aria-labelledby="|aria-describedby=")([\w-]+)"', HTML)
    )
    assert used <= set(ids)
    imported = set(re.findall(r'from "\./([\w.-]+)"', code))
    assert imported | set(re.findall(r'(?:src|href)="([\w.-]+)"', HTML)) == set(FILES) - {"index.html"}


@needs_node
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_a_module_without_errors_of_syntax(name):
    command = [NODE, "--input-type=module", "--check"]
    result = subprocess.run(command, input=SCRIPTS[name], text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


def make_page(number, rng):
    """Return a page of headings, paragraphs and tables with what Markdown would take as markup."""
    pieces = "a # ## * _ | \\ ` [x] <b> &amp; ~ 1. 12) - + -- --- Huế giá 100%".split()
    words = [rng.choices(pieces, k=rng.randint(1, 5)) for _ in range(14)]
    lines = [
        Line(
            " ".join(w),
            round(rng.random(), 4),
            ((0, 30 * i), (200, 30 * i), (200, 30 * i + 20), (0, 30 * i + 20)),
        )
        for i, w in enumerate(words)
    ]
    blocks = (
        TextBlock("heading", (((lines[0],),),), 1),
        TextBlock("paragraph", tuple(((line,),) for line in lines[1:4])),
        TextBlock("table", (((lines[4],), (lines[5], lines[6])), ((), (lines[7],)), ((lines[8],), ()))),
        TextBlock("heading", (((lines[9],),),), 2),
        TextBlock("caption", (((lines[10],),),)),
        TextBlock("paragraph", tuple(((line,),) for line in lines[11:])),
    )
    return Reading(tuple(lines), 220, 450, number, blocks=blocks)


@needs_node
def test_the_page_writes_text_and_markdown_as_nhin_does_and_applies_corrections():
    rng = random.Random(3)
    pages = [make_page(number, rng) for number in range(1, 30)]
    pages.append(Reading((), 10, 10, 30))
    want = {}
    for format in ("text", "markdown", "json"):
        writer = DocumentWriter(file := io.BytesIO(), format, "trang.png")
        for page in pages:
            writer.add(ReadPage(page))
        writer.finish()
        want[format] = file.getvalue().decode()
    laws = Path(__file__).with_name("readings_laws.mjs")
    command = [NODE, str(laws), str(PAGE / "readings.js")]
    result = subprocess.run(command, input=want["json"], text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["text"] == want["text"]
    assert found["markdown"] == want["markdown"]
    assert list(map(json.loads, found["json"].splitlines())) == list(
        map(json.loads, want["json"].splitlines())
    )
