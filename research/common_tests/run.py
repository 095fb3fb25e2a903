"""transformers' own common tests on our models: one table of what passes, fails and is skipped.

    python research/common_tests/run.py --output docs/common-tests.md      # about 10 minutes on 2 cores

The tests are those of the installed version of transformers. They are fetched with its source distribution from the package
index into `--folder` (a temporary one by default), and never become part of this repository. That distribution lacks a few
helpers of the tests; `STAND_INS` says what takes their places. A failure that `reasons.json` does not explain ends the command
with exit code 1. Needs the package `parameterized` beside the development set-up.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import transformers


HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUITES = ("suite_muq.py", "suite_muq_mulan.py")
STAND_INS = {  # file under tests/: what the common tests import from it
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "distributed_testing_utils.py": "def __getattr__(name):\n    return None\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}


def fetch(folder: Path) -> Path:
    """The folder that holds transformers' `tests`, unpacked there if it is not yet."""
    version = transformers.__version__
    target = folder / f"transformers-{version}"
    if not (target / "tests").exists():
        source = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", f"transformers=={version}"]
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, *source], check=True)
        with tarfile.open(folder / f"transformers-{version}.tar.gz") as archive:
            tests = [member for member in archive.getmembers() if member.name.startswith(f"{target.name}/tests/")]
            archive.extractall(folder, members=tests, filter="data")
    for name, text in STAND_INS.items():
        file = target / "tests" / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    for package in [target / "tests", *(target / "tests" / name for name in ("exporters", "generation", "utils"))]:
        (package / "__init__.py").touch()
    return target


def run(target: Path, chosen: list[str]) -> list[dict]:
    """Run the suites in a process of their own → one row a test."""
    report = target / "report.xml"
    path = os.pathsep.join(str(place) for place in (target, HERE, ROOT, ROOT / "tests" / "support"))
    environment = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(target)]
    command += ["-c", os.devnull, f"--junitxml={report}", *[str(HERE / suite) for suite in SUITES], *chosen]
    subprocess.run(command, cwd=target, env=environment)
    return [outcome(case) for case in ElementTree.parse(report).iter("testcase")]


def outcome(case: ElementTree.Element) -> dict:
    row = {"suite": case.get("classname").split(".")[-1], "test": case.get("name"), "outcome": "passed", "message": ""}
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            row["outcome"] = "skipped" if child.tag == "skipped" else "failed"
            row["message"] = " ".join((child.get("message") or child.text or "").split())
    return row


def reason_of(row: dict, reasons: dict[str, dict[str, str]]) -> str | None:
    """Why this test fails, as written down; None if nobody did."""
    for pattern, reason in {**reasons.get(row["suite"], {}), **reasons.get("all", {})}.items():
        if re.search(pattern, row["test"]):
            return reason
    return None


def table(rows: list[dict], reasons: dict) -> str:
    suites = list(dict.fromkeys(row["suite"] for row in rows))
    counts = {suite: Counter(row["outcome"] for row in rows if row["suite"] == suite) for suite in suites}
    lines = ["| suite | passed | failed | skipped |", "|---|---|---|---|"]
    lines += [f"| {suite} | {c['passed']} | {c['failed']} | {c['skipped']} |" for suite, c in counts.items()]
    total = sum(counts.values(), Counter())
    lines += [f"| **all** | **{total['passed']}** | **{total['failed']}** | **{total['skipped']}** |", ""]
    lines += ["## Failures", "", "| suite | test | reason |", "|---|---|---|"]
    for row in rows:
        if row["outcome"] == "failed":
            reason = reason_of(row, reasons) or f"**not explained**: {row['message'][:200]}"
            lines.append(f"| {row['suite']} | `{row['test']}` | {reason.replace('|', '/')} |")
    lines += ["", "## Skipped", "", "What the tests themselves say.", "", "| tests | reason |", "|---|---|"]
    skipped = Counter(row["message"] for row in rows if row["outcome"] == "skipped")
    lines += [f"| {count} | {message[:160].replace('|', '/')} |" for message, count in skipped.most_common()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where transformers' tests are kept; default: a temporary folder")
    parser.add_argument("--output", type=Path, help="page to write; default: print the table only")
    parser.add_argument("-k", dest="chosen", help="only tests whose names match, as for pytest")
    args = parser.parse_args()
    reasons = json.loads((HERE / "reasons.json").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = run(fetch(folder.resolve()), ["-k", args.chosen] if args.chosen else [])
    page = (HERE / "page.md").read_text().format(version=transformers.__version__, table=table(rows, reasons))
    if args.output:
        args.output.write_text(page)
    print(table(rows, reasons))
    return int(any(row["outcome"] == "failed" and reason_of(row, reasons) is None for row in rows))


if __name__ == "__main__":
    sys.exit(main())
