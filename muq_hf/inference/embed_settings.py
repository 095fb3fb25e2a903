"""What makes two embeddings comparable, and its fingerprint."""

import dataclasses
from dataclasses import dataclass

from ..storage.fingerprint import fingerprint


@dataclass(frozen=True)
class EmbedSettings:
    """Everything that decides the numbers of an embedding. Device and batch size do not: they move the last digits only.

    Args:
        model: name under which the model was loaded (not part of the fingerprint: a moved folder is the same model).
        revision: commit on the Hub, or the start of `weights` for a local folder (not part of the fingerprint either).
        weights: SHA-256 of the configuration and the weights.
        dtype: type of the weights while running.
        layers: hidden states taken; 0 is the front end's output, `num_hidden_layers` the last one.
        pool: "mean", "std", "max", "mean+std", or "none" for frames.
        chunk_length_s: length of the audio of one row (s); None: one row per file.
        window_length_s: most audio that the model sees at once (s).
        stride_length_s: context on each side of a window, whose frames are dropped (s).
        version: of muq_hf, whose front end made the spectrogram.
    """

    model: str
    revision: str
    weights: str
    dtype: str
    layers: tuple[int, ...]
    pool: str
    chunk_length_s: float | None
    window_length_s: float
    stride_length_s: float
    version: str

    def to_dict(self) -> dict:
        return {**dataclasses.asdict(self), "layers": list(self.layers), "fingerprint": self.fingerprint}

    @classmethod
    def from_dict(cls, values: dict) -> "EmbedSettings":
        values = {**values, "layers": tuple(values["layers"])}
        values.pop("fingerprint", None)
        return cls(**values)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits: rows with the same fingerprint can be compared."""
        return fingerprint(self._compared())

    def require_same(self, stored: "EmbedSettings", where: str) -> None:
        """Raises ValueError that names what differs from the settings `stored` in an earlier output."""
        now, before = self._compared(), stored._compared()
        different = [f"{name} {before[name]!r} there, {now[name]!r} now" for name in now if before[name] != now[name]]
        if different:
            raise ValueError(
                f"{where} was made with other settings ({'; '.join(different)}): its embeddings cannot be mixed with new "
                "ones. Use the same settings, another --output, or --overwrite."
            )

    def _compared(self) -> dict:
        values = dataclasses.asdict(self)
        return {name: values[name] for name in values if name not in ("model", "revision")}
