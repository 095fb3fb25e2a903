"""Which transformers do which jobs, and how the models get there: installed, from a local export, by Hub id.

    python benchmarks/versions.py 5.0.0 5.23.0 --scratch DIR [--page docs/versions.md]

Each version gets a virtual environment of its own below DIR, kept for the next run, which shares all other packages with the
interpreter that runs this. The exports are those of the package's own small weights; the Hub is one in memory on 127.0.0.1. Exit
code 1 if a supported pair fails a job, or one that is not supported fails with anything but the sentence that says so.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

from safetensors.torch import save_file


ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

import local_hub  # noqa: E402
from versions_jobs import TEXTS, waves  # noqa: E402

from muq_hf import MUQ_MULAN_TINY, MUQ_TINY  # noqa: E402
from muq_hf.hub.hub_folder import export_hub  # noqa: E402
from muq_hf.models import OLDEST_TRANSFORMERS, TOO_OLD  # noqa: E402


WAYS = ("installed", "local", "hub")
NAMES = {"installed": "installed", "local": "local export", "hub": "Hub id"}
SENTENCE = TOO_OLD.partition("{}")[0]
MARKS = ("<!-- made by benchmarks/versions.py -->", "<!-- end -->")


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def environment(version: str, scratch: Path) -> Path:
    """→ the interpreter of a virtual environment with this transformers before the packages of this one."""
    folder = scratch / f"transformers-{version}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        site = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True, text=True
        ).stdout.strip()
        Path(site, "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", f"transformers=={version}"]
        subprocess.run(pip, check=True)
        (folder / "ready").touch()
    return python


def write_reference(path: Path) -> None:
    """What the models give here, installed."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor

    with torch.no_grad():
        batch = AutoFeatureExtractor.from_pretrained(MUQ_TINY)(waves(), sampling_rate=24_000, return_tensors="pt")
        states = AutoModel.from_pretrained(MUQ_TINY)(**batch).last_hidden_state
        processor = AutoProcessor.from_pretrained(MUQ_MULAN_TINY)
        inputs = processor(text=TEXTS, audio=waves(), sampling_rate=24_000, return_tensors="pt")
        output = AutoModel.from_pretrained(MUQ_MULAN_TINY)(**inputs)
    save_file({"states": states, "similarity": output.text_embeds @ output.audio_embeds.T}, path)


def prepare(scratch: Path) -> dict[str, tuple[str, str]]:
    """Export the models and put them on the local Hub → of each way, where MuQ and MuQ-MuLan are."""
    exports = scratch / "exports"
    shutil.rmtree(exports, ignore_errors=True)
    places = {"installed": (MUQ_TINY, MUQ_MULAN_TINY), "local": (), "hub": ()}
    for model in places["installed"]:
        folder = exports / Path(model).name
        export_hub(model, folder)
        local_hub.REPOS[f"me/{folder.name}"] = {file.name: file.read_bytes() for file in folder.iterdir()}
        places["local"] += (str(folder),)
        places["hub"] += (f"me/{folder.name}",)
    write_reference(scratch / "reference.safetensors")
    return places


def run_jobs(python: Path, way: str, places: tuple[str, str], scratch: Path, endpoint: str) -> dict[str, str | None]:
    """→ of each job its error, None where it did well."""
    work = scratch / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_") and name != "PYTHONPATH"}
    variables |= {"HF_HOME": str(work / "hub"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    variables |= {"HF_ENDPOINT": endpoint} if way == "hub" else {"HF_HUB_OFFLINE": "1"}
    variables |= {"PYTHONPATH": str(ROOT)} if way == "installed" else {}
    command = [python, ROOT / "benchmarks" / "versions_jobs.py", way, *places, scratch / "reference.safetensors", work]
    done = subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"job"')]
    if done.returncode or not found:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")
    return {entry["job"]: entry["error"] for entry in found}


def is_supported(version: str) -> bool:
    return number(version)[:2] >= number(OLDEST_TRANSFORMERS)


def table(results: dict[str, dict[str, dict]]) -> str:
    """Markdown: a row a version, a column a way."""
    lines = ["| transformers | " + " | ".join(NAMES.values()) + " |", "|---" * 4 + "|"]
    for version, ways in results.items():
        lines.append(f"| {version} | " + " | ".join(cell(ways[way]) for way in WAYS) + " |")
    return "\n".join(lines)


def cell(errors: dict[str, str | None]) -> str:
    failed = {job: error for job, error in errors.items() if error}
    if failed and all(SENTENCE in error for error in failed.values()):
        return "refused in one sentence"
    note = "; not: " + ", ".join(sorted(failed)) if failed else ""
    return f"{len(errors) - len(failed)} of {len(errors)}{note}"


def write_page(page: Path, text: str) -> None:
    before, _, rest = page.read_text().partition(MARKS[0])
    page.write_text(before + MARKS[0] + "\n" + text + "\n" + MARKS[1] + rest.partition(MARKS[1])[2])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="+", help="of transformers")
    parser.add_argument(
        "--scratch", type=lambda path: Path(path).resolve(), required=True, help="folder for environments and exports"
    )
    parser.add_argument("--page", type=Path, help="Markdown file whose table is written anew")
    arguments = parser.parse_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    places = prepare(arguments.scratch)
    server = local_hub.start()
    results, wrong = {}, Counter()
    for version in sorted(arguments.versions, key=number):
        python = environment(version, arguments.scratch)
        results[version] = {}
        for way in WAYS:
            endpoint = f"http://127.0.0.1:{server.server_port}"
            errors = run_jobs(python, way, places[way], arguments.scratch, endpoint)
            results[version][way] = errors
            print(f"transformers {version}, {NAMES[way]}: {cell(errors)}", flush=True)
            for job, error in errors.items():
                if error and (is_supported(version) or SENTENCE not in error):
                    wrong[version] += 1
                    print(f"  {job}: {error}", flush=True)
    server.shutdown()
    print(table(results))
    if arguments.page:
        write_page(arguments.page, table(results))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
