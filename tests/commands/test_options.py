"""What commands name without torch is what the rooms below name."""

from muq_hf.commands import options, probe
from muq_hf.evaluation import probes
from muq_hf.models import pooling_muq


def test_poolings_and_probes_are_those_that_there_are():
    assert options.POOLS == pooling_muq.POOLS and probe.PROBES == probes.PROBES
