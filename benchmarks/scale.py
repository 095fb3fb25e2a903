"""What must hold beyond one machine, tried for real: a Ray cluster of two nodes on loopback, an S3 server, processes killed.

python benchmarks/scale.py SONGS [--songs N] [--files-per-shard N] [--scenarios NAME …] [--json FILE]

Needs `pip install muq_hf[ray] "moto[server]"`. SONGS is a folder of audio. Each scenario embeds N songs from s3:// to s3:// with
muq-tiny, and compares the rows with those of a run in one process. Prints a line per scenario; exit code 1 if one fails.
"""

import argparse
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.fs
import pyarrow.parquet as pq


BUCKET = "music"
KILLS_DECODER = "kills_decoder.kills"
# In every process of a scenario: a decoder that opens a file of this suffix ends at once, as by a fault of a codec; and a
# worker that begins shard 0 of an output folder on the disk ends half a second later.
SITECUSTOMIZE = """
import os, sys, threading
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".kills") and "decoding_worker" in " ".join(sys.orig_argv):
        os._exit(9)
    if event == "open" and "_muq_hf/attempts/part-000000-" in str(arguments[0]):
        threading.Timer(0.5, os._exit, [9]).start()
sys.addaudithook(hook)
"""


# Takes both CPUs of the cluster until its stdin ends.
HOLDS_CPUS = """
import ray, sys
ray.init(sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1)
class Holder:
    def is_there(self):
        return True
held = [Holder.remote() for _ in range(2)]
ray.get([holder.is_there.remote() for holder in held])
print("held", flush=True)
sys.stdin.read()
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class ObjectStore:
    """moto's S3 in a process of its own, which can stop answering."""

    def __init__(self):
        port = free_port()
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        command = [sys.executable, "-c", "from moto.server import main; main()", "-p", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(self.process.kill)
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        self.files = pyarrow.fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.files.create_dir(BUCKET)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def put(self, key: str, content: bytes) -> None:
        with self.files.open_output_stream(f"{BUCKET}/{key}") as file:
            file.write(content)

    def names(self, folder: str) -> list[str]:
        selector = pyarrow.fs.FileSelector(f"{BUCKET}/{folder}", allow_not_found=True)
        return sorted(item.base_name for item in self.files.get_file_info(selector) if item.type == pyarrow.fs.FileType.File)

    def fragments(self, output: str) -> dict[str, int]:
        """name → when it was written (ns)"""
        names = [name for name in self.names(output) if name.startswith("part-")]
        infos = self.files.get_file_info([f"{BUCKET}/{output}/{name}" for name in names])
        return {name: info.mtime_ns for name, info in zip(names, infos, strict=True)}

    def rows(self, output: str) -> dict[str, np.ndarray]:
        """path → vector; a path that comes twice is an error."""
        rows = {}
        for name in self.fragments(output):
            table = pq.read_table(f"{BUCKET}/{output}/{name}", filesystem=self.files)
            for path, vector in zip(table["path"].to_pylist(), table["embedding"].to_pylist(), strict=True):
                assert path not in rows, f"{path} is there twice"
                rows[path] = np.array(vector)
        return rows

    def failures(self, output: str) -> list[dict]:
        name = f"{BUCKET}/{output}/_muq_hf/failures.jsonl"
        if self.files.get_file_info(name).type != pyarrow.fs.FileType.File:
            return []
        with self.files.open_input_stream(name) as file:
            return [json.loads(line) for line in file.read().decode().splitlines()]


class Bench:
    """A store with songs, a cluster, and the rows that every scenario must end with."""

    def __init__(self, songs: list[Path], files_per_shard: int, folder: Path, cpus: int = 1):
        from ray.cluster_utils import Cluster

        self.folder, self.files_per_shard, self.cpus = folder, files_per_shard, cpus
        (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(Path(__file__).parents[1])])
        os.environ |= {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        self.store = ObjectStore()
        for song in songs:
            self.store.put(f"songs/{song.name}", song.read_bytes())
        memory = {"object_store_memory": 100 * 2**20}
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **memory})
        self.nodes = [self.cluster.add_node(num_cpus=cpus, **memory) for _ in range(2)]
        self.new_node = lambda: self.cluster.add_node(num_cpus=cpus, **memory)
        self.seconds_alone, code, text = self.finish(self.start("alone", engine="local"))
        assert code == 0, f"the run in one process failed: {text[-2000:]}"
        self.expected = self.store.rows("alone")

    def start(self, output: str, *more: str, engine: str = "ray", inputs: str = "songs") -> subprocess.Popen:
        command = [sys.executable, "-m", "muq_hf", "embed", inputs if "://" in inputs else f"s3://{BUCKET}/{inputs}"]
        place = output if output.startswith("/") else f"s3://{BUCKET}/{output}/"
        command += ["--output", place, "--model", "muq-tiny", "--quiet", *more]
        command += ["--files-per-shard", str(self.files_per_shard)]
        if engine == "ray":
            command += ["--engine", "ray", "--address", self.cluster.address, "--cpus-per-worker", str(self.cpus)]
        else:
            command += ["--workers", "1"]
        self.log = open(self.folder / f"{Path(output).name}.log", "a+")
        process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.folder)
        process.started = time.monotonic()
        return process

    def finish(self, process: subprocess.Popen) -> tuple[float, int, str]:
        """→ (seconds, exit code, what it printed)"""
        code = process.wait(3600)
        self.log.seek(0)
        return time.monotonic() - process.started, code, self.log.read()

    def wait_for(self, condition, process: subprocess.Popen, seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert process.poll() is None, f"the run ended early: {self.finish(process)[2][-2000:]}"
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.2)

    def check_rows(self, output: str) -> str:
        rows = self.store.rows(output)
        assert rows.keys() == self.expected.keys(), f"{len(rows)} rows in place of {len(self.expected)}"
        difference = max(float(np.abs(rows[path] - self.expected[path]).max()) for path in rows)
        assert difference <= 1e-5, f"rows differ by {difference}"
        return f"{len(rows)} rows, largest difference {difference:.1e}"

    def actors(self) -> list[psutil.Process]:
        """Processes of workers that are at a shard."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if any("ShardActor" in part for part in process.info["cmdline"] or ()):
                found.append(process)
        return found


def actor_killed(bench: Bench) -> str:
    process = bench.start("actor")
    bench.wait_for(lambda: bench.store.fragments("actor") and bench.actors(), process)
    bench.actors()[0].send_signal(signal.SIGKILL)
    seconds, code, text = bench.finish(process)
    assert code == 0, text[-2000:]
    return f"exit 0 after {seconds:.0f} s; {bench.check_rows('actor')}"


def node_killed(bench: Bench) -> str:
    process = bench.start("node")
    bench.wait_for(lambda: bench.store.fragments("node"), process)
    bench.cluster.remove_node(bench.nodes.pop(), allow_graceful=False)
    seconds, code, text = bench.finish(process)
    bench.nodes.append(bench.new_node())
    assert code == 0, text[-2000:]
    return f"exit 0 after {seconds:.0f} s ({bench.seconds_alone:.0f} s in one process); {bench.check_rows('node')}"


def begin_and_kill(bench: Bench, name: str) -> dict:
    """Kill a driver after its first shard → the fragments that are there when its workers have ended."""
    process = bench.start(name)
    bench.wait_for(lambda: bench.store.fragments(name), process)
    process.kill()
    process.wait()
    time.sleep(5)
    return bench.store.fragments(name)


def driver_killed(bench: Bench) -> str:
    before = begin_and_kill(bench, "driver")
    seconds, code, text = bench.finish(bench.start("driver", "--resume"))
    assert code == 0, text[-2000:]
    after = bench.store.fragments("driver")
    assert all(after[name] == before[name] for name in before), "a shard that was done ran again"
    return (
        f"{len(before)} of {len(after)} shards were done and stayed; exit 0 after {seconds:.0f} s; {bench.check_rows('driver')}"
    )


def finished_by_the_loop(bench: Bench) -> str:
    before = begin_and_kill(bench, "loop")
    _, code, text = bench.finish(bench.start("loop", "--resume", engine="local"))
    assert code == 0, text[-2000:]
    return (
        f"{len(before)} shards by Ray, {len(bench.store.fragments('loop')) - len(before)} by the loop; {bench.check_rows('loop')}"
    )


def decoder_killed(bench: Bench) -> str:
    bench.store.put(f"others/{KILLS_DECODER}", b"anything")
    process = bench.start("decoder", f"s3://{BUCKET}/others/{KILLS_DECODER}")
    seconds, code, text = bench.finish(process)
    assert code == 1, text[-2000:]
    failures = bench.store.failures("decoder")
    assert [failure["path"].rsplit("/", 1)[1] for failure in failures] == [KILLS_DECODER], failures
    return f"exit 1, one failure ({failures[0]['message'][:60]}…); {bench.check_rows('decoder')}"


def worker_killed_by_its_shard(bench: Bench) -> str:
    folder = bench.folder / "attempts"
    _, code, text = bench.finish(bench.start(f"{folder}/"))
    assert code == 1 and "shard 0: given up after 3 attempts" in text, text[-2000:]
    assert not (folder / "part-000000.parquet").exists()
    assert not (folder / "_muq_hf" / "failures.jsonl").exists(), "files were recorded as bad"
    done = len(list(folder.glob("part-*.parquet")))
    _, code, text = bench.finish(bench.start(f"{folder}/", "--resume", engine="local"))
    assert code == 0, text[-2000:]
    assert len(list(folder.glob("part-*.parquet"))) == done + 1
    return f"exit 1, shard 0 given up after 3 attempts, {done} others done; the loop then does it"


def endpoint_down_for_a_while(bench: Bench) -> str:
    process = bench.start("outage")
    bench.wait_for(lambda: bench.store.fragments("outage"), process)
    bench.store.process.send_signal(signal.SIGSTOP)
    time.sleep(20)
    bench.store.process.send_signal(signal.SIGCONT)
    seconds, code, text = bench.finish(process)
    assert code == 0, text[-2000:]
    return f"exit 0 after {seconds:.0f} s; {bench.check_rows('outage')}"


def cpus_taken(bench: Bench) -> str:
    command = [sys.executable, "-c", HOLDS_CPUS, bench.cluster.address]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    holder.stdout.readline()
    time.sleep(3)
    process = bench.start("taken")
    bench.wait_for(lambda: "settings.json" in bench.store.names("taken/_muq_hf"), process)
    begun = time.monotonic()
    log = bench.folder / "taken.log"
    bench.wait_for(lambda: "no worker has begun yet" in log.read_text(), process, 60)
    told = time.monotonic() - begun
    holder.stdin.close()
    holder.wait()
    _, code, text = bench.finish(process)
    assert code == 0, text[-2000:]
    line = next(line for line in text.splitlines() if "no worker has begun" in line)
    return f"after {told:.0f} s: “{line.strip()[:120]}…”; then exit 0; {bench.check_rows('taken')}"


def two_drivers(bench: Bench) -> str:
    process = bench.start("two")
    first_log = bench.log
    bench.wait_for(lambda: bench.store.names("two/_muq_hf"), process)
    _, code, text = bench.finish(bench.start("two", "--resume"))
    assert code == 2 and "another run is writing" in text, text[-2000:]
    bench.log = first_log
    _, code, text = bench.finish(process)
    assert code == 0, text[-2000:]
    return f"the second: exit 2, refused; the first: exit 0; {bench.check_rows('two')}"


def settings_differ(bench: Bench) -> str:
    said = []
    for option, name in (
        (("--pool", "max"), "pool"),
        (("--dtype", "bfloat16"), "dtype"),
        (("--model", "muq-mulan-tiny"), "weights"),
    ):
        _, code, text = bench.finish(bench.start("alone", "--resume", *option))
        assert code == 2 and name in text.rsplit("made with other settings", 1)[-1], text[-2000:]
        said.append(name)
    return f"exit 2 each, naming {', '.join(said)}"


def files_changed(bench: Bench) -> str:
    names = bench.store.names("songs")
    bench.store.put("copy/placeholder.txt", b"")
    for name in names[:-1]:
        bench.store.files.copy_file(f"{BUCKET}/songs/{name}", f"{BUCKET}/copy/{name}")
    _, code, text = bench.finish(bench.start("changed", inputs="copy"))
    assert code == 0, text[-2000:]
    time.sleep(1.1)  # times are whole seconds there
    bench.store.files.copy_file(f"{BUCKET}/songs/{names[0]}", f"{BUCKET}/copy/{names[1]}")
    bench.store.files.copy_file(f"{BUCKET}/songs/{names[-1]}", f"{BUCKET}/copy/{names[-1]}")
    _, code, text = bench.finish(bench.start("changed", "--resume", inputs="copy"))
    assert code == 0, text[-2000:]
    rows = {path.rsplit("/", 1)[1]: row for path, row in bench.store.rows("changed").items()}
    expected = {path.rsplit("/", 1)[1]: row for path, row in bench.expected.items()}
    expected[names[1]] = expected[names[0]]
    assert rows.keys() == expected.keys()
    assert all(np.abs(rows[name] - expected[name]).max() <= 1e-5 for name in rows)
    return f"1 of {len(names) - 1} changed, 1 added: {len(rows)} rows as if embedded anew"


def endpoint_down_for_good(bench: Bench) -> str:
    """The last one: the store is gone afterwards."""
    os.environ["MUQ_HF_STORAGE_PATIENCE_S"] = "5"
    process = bench.start("gone", engine="local")
    bench.wait_for(lambda: "settings.json" in bench.store.names("gone/_muq_hf"), process)
    bench.store.process.kill()
    seconds, code, text = bench.finish(process)
    assert code == 2 and "has not answered for" in text and "failed" not in text, text[-2000:]
    return f"exit 2 after {seconds:.0f} s: “{text.strip().splitlines()[-1][:140]}…”"


SCENARIOS = {
    function.__name__: function
    for function in (
        actor_killed,
        node_killed,
        driver_killed,
        finished_by_the_loop,
        decoder_killed,
        worker_killed_by_its_shard,
        endpoint_down_for_a_while,
        cpus_taken,
        two_drivers,
        settings_differ,
        files_changed,
        endpoint_down_for_good,
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", type=Path)
    parser.add_argument("--songs", dest="count", type=int, default=24)
    parser.add_argument("--files-per-shard", type=int, default=4)
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    songs = sorted(path for path in arguments.songs.iterdir() if path.suffix in (".ogg", ".wav", ".flac", ".mp3"))
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(songs[: arguments.count], arguments.files_per_shard, Path(folder))
        try:
            for name in arguments.scenarios:
                try:
                    results[name] = {"ok": True, "told": SCENARIOS[name](bench)}
                except Exception as error:
                    results[name] = {"ok": False, "told": f"{type(error).__name__}: {error}"}
                print(f"{name:28} {'ok' if results[name]['ok'] else 'FAILED':7} {results[name]['told']}", flush=True)
        finally:
            bench.cluster.shutdown()
            bench.store.process.kill()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    return 0 if all(result["ok"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
