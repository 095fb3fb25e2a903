"""One row of docs/versions.md: the jobs of one way to get the models, beside whatever transformers is installed.

    python benchmarks/versions_jobs.py installed|local|hub MUQ MULAN REFERENCE SCRATCH

MUQ and MULAN are folders or Hub ids. Prints one JSON object a job: {"job", "error"}; started by `versions.py`.
"""

import json
import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
CLIPS = [str(ROOT / "examples" / "audio" / f"{name}.ogg") for name in ("bach_brandenburg", "metal_ezer_ev")]
TEXTS = ["a baroque orchestra", "heavy metal"]
ATOL = 1e-4  # a padded batch, on another version of the libraries
SECONDS = (3.0, 2.0)  # of the two clips


def waves(rate: int = 24_000) -> list:
    """The two clips [S] at `rate` by soundfile and soxr, without this package."""
    import soundfile
    import soxr

    read = [soundfile.read(clip, dtype="float32", always_2d=True) for clip in CLIPS]
    lengths = [round(seconds * rate) for seconds in SECONDS]
    return [soxr.resample(x.mean(axis=1), r, rate)[:length] for (x, r), length in zip(read, lengths, strict=True)]


class Jobs:
    """Each public method is a job; it raises what goes wrong."""

    def __init__(self, way: str, muq: str, mulan: str, reference: str, scratch: str):
        self.muq, self.mulan, self.scratch = muq, mulan, Path(scratch)
        self.reference, self.installed = reference, way == "installed"
        self.trust = {} if self.installed else {"trust_remote_code": True}

    def load(self, auto_class: str, place: str | Path, **options):
        import transformers

        return getattr(transformers, auto_class).from_pretrained(str(place), **options, **self.trust)

    def expect(self, name: str, found) -> None:
        import torch
        from safetensors.torch import load_file

        torch.testing.assert_close(found.detach().float(), load_file(self.reference)[name], atol=ATOL, rtol=0)

    def batch(self):
        return self.load("AutoFeatureExtractor", self.muq)(waves(), sampling_rate=24_000, return_tensors="pt")

    def mulan_inputs(self):
        processor = self.load("AutoProcessor", self.mulan)
        return processor(text=TEXTS, audio=waves(), sampling_rate=24_000, return_tensors="pt")

    def configuration(self):
        assert self.load("AutoConfig", self.muq).model_type == "muq"
        assert self.load("AutoConfig", self.mulan).model_type == "muq_mulan"

    def features(self):
        self.expect("states", self.load("AutoModel", self.muq)(**self.batch()).last_hidden_state)

    def pretraining(self):
        model = self.load("AutoModelForPreTraining", self.muq)
        model(self.batch()["input_values"]).loss.backward()

    def classification(self):
        import torch

        model = self.load("AutoModelForAudioClassification", self.muq, num_labels=3)
        model(**self.batch(), labels=torch.tensor([0, 2])).loss.backward()

    def frame_classification(self):
        model = self.load("AutoModelForAudioFrameClassification", self.muq, num_labels=2)
        assert model(**self.batch()).logits.shape[2] == 2

    def pipeline(self):
        from transformers import pipeline

        assert pipeline("feature-extraction", model=self.muq, **self.trust)(CLIPS[0], return_tensors=True).isfinite().all()

    def attention(self):
        model = self.load("AutoModel", self.muq, attn_implementation="eager")
        self.expect("states", model(**self.batch()).last_hidden_state)
        model.set_attn_implementation("sdpa")
        self.expect("states", model(**self.batch()).last_hidden_state)

    def bfloat16(self):
        import torch

        states = self.load("AutoModel", self.muq, dtype=torch.bfloat16)(**self.batch()).last_hidden_state
        assert states.dtype == torch.bfloat16 and states.isfinite().all()

    def saving(self):
        import torch

        model = self.load("AutoModel", self.muq)
        model.save_pretrained(self.scratch / "saved")
        again = self.load("AutoModel", self.scratch / "saved")
        assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))

    def mulan_both(self):
        output = self.load("AutoModel", self.mulan)(**self.mulan_inputs())
        self.expect("similarity", output.text_embeds @ output.audio_embeds.T)

    def mulan_pipeline(self):
        from transformers import pipeline

        embed = pipeline("feature-extraction", model=self.mulan, **self.trust)
        assert embed(CLIPS[0], return_tensors=True).shape == embed({"text": TEXTS[0]}, return_tensors=True).shape

    def zero_shot(self):
        from transformers import pipeline

        tag = pipeline("zero-shot-audio-classification", model=self.mulan, **self.trust)
        assert len(tag(waves()[0], candidate_labels=["orchestra", "techno"])) == 2

    def sentence_transformers(self):
        import torch

        self.load("AutoConfig", self.mulan)  # before a library whose own limits could be met first
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(self.mulan, **self.trust)
        music = model.encode([{"array": wave, "sampling_rate": 44_100} for wave in waves(44_100)], convert_to_tensor=True)
        found = model.encode(TEXTS, convert_to_tensor=True) @ music.T
        from safetensors.torch import load_file

        torch.testing.assert_close(found.cpu(), load_file(self.reference)["similarity"], atol=0.01, rtol=0)

    def trainer(self):
        model = self.load("AutoModelForAudioClassification", self.muq, num_labels=2)
        from transformers import Trainer, TrainingArguments

        batch = self.batch()
        items = [{name: values[i] for name, values in batch.items()} | {"labels": i} for i in range(2)]
        arguments = TrainingArguments(self.scratch / "run", max_steps=2, save_steps=2, use_cpu=True, report_to="none")
        assert Trainer(model, arguments, train_dataset=items).train().training_loss > 0

    def published_format(self):
        from muq_hf import MuQModel, MuQMuLanModel

        assets = ROOT / "tests" / "assets"
        MuQModel.from_pretrained(assets / "published_tiny")
        MuQMuLanModel.from_pretrained(assets / "published_mulan_tiny")

    def compat(self):
        import torch

        from muq_hf.compat import MuQ, MuQMuLan

        MuQ.from_pretrained(self.muq)(torch.from_numpy(waves()[0])[None])
        mulan = MuQMuLan.from_pretrained(self.mulan)
        assert mulan.calc_similarity(mulan(wavs=list(map(torch.from_numpy, waves()))), mulan(texts=TEXTS)).shape == (2, 2)

    def commands(self):
        table = str(self.scratch / "songs.parquet")
        for arguments in (["embed", *CLIPS, "--mulan", "--output", table], ["search", "heavy metal", "--index", table]):
            command = [sys.executable, "-m", "muq_hf", *arguments]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])


WITH_THE_PACKAGE = ("published_format", "compat", "commands")
JOBS = [name for name in vars(Jobs) if not name.startswith("_") and name not in ("load", "expect", "batch", "mulan_inputs")]


def main() -> None:
    way = sys.argv[1]
    if way != "installed":
        sys.modules["muq_hf"] = None
    jobs = Jobs(*sys.argv[1:])
    for name in JOBS:
        if name in WITH_THE_PACKAGE and way != "installed":
            continue
        error = None
        try:
            if way == "installed":
                import muq_hf  # noqa: F401
            getattr(jobs, name)()
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        print(json.dumps({"job": name, "error": error}), flush=True)


if __name__ == "__main__":
    main()
