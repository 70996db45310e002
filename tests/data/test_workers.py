"""A chunk is the same in every process, and a damaged file is rendered again."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import Broken, Fake, Nameless

from nhin.data.images.chunk_cache import open_cache, render_chunk
from nhin.data.images.workers import ChunkLoader, fill_cache
from nhin.errors import DataError, UsageError

HERE = Path(__file__).parent
SOURCE = Path(__file__).parents[2] / "src"


def same(a, b):
    return a.texts == b.texts and np.array_equal(a.widths, b.widths) and np.array_equal(a.pixels, b.pixels)


def test_a_chunk_is_the_same_from_this_process_from_a_worker_and_from_the_cache(tmp_path):
    expected = render_chunk(Fake(), 3, 16)
    with ChunkLoader(Fake(), size=16, workers=1) as chunks:
        assert same(chunks.get(3, (4, 5)), expected)
        assert same(chunks.get(4), render_chunk(Fake(), 4, 16))
    with ChunkLoader(Fake(), size=16, workers=1, cache=tmp_path) as chunks:
        assert same(chunks.get(3), expected)
        assert same(chunks.get(3), expected)
    with ChunkLoader(Fake(), size=16, workers=0, cache=tmp_path) as chunks:
        assert same(chunks.get(3), expected)


def test_filling_a_cache_leaves_nothing_to_render(tmp_path):
    assert fill_cache(Fake(), tmp_path, 3, workers=0, size=8) == 3
    assert fill_cache(Fake(), tmp_path, 4, workers=1, size=8) == 1
    assert fill_cache(Fake(), tmp_path, 4, workers=1, size=8) == 0
    cache = open_cache(Fake(), tmp_path, 8)
    assert all(same(cache.load(k), render_chunk(Fake(), k, 8)) for k in range(4))
    assert not [p for p in cache.folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_damaged_chunk_is_rendered_again(tmp_path, keep):
    fill_cache(Fake(), tmp_path, 1, workers=0, size=8)
    cache = open_cache(Fake(), tmp_path, 8)
    raw = cache.path(0).read_bytes()
    cache.path(0).write_bytes(raw[: keep if isinstance(keep, int) else int(len(raw) * keep)])
    assert cache.load(0) is None
    for workers in (0, 1):
        with ChunkLoader(Fake(), size=8, workers=workers, cache=tmp_path) as chunks:
            assert same(chunks.get(0), render_chunk(Fake(), 0, 8))
    assert cache.load(0) is not None


def test_a_flipped_byte_is_noticed(tmp_path):
    fill_cache(Fake(), tmp_path, 1, workers=0, size=8)
    cache = open_cache(Fake(), tmp_path, 8)
    raw = bytearray(cache.path(0).read_bytes())
    raw[len(raw) // 2] ^= 1
    cache.path(0).write_bytes(raw)
    assert cache.load(0) is None


def test_other_settings_have_other_caches(tmp_path):
    folders = {open_cache(Fake(s), tmp_path, n, h).folder for s in (0, 1) for n in (8, 16) for h in (32, 40)}
    assert len(folders) == 8


def test_a_source_without_a_fingerprint_cannot_be_cached(tmp_path):
    with pytest.raises(UsageError, match="Nameless needs a `fingerprint`"):
        open_cache(Nameless(), tmp_path)


def test_a_cache_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot make the cache"):
        open_cache(Fake(), tmp_path / "file")


def test_what_a_worker_raises_is_raised_here():
    with ChunkLoader(Broken(), size=8, workers=1) as chunks, pytest.raises(ValueError, match="sample 0"):
        chunks.get(0)


def test_workers_import_no_torch_and_end_with_their_parent(tmp_path):
    """A parent killed with SIGKILL leaves no process behind."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from fakes import Fake
            from nhin.data.images.workers import ChunkLoader

            if __name__ == "__main__":
                chunks = ChunkLoader(Fake(), size=8, workers=1)
                chunks.get(0, (1,))
                print(*[p for p in chunks._pool._processes], flush=True)
                assert "torch" not in sys.modules
                time.sleep(60)
            """
        ),
        encoding="utf-8",
    )
    paths = os.pathsep.join([str(HERE), str(SOURCE)])
    with subprocess.Popen(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert workers
    deadline = time.monotonic() + 10
    while any(_alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(worker) for worker in workers)


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
