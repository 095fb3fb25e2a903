"""MuQ-MuLan as a reward: how well a generated clip fits its prompt, in the form that TRL's trainers take as `reward_funcs`.

    python examples/music_reward.py examples/audio/metal_ezer_ev.ogg "heavy metal"     # the reward of one file

    from trl import GRPOTrainer
    trainer = GRPOTrainer(model=..., reward_funcs=MusicReward(), train_dataset=prompts, ...)

TRL calls a reward with the batch's `prompts` and `completions`, and other columns by name, and wants a number for each, or None
for what cannot be judged. A completion here is what the generator made: a path, or samples [S] at `sampling_rate`; either may be
the content of the last message, as in TRL's chats.
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch

from muq_hf import MuQMuLanModel, MuQMuLanProcessor
from muq_hf.audio import check_audible, load_audio
from muq_hf.checkpoints import MUQ_MULAN_TINY
from muq_hf.models.decoding_muq import resample


class MusicReward:
    """`reward(prompts, completions)` → the cosine of each clip with its prompt, from −1 to 1.

    against: sentences that no clip should gain by, such as ["music", "a recording"]: the mean cosine with them is subtracted, so
    that what fits any words is no way to a reward.
    """

    __name__ = "music_reward"  # TRL logs rewards by it

    def __init__(
        self, model: str = MUQ_MULAN_TINY, sampling_rate: int = 24_000, against: Sequence[str] = (), device: str = "cpu"
    ):
        self.model = MuQMuLanModel.from_pretrained(model).eval().to(device)
        self.processor = MuQMuLanProcessor.from_pretrained(model)
        self.sampling_rate, self.against = sampling_rate, list(against)

    @torch.inference_mode()
    def __call__(self, prompts, completions, **columns) -> list[float | None]:
        waves = [self._wave(_content(completion)) for completion in completions]
        judged = [index for index, wave in enumerate(waves) if wave is not None]
        rewards: list[float | None] = [None] * len(waves)
        if judged:
            rate = self.processor.feature_extractor.sampling_rate
            audio = self.processor(audio=[waves[index] for index in judged], sampling_rate=rate, return_tensors="pt")
            music = self.model.get_audio_features(**audio.to(self.model.device)).pooler_output
            cosines = (music * self._words([_content(prompts[index]) for index in judged])).sum(dim=1)
            if self.against:
                cosines = cosines - (music @ self._words(self.against).T).mean(dim=1)
            for index, cosine in zip(judged, cosines.tolist(), strict=True):
                rewards[index] = cosine
        return rewards

    def _words(self, texts: list[str]) -> torch.Tensor:
        inputs = self.processor(text=texts, return_tensors="pt", padding=True).to(self.model.device)
        return self.model.get_text_features(**inputs).pooler_output

    def _wave(self, completion) -> np.ndarray | None:
        """[S] at the model's rate; None for silence and what cannot be read."""
        rate = self.processor.feature_extractor.sampling_rate
        try:
            if isinstance(completion, str):
                wave = load_audio(completion, rate)
            else:
                wave = resample(np.asarray(completion, dtype=np.float32), self.sampling_rate, rate)
            check_audible(len(wave), np.abs(wave).max(initial=0.0), self.model.config.audio_config.min_samples)
        except ValueError:
            return None
        return wave


def _content(turn):
    """What a prompt or completion says: itself, or of a chat its last message."""
    is_chat = isinstance(turn, list) and turn and isinstance(turn[-1], dict)
    return turn[-1]["content"] if is_chat else turn


if __name__ == "__main__":
    path, prompt = sys.argv[1:3]
    print(MusicReward()([prompt], [path])[0])
