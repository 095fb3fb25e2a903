"""Which hidden states: their numbers, counted from either end."""

from collections.abc import Sequence
from operator import index


def hidden_state_indices(layers: int | Sequence[int], num_hidden_layers: int, name: str = "layers") -> list[int]:
    """Numbers of hidden states, negative ones from the end → the same from 0, in their order.

    0 is the front end's output, `num_hidden_layers` that of the last layer. name: of the argument, for the message.
    Raises ValueError for an empty list, for numbers that do not exist and for what is no whole number.
    """
    given = list(layers) if isinstance(layers, (list, tuple, set)) else [layers]
    total = num_hidden_layers + 1
    try:
        indices = [index(layer) for layer in given if not isinstance(layer, bool)]
    except TypeError:
        indices = []
    if not indices or len(indices) < len(given) or any(not -total <= layer < total for layer in indices):
        raise ValueError(
            f"`{name}` must name hidden states 0 (front end) to {num_hidden_layers} (last layer), or −1 for the last and so on; "
            f"got {layers!r}."
        )
    return [layer % total for layer in indices]
