"""Load `nhin serve` with good and hostile requests, kill a worker, shut it down, and check every answer.

    python benchmarks/serve.py [--minutes 10] [--clients 16] [--json benchmarks/serve.json]

A third of the requests are hostile. An answer is wrong if a good file's text is not that of the library, or
if a hostile one gets a status that is not one of its own. Memory is that of the service and its workers.
"""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
from measuring import describe_machine, make_parser, save_json
from PIL import Image

import nhin
from nhin.reading.document_writer import DocumentWriter
from nhin.reading.documents import DocumentOptions, read_document
from nhin.reading.reader import Reader

SIGN = Path(nhin.__file__).parent / "examples" / "street_sign.png"
WORKERS, QUEUE, MAX_MIB = 2, 8, 4
PNG, FORM = {"Content-Type": "image/png"}, {"Content-Type": "multipart/form-data; boundary=b"}


@dataclass(frozen=True)
class Case:
    """A request, and what may come back: a text, or one of some statuses."""

    name: str
    data: bytes
    text: str | None = None
    statuses: tuple[int, ...] = (200,)
    headers: dict[str, str] = field(default_factory=lambda: PNG)
    path: str = "/v1/read?format=text"


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def make_good() -> list[Case]:
    """Return files and their texts, as the library reads them."""
    sign, reader = Image.open(SIGN).convert("RGB"), Reader()
    exif = Image.Exif()
    exif[0x0112] = 8
    half = sign.resize((512, 288))
    files = {
        "png": SIGN.read_bytes(),
        "crop": encode(sign.crop((280, 300, 700, 360))),
        "jpeg, turned by EXIF": encode(sign.rotate(-90, expand=True), "JPEG", quality=90, exif=exif),
        "tiff, two pages": encode(half, "TIFF", save_all=True, append_images=[sign]),
        "webp": encode(half, "WEBP", quality=90),
        "blank": encode(Image.new("RGB", (900, 1200), "white")),
    }
    pdf = io.BytesIO()
    writer = DocumentWriter(pdf, "pdf", "")
    for page in read_document(reader, files["tiff, two pages"], "", DocumentOptions()):
        writer.add(page)
    writer.finish()
    files["pdf, two pages"] = pdf.getvalue()
    return [Case(name, data, _read_text(reader, data)) for name, data in files.items()]


def _read_text(reader: Reader, data: bytes) -> str:
    file = io.BytesIO()
    writer = DocumentWriter(file, "text", "")
    for page in read_document(reader, data, "", DocumentOptions()):
        writer.add(page)
    return file.getvalue().decode()


