"""Runs the code blocks of a Markdown page in order, as a reader would paste them: Python in one session, bash beside it.

A block after the comment `<!-- not run: REASON -->` is shown only (it needs the Hub, a cluster or hours).

python pages.py PAGE.md    # in the folder where a reader would stand; exit code 1 names the block that failed
"""

import re
import subprocess
import sys
import traceback
from pathlib import Path


BLOCK = re.compile(
    r"(?P<skip><!-- not run: [^>]+ -->\n)?^```(?P<language>python|bash)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)


def blocks(page: str) -> list[tuple[int, str, str]]:
    """(line, language, code) of the blocks that are run."""
    found = [match for match in BLOCK.finditer(page) if not match["skip"]]
    return [(page[: match.start("code")].count("\n") + 1, match["language"], match["code"]) for match in found]


def run(path: Path) -> None:
    """Raises what a block raises, with its line; CalledProcessError for a bash block that fails."""
    session = {"__name__": "__main__"}
    for line, language, code in blocks(path.read_text(encoding="utf-8")):
        print(f"--- {path.name}:{line} ({language})", flush=True)
        if language == "bash":
            subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
        else:
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), session)


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]))
    except Exception:
        traceback.print_exc()
        sys.exit(1)
