"""Numbers of hidden states, from either end."""

import numpy as np
import pytest

from muq_hf.models.layers_muq import hidden_state_indices


@pytest.mark.parametrize(
    "given, found", [(-1, [12]), (0, [0]), ([-13, 3, 3, -1], [0, 3, 3, 12]), ((12, 0), [12, 0]), (np.int64(5), [5])]
)
def test_layers_count_from_either_end(given, found):
    assert hidden_state_indices(given, 12) == found


@pytest.mark.parametrize("wrong", [13, -14, [], [0, 13], True, 1.5, "3", None, [None]])
def test_what_is_no_hidden_state_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=r"`layer` must name hidden states 0 \(front end\) to 12 \(last layer\)"):
        hidden_state_indices(wrong, 12, "layer")
