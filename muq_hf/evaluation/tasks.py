"""A task: clips with labels of one kind, and the score that ranks models on it."""

from collections.abc import Sequence
from dataclasses import dataclass

from .clip import Clip


RETRIEVAL = "retrieval"  # the kind of a task whose labels name the track of a clip, and which needs no head


@dataclass(frozen=True)
class Task:
    """One thing that representations of music are compared by.

    Tasks on clips of one's own are made by `label_kinds.own_task`, which checks them.

    name: in tables. clips, label: which music, and the key of the labels to learn or to find.
    kind: one of `label_kinds.KINDS`, or "retrieval". primary: the score that ranks.
    equalised: clips are brought to one loudness and bandwidth first. redraw: the deviation over seeds holds the choice of
    validation music. summary: what is asked, in a line. real: recordings, not rendered scores.
    """

    name: str
    label: str
    kind: str
    primary: str
    clips: Sequence[Clip] = ()
    equalised: bool = False
    redraw: bool = False
    summary: str = ""
    real: bool = True

    def labels(self, clips: Sequence[Clip]) -> list:
        return [clip.labels[self.label] for clip in clips]
