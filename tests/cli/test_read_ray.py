"""``nhin read --engine ray`` on a cluster of two nodes, one of which is killed while it reads."""

import threading
import time

import pytest
from PIL import Image

from nhin.cli.app import main
from nhin.data.images.synthetic import SyntheticSource
from nhin.errors import MissingExtra
from nhin.reading import ray_engine
from nhin.reading.reader import Reader

COUNT = 60


def test_without_ray_one_line_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"\[ray\]"):
        next(ray_engine.read_on_cluster([tmp_path], ray_engine.ClusterOptions({})))


def test_parquet_needs_a_folder_that_holds_nothing_else(tmp_path, capsys):
    assert main(["read", str(tmp_path), "--engine", "ray"]) == 2
    (tmp_path / "thư.txt").touch()
    assert main(["read", str(tmp_path), "--engine", "ray", "--out", str(tmp_path)]) == 2
    assert (tmp_path / "thư.txt").exists()
    assert [line.split(": ")[0] for line in capsys.readouterr().err.splitlines()] == ["nhin"] * 2


def test_rows_that_come_twice_are_one_and_a_lost_input_is_an_error():
    rows = [{"number": n, "page": p} for n, p in ((1, 1), (0, 2), (0, 1), (1, 1), (0, 2))]
    assert list(ray_engine._order_rows(iter(rows), 2)) == [
        [{"number": 0, "page": 1}, {"number": 0, "page": 2}],
        [{"number": 1, "page": 1}],
    ]
    with pytest.raises(ray_engine.ProcessError, match="input 3 of 3"):
        list(ray_engine._order_rows(iter(rows), 3))


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_lost_or_doubled_when_a_node_dies(tmp_path):
    ray = pytest.importorskip("ray", reason="Ray comes with the extra ray, which make test does not install")
    import pyarrow.parquet as pq
    from ray.cluster_utils import Cluster

    source, texts = SyntheticSource(seed=4, lines=0.0, blanks=0.0, prints=0.0), []
    reader = Reader(threads=1)
    for i in range(COUNT):
        picture = source.sample(i).picture
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
        texts.append(reader.read(picture, crop=True).text)
    (tmp_path / "rách.png").write_bytes(b"none")
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    doomed = cluster.add_node(**node)
    killed = threading.Event()

    def kill_when_it_reads():
        while not any(actor["State"] == "ALIVE" for actor in _list_actors(ray, doomed)):
            time.sleep(0.1)
        cluster.remove_node(doomed, allow_graceful=False)
        killed.set()

    try:
        ray.init(cluster.address, log_to_driver=False)
        threading.Thread(target=kill_when_it_reads, daemon=True).start()
        code = main(["read", str(tmp_path), "--crop", "--engine", "ray", "--out", str(tmp_path / "ra")])
        assert killed.is_set()
    finally:
        ray.shutdown()
        cluster.shutdown()
    rows = pq.read_table(tmp_path / "ra").to_pylist()
    assert [row["text"] for row in rows] == [*texts, ""]
    assert [bool(row["error"]) for row in rows] == [False] * COUNT + [True]
    assert code == 3


def _list_actors(ray, node) -> list[dict]:
    """Return the actors on a node."""
    found = ray._private.state.actors().values()
    return [actor for actor in found if actor["Address"]["NodeID"] == node.node_id]
