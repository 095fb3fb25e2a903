"""Tags of recordings by MusiCNN, for captions: a listener's guess for each track where its package names one style for all.

    pip download --no-deps musicnn
    python tag_recordings.py WORK/music.jsonl WORK/musicnn_tags.jsonl

Both of its models are asked (50 tags of MagnaTagATune, 50 of the Million Song Dataset), over 30 s of the middle of each track.
The tags are pseudo-labels: MusiCNN is right more often than not, and no person checked them. A second run goes on where the first
was cut off.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from muq_hf.audio import load_audio
from muq_hf.storage.json_lines import read_json_lines


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
from musicnn import MSD_TAGS, MTT_TAGS, SAMPLING_RATE, MusiCNN, MusiCNNMSD  # noqa: E402


SECONDS = 30.0
THRESHOLD, MOST = 0.15, 6  # probability of a tag, and tags of each model, at which a track has it
SPELLING = {  # tags of one meaning → the field's word; those of no use in a caption → None
    "vocals": "vocal", "singing": "vocal", "voice": "vocal", "woman": "female vocal", "female": "female vocal",
    "female voice": "female vocal", "female vocalists": "female vocal", "female vocalist": "female vocal", "man": "male vocal",
    "male": "male vocal", "male voice": "male vocal", "male vocalists": "male vocal", "no vocals": "no vocal",
    "no voice": "no vocal", "choral": "choir", "classic": "classical", "beats": "beat", "Hip-Hop": "hip hop",
    "Mellow": "mellow", "House": "house", "Progressive rock": "progressive rock", "rnb": "r&b", "chill": "chillout",
    "weird": None, "00s": None, "60s": None, "70s": None, "80s": None, "90s": None, "beautiful": None, "sexy": None,
    "catchy": None, "oldies": None,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", type=Path, help="manifest with path and duration of every recording")
    parser.add_argument("output", type=Path, help="gets a line for each: path, tags")
    arguments = parser.parse_args()
    done = {row["path"] for row in read_json_lines(arguments.output)} if arguments.output.exists() else set()
    listeners = [(MusiCNN(), MTT_TAGS), (MusiCNNMSD(), MSD_TAGS)]
    waiting = [row for row in read_json_lines(arguments.music) if row["path"] not in done]
    with arguments.output.open("a", encoding="utf-8") as output:
        for row in tqdm(waiting, unit="track", dynamic_ncols=True):
            start = max(0.0, (row["duration"] - SECONDS) / 2)
            wave = load_audio(row["path"], SAMPLING_RATE, start=start, end=min(start + SECONDS, row["duration"]))
            found = [tag for model, names in listeners for tag in likely(model.tags(wave[None])[0], names)]
            output.write(json.dumps({"path": row["path"], "tags": list(dict.fromkeys(found))}) + "\n")
            output.flush()


def likely(probabilities: np.ndarray, names: list[str]) -> list[str]:
    """At most `MOST` tags above `THRESHOLD`, the likeliest first, in the spelling of the captions."""
    order = np.argsort(-probabilities)[:MOST]
    tags = [SPELLING.get(names[index], names[index]) for index in order if probabilities[index] > THRESHOLD]
    return [tag for tag in tags if tag]


if __name__ == "__main__":
    main()
