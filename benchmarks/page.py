"""How fast the page and its searches are in a real browser, and what memory the server takes.

    python benchmarks/page.py TABLE
    python benchmarks/page.py --random SONGS PARTS

TABLE: a table or folder of fragments of a MuQ-MuLan, which is served; or a table of random vectors, SONGS times PARTS of them.
"""

import argparse
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import sync_playwright

from muq_hf.checkpoints import MUQ_MULAN_TINY
from muq_hf.inference.embedding import embed_files


CHROMIUM = "/usr/bin/chromium"
QUERIES = (
    "calm piano",
    "heavy metal guitars",
    "medieval dance",
    "dark ambient drone",
    "happy chiptune",
    "epic choir",
    "jazz drums",
)
DRAGS = 40


EXAMPLES = Path(__file__).parents[1] / "examples" / "audio"
PART_SECONDS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, nargs="?")
    parser.add_argument("--random", type=int, nargs=2, metavar=("SONGS", "PARTS"))
    arguments = parser.parse_args()
    if (arguments.table is None) == (arguments.random is None):
        parser.error("name a table, or --random SONGS PARTS")
    with tempfile.TemporaryDirectory() as scratch:
        table = arguments.table or write_random_table(Path(scratch), *arguments.random)
        started = time.monotonic()
        command = [sys.executable, "-m", "muq_hf", "serve", str(table), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = re.search(r"http://\S+", server.stdout.readline())[0]
            print(f"server ready after {time.monotonic() - started:.1f} s")
            measure(address)
            status = dict(line.split(":", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines())
            print(f"memory of the server: at most {int(status['VmHWM'].split()[0]) * 1024 / 1e6:.0f} MB")
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)


def write_random_table(folder: Path, songs: int, parts: int) -> Path:
    embed_files(sorted(EXAMPLES.glob("*.ogg"))[:1], MUQ_MULAN_TINY, folder / "one.parquet", workers=0, progress=False)
    one = pq.read_table(folder / "one.parquet")
    size = one.schema.field("embedding").type.list_size
    rows = np.arange(songs * parts)
    vectors = np.random.default_rng(0).standard_normal((len(rows), size), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {
        "path": [f"/music/{song % 200:03d}/{song}.ogg" for song in rows // parts],
        "start": rows % parts * PART_SECONDS,
        "end": (rows % parts + 1) * PART_SECONDS,
        "layer": np.full(len(rows), -1, np.int32),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), size),
    }
    table = folder / "random.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata(one.schema.metadata), table)
    return table


def measure(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--mute-audio"])
        page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
        started = time.monotonic()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        print(f"first songs {1000 * (time.monotonic() - started):.0f} ms", end="")
        page.wait_for_selector("body[data-ready=whole]", timeout=60_000)
        print(f", with map and filters {1000 * (time.monotonic() - started):.0f} ms")
        for per in ("song", "part"):
            page.select_option("#per", per, force=True) if page.locator("#per").is_visible() else None
            answers = []
            for query in QUERIES:
                page.evaluate("delete document.body.dataset.answeredMs")
                page.fill("#query", query)
                while not (answered := page.evaluate("document.body.dataset.answeredMs")):
                    time.sleep(0.01)
                answers.append(120 + int(answered))  # the page waits 120 ms for another key
            print(f"per {per}: last key to results, ms: median {statistics.median(answers):.0f}, worst {max(answers)}")
            page.fill("#query", "calm piano and strings")
            page.wait_for_timeout(1000)
        page.fill("#query", "")
        page.wait_for_timeout(1000)
        box = page.locator("#front").bounding_box()
        page.mouse.move(box["x"] + 200, box["y"] + 200)
        page.mouse.wheel(0, -300)
        paints = []
        page.mouse.down()
        for step in range(DRAGS):
            page.mouse.move(box["x"] + 200 + 3 * step, box["y"] + 200 + 2 * step)
            page.wait_for_timeout(30)
            paints.append(float(page.evaluate("document.getElementById('front').dataset.paintMs")))
        page.mouse.up()
        print(f"map while dragged, ms a picture: median {statistics.median(paints):.1f}, worst {max(paints):.1f}")
        browser.close()


if __name__ == "__main__":
    main()
