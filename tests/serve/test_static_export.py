"""The folder whose page reads in the browser alone: whole or absent, and nothing of another host in it."""

import ast
import hashlib
import io
import json
import re
import sys
import zipfile
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from nhin.cli.app import main
from nhin.image import load
from nhin.image.load import open_picture
from nhin.serve import in_browser, static_export
from nhin.serve.static_export import FILES, LOCK, SITE, WHEELS, pack_reader


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """Return a folder as npm leaves it, with small files instead of the real ones."""
    monkeypatch.setattr(static_export, "pack_reader", lambda: b"zip")
    folder = tmp_path / "runtime"
    packages = {}
    for name in FILES:
        path = folder / "node_modules" / ("onnxruntime-web/dist" if "ort" in name else "pyodide") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    for name in WHEELS:
        (folder / f"{name}.whl").write_bytes(name.encode())
        packages[name] = {"file_name": f"{name}.whl", "sha256": hashlib.sha256(name.encode()).hexdigest()}
    (folder / "node_modules/pyodide" / LOCK).write_text(json.dumps({"packages": packages}))
    return folder


def run(capsys, *words):
    code = main(["serve", *map(str, words)])
    return code, capsys.readouterr().err


def test_the_folder_holds_the_page_the_reader_and_the_runtime(runtime, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)  # the extra serve is not needed
    out = tmp_path / "site"
    assert run(capsys, "--static", out, "--runtime", runtime) == (0, "")
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    site = {path.name for path in SITE.iterdir()}
    assert names == site | {
        "nhin.zip",
        *(f"runtime/{name}" for name in (*FILES, LOCK, *map("{}.whl".format, WHEELS))),
    }
    assert {path.name for path in tmp_path.iterdir()} == {"site", "runtime"}
    assert run(capsys, "--static", out, "--runtime", runtime) == (0, "")  # an earlier export is replaced


@pytest.mark.parametrize("name", [*FILES, LOCK, "numpy.whl"])
def test_what_is_missing_is_named_and_nothing_is_written(runtime, tmp_path, capsys, name):
    next(runtime.rglob(name)).unlink()
    code, error = run(capsys, "--static", tmp_path / "site", "--runtime", runtime)
    assert (code, error.count("\n")) == (4, 1)
    assert name in error
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("lock", "sentence"),
    [
        ("{", "not JSON"),
        ("[]", "names no wheel of numpy"),
        ('{"packages": {"numpy": {"file_name": "../numpy.whl", "sha256": "0"}}}', "names no wheel of numpy"),
        (None, "pillow.whl is torn"),
    ],
)
def test_a_runtime_that_is_torn_is_refused(runtime, tmp_path, capsys, lock, sentence):
    if lock is None:
        (runtime / "pillow.whl").write_bytes(b"pill")
    else:
        next(runtime.rglob(LOCK)).write_text(lock)
    code, error = run(capsys, "--static", tmp_path / "site", "--runtime", runtime)
    assert (code, error.count("\n")) == (4, 1)
    assert sentence in error
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("content", ["letter.txt", "runtime", "file", "working folder"])
def test_no_folder_of_something_else_is_replaced(runtime, tmp_path, capsys, monkeypatch, content):
    out = tmp_path / "site"
    if content == "file":
        out.write_text("mine")
    else:
        out.mkdir()
    if content == "working folder":
        monkeypatch.chdir(out)
    elif content != "file":
        (out / content).write_text("mine")
    code, error = run(capsys, "--static", out, "--runtime", runtime)
    assert (code, error.count("\n")) == (2, 1)
    assert str(out) in error
    assert [path.read_text() for path in (out, *out.rglob("*")) if path.is_file()] == ["mine"] * (
        content[0] != "w"
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--static", "OUT"], 4),
        (["--runtime", "DIR"], 2),
        (["--static", "OUT", "--runtime", "DIR", "--port", "80"], 2),
        (["--static", "OUT", "--runtime", "DIR", "--queue", "3"], 2),
    ],
)
def test_options_that_do_not_go_together_are_refused(capsys, words, code):
    found, error = run(capsys, *words)
    assert (found, error.count("\n")) == (code, 1)
    assert words[-2] in error or "npm install" in error or "limits" in error


def test_the_page_names_no_other_host():
    for path in SITE.iterdir():
        urls = re.findall(r"[a-z]+://[^/\s\"'<`]+", path.read_text("utf-8"))
        assert set(urls) <= {"http://localhost:8000", "http://www.w3.org"}, path  # the latter names SVG


def test_the_page_says_everything_in_both_languages():
    texts = (SITE / "texts.js").read_text("utf-8")
    vietnamese, english = (
        re.findall(r'^    "?([\w-]+)"?:', part, re.MULTILINE) for part in texts.split("\n  en: {")
    )
    assert vietnamese == english
    page = (SITE / "page.js").read_text("utf-8") + (SITE / "index.html").read_text("utf-8")
    used = set(re.findall(r'texts\.(?!js)(\w+)|data-text="(\w+)"', page))
    assert {name for pair in used for name in pair if name} <= set(english)


def test_the_archive_holds_every_module_that_its_modules_import_at_once():
    with zipfile.ZipFile(io.BytesIO(pack_reader())) as archive:
        names = set(archive.namelist())
        trees = {name: ast.parse(archive.read(name)) for name in names if name.endswith(".py")}
    assert "nhin/weights/default/encoder.onnx" in names
    assert "nhin/weights/prior.npy" in names
    assert "nhin/weights/marks.npy" in names
    for name, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nhin."):
                path = (node.module or "").replace(".", "/")
                assert {f"{path}.py", f"{path}/__init__.py"} & names, f"{name} imports {node.module}"


def test_in_a_browser_no_process_is_started_to_decode(monkeypatch):
    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setattr(load, "Sandbox", None)
    file = SITE.parents[2].parent / "tests" / "serve" / "pictures" / "file_two_pages.tif"
    assert open_picture(file).others == 1


def test_a_network_in_the_browser_gets_and_gives_arrays(monkeypatch):
    """Pyodide and ONNX Runtime Web are objects of the test here; test_static_page has the real ones."""

    class Tensor:
        def __init__(self, kind, data, dims):
            self.kind, self.dims, self.data = kind, SimpleNamespace(to_py=lambda: dims), data

    def run_network(tensors):
        given = tensors.tokens
        twice = SimpleNamespace(to_py=lambda: memoryview(given.data * 2))
        return SimpleNamespace(logits=SimpleNamespace(dims=given.dims, data=twice, kind=given.kind))

    session = SimpleNamespace(run=run_network, outputNames=SimpleNamespace(to_py=lambda: ["logits"]))
    pyodide, ffi, js = ModuleType("pyodide"), ModuleType("pyodide.ffi"), ModuleType("js")
    ffi.run_sync, ffi.to_js = (lambda value: value), (lambda value: value)
    js.Object = SimpleNamespace(new=SimpleNamespace)
    for module in (pyodide, ffi, js):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    opened = []
    create = SimpleNamespace(create=lambda data: opened.append(data) or session)
    monkeypatch.setattr(
        in_browser, "_ort", SimpleNamespace(InferenceSession=create, Tensor=SimpleNamespace(new=Tensor))
    )
    network = in_browser.InferenceSession(b"onnx", in_browser.SessionOptions(), [])
    tokens = np.arange(12, dtype=np.int64).reshape(3, 4)
    for names in (None, ["logits"]):
        (found,) = network.run(names, {"tokens": tokens.T})
        np.testing.assert_array_equal(found, 2 * tokens.T)
    assert opened == [b"onnx"]
