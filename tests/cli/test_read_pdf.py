"""``nhin read`` on PDFs: every one that can be read is read, and every other one is named."""

import io
import json
import sys

import pytest
from pdfs import ENCRYPTED, InProcess, PdfPage, TextAt, make_pdf

from nhin.cli.app import main
from nhin.image import pdf as pdf_module
from nhin.reading import reader as reading

CONTRACT = make_pdf(*(PdfPage([TextAt(f"Điều {n}", 60, 700)]) for n in (1, 2, 3)))


class Unused:
    """A recognizer for which there is nothing to read."""

    def read(self, crops):
        assert not crops
        return []


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(pdf_module, "Sandbox", InProcess)
    monkeypatch.setattr(reading, "load_recognizer", lambda name, **settings: Unused())


@pytest.fixture
def contract(tmp_path):
    path = tmp_path / "hợp đồng.pdf"
    path.write_bytes(CONTRACT)
    return path


def test_the_pages_of_a_pdf_are_texts_with_form_feeds_between(contract, capsys):
    assert main(["read", str(contract)]) == 0
    assert capsys.readouterr() == ("Điều 1\n\fĐiều 2\n\fĐiều 3\n", "")


def test_chosen_pages_carry_their_numbers_and_where_their_text_is_from(contract, capsys):
    assert main(["read", "--format", "json", "--pages", "2-", str(contract.parent)]) == 0
    trees = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(tree["page"], tree["text"], tree["source"]) for tree in trees] == [
        (2, "Điều 2", "text"),
        (3, "Điều 3", "text"),
    ]


def test_a_pdf_on_standard_input_is_read(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CONTRACT)))
    assert main(["read", "--pages", "1", "-"]) == 0
    assert capsys.readouterr().out == "Điều 1\n"


def test_bad_pdfs_are_one_line_each_and_the_others_are_read(contract, tmp_path, capsys):
    bad = {"rách.pdf": CONTRACT[:60], "khóa.pdf": ENCRYPTED, "không trang.pdf": make_pdf()}
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
    paths = [*(str(tmp_path / name) for name in bad), str(contract)]
    assert main(["read", *paths]) == 3
    captured = capsys.readouterr()
    assert captured.out.endswith("==> " + str(contract) + " <==\nĐiều 1\n\fĐiều 2\n\fĐiều 3\n")
    lines = captured.err.splitlines()
    assert [name in line for name, line in zip(bad, lines, strict=True)] == [True] * 3
    assert "password" in lines[1]


def test_without_pypdfium2_the_line_says_how_to_install_it(contract, monkeypatch, capsys):
    monkeypatch.setattr(pdf_module, "find_spec", lambda name: None)
    assert main(["read", str(contract)]) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install" in error
    assert "[pdf]" in error


def test_pages_that_make_no_sense_are_refused_before_anything_is_read(contract, capsys):
    assert main(["read", "--pages", "7-3", str(contract), str(contract)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