def make_hostile() -> list[Case]:
    """Return requests that must be refused, or must cost little."""
    sign = SIGN.read_bytes()
    noise = random.Random(1).randbytes(50_000)
    bomb = bytearray(encode(Image.new("L", (8, 8))))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    large = encode(Image.new("1", (11_000, 11_000)))
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xff\x00../../etc"\r\n\r\n'
    refused, pdf = (422,), b"%PDF-1.7\n"
    kids = b"1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Count 10000/Kids["
    kids += b"3 0 R " * 10_000 + b"]>>endobj 3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj "
    return [
        Case("empty", b"", None, refused),
        Case("noise", noise, None, refused),
        Case("torn png", sign[: len(sign) // 2], None, refused),
        Case("header of 60,000 x 60,000", bytes(bomb), None, refused),
        Case("121 megapixels of one bit", large, None, refused),
        Case("torn pdf", pdf + noise, None, refused),
        Case("pdf of 10,000 pages", pdf + kids + b"trailer<</Root 1 0 R>>", None, refused),
        Case("too large", bytes(MAX_MIB * 2**20 + 1), None, (413,)),
        Case("torn form", form + sign, None, (400, 422), FORM),
        Case("name with steps back", form + sign + b"\r\n--b--\r\n", None, (200,), FORM),
        Case("other type", b"{}", None, (415,), {"Content-Type": "application/json"}),
        Case("pages upside down", sign, None, refused, path="/v1/read?pages=9-3"),
        Case("unknown format", sign, None, refused, path="/v1/read?format=docx%0d%0aX:1"),
        Case("long header", sign, None, (200, 400), {"X": "a" * 100_000}),
        Case("leaves", sign, None, (), PNG),
        Case("stops half way", sign, None, (), PNG),
    ]


@dataclass
class Load:
    """Clients, and what they were answered."""

    port: int
    good: list[Case]
    hostile: list[Case]
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    end: threading.Event = field(default_factory=threading.Event)

    def run_client(self, seed: int) -> None:
        """Send one request after the other until the end; wait when told to come back later."""
        rng = random.Random(seed)
        while not self.end.is_set():
            case = rng.choice(self.hostile if rng.random() < 1 / 3 else self.good)
            if self.send(case) == 429:
                self.end.wait(rng.uniform(0.5, 2.0))

    def send(self, case: Case) -> int:
        """Send one request, and check and count its answer."""
        begin, client = time.perf_counter(), HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            client.putrequest("POST", case.path)
            for name, value in {**case.headers, "Content-Length": str(len(case.data))}.items():
                client.putheader(name, value)
            client.endheaders()
            client.send(case.data[: len(case.data) // 2] if case.name == "stops half way" else case.data)
            if not case.statuses:
                time.sleep(0.3)
                self.statuses["left"] += 1
                return 0
            answer = client.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as why:
            # A server may close while a body that it refuses is still being sent.
            if not {400, 413} & set(case.statuses):
                self.wrong.append(f"{case.name}: {why!r}")
            self.statuses["closed"] += 1
            return 0
        finally:
            client.close()
        self.statuses[str(answer.status)] += 1
        if answer.status == 200 and case.text is not None:
            self.seconds.append(time.perf_counter() - begin)
            if body.decode() != case.text:
                self.wrong.append(f"{case.name}: {body.decode()!r}")
        elif answer.status not in (429, *case.statuses):
            self.wrong.append(f"{case.name}: {answer.status} {body[:200]!r}")
        return answer.status


def start_service() -> tuple["subprocess.Popen[str]", int]:
    """Start the service; return its process and port once it listens. Its log goes on into a thread."""
    command = [sys.executable, "-m", "nhin", "serve", "--port", "0", "--workers", str(WORKERS)]
    limits = ["--queue", str(QUEUE), "--max-mib", str(MAX_MIB), "--max-pages", "20"]
    process = subprocess.Popen([*command, *limits], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if json.loads(line)["event"] == "listening":
            threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
            return process, json.loads(line)["port"]
    raise SystemExit("the service did not start")


def find_children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(word)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        if path.parent.name != str(pid)
        for word in path.read_text().split()
    ]


def measure_rss(pid: int) -> float:
    """Return the MiB of memory of the service and its workers, without the processes that those start."""
    pages = 0
    for process in [pid, *find_children(pid)]:
        try:
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def get(port: int, path: str) -> str:
    """Return the body of a page."""
    client = HTTPConnection("127.0.0.1", port, timeout=60)
    client.request("GET", path)
    text = client.getresponse().read().decode()
    client.close()
    return text


def read_metric(port: int, name: str) -> int:
    """Return a metric, its labels added up."""
    lines = get(port, "/metrics").splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def run_load(process: "subprocess.Popen[str]", load: Load, seconds: float, clients: int) -> list[list[float]]:
    """Run the clients; kill a worker after a quarter; return seconds and MiB of memory."""
    threads = [threading.Thread(target=load.run_client, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    begin, samples, is_killed = time.perf_counter(), [], False
    while (passed := time.perf_counter() - begin) < seconds:
        time.sleep(1)
        samples.append([round(passed, 1), round(measure_rss(process.pid), 1)])
        if not is_killed and passed > seconds / 4:
            os.kill(find_children(process.pid)[0], signal.SIGKILL)
            is_killed = True
    load.end.set()
    for thread in threads:
        thread.join()
    return samples


def shut_down(process: "subprocess.Popen[str]", load: Load) -> list[int]:
    """Send SIGTERM while requests wait; return the statuses of those that had been accepted."""
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(load.send(load.good[0])))
        for _ in range(WORKERS + QUEUE)
    ]
    for thread in threads:
        thread.start()
    while read_metric(load.port, "nhin_queue_length") + read_metric(load.port, "nhin_running") < len(threads):
        time.sleep(0.02)
        if sum(thread.is_alive() for thread in threads) < len(threads):
            break
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    return answers


def main() -> int:
    """Run, print and write the results; the exit code is 1 if anything was wrong."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    good, hostile = make_good(), make_hostile()
    process, port = start_service()
    load = Load(port, good, hostile)
    samples = run_load(process, load, 60 * options.minutes, options.clients)
    names = ("nhin_pages_total", "nhin_worker_restarts_total", "nhin_retries_total")
    metrics = {name: read_metric(port, name) for name in names}
    answers = shut_down(process, load)
    code = process.wait(60)
    x, y = np.array(samples[len(samples) // 2 :]).T  # the new worker is warm, too
    slope, start = np.polyfit(x - x[0], y, 1)
    growth = slope * (x[-1] - x[0]) / start
    p50, p99 = (float(np.quantile(load.seconds, share)) for share in (0.5, 0.99))
    tree = {
        "machine": describe_machine(),
        "minutes": options.minutes,
        "clients": options.clients,
        "workers": WORKERS,
        "queue": QUEUE,
        "statuses": dict(sorted(load.statuses.items())),
        "p50_seconds": round(p50, 3),
        "p99_seconds": round(p99, 3),
        "mib_after_warm_up": round(float(start), 1),
        "growth_after_warm_up": round(float(growth), 4),
        "answered_at_shutdown": dict(Counter(map(str, answers))),
        "exit_code": code,
        "wrong": load.wrong[:20],
        **metrics,
    }
    print(json.dumps(tree, indent=1, ensure_ascii=False))
    save_json(options.json, tree | {"memory": samples[:: max(1, len(samples) // 60)]})
    return int(bool(load.wrong) or code != 0 or set(answers) != {200})


if __name__ == "__main__":
    raise SystemExit(main())
