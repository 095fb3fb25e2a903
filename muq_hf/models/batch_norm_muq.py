"""Batch norms whose running statistics stay as they are once their weights are frozen."""

import torch.nn.functional as F
from torch import nn


class _KeepsStatisticsWhenFrozen:
    """Goes before a batch norm in the bases: with a frozen weight it computes in training what it computes in evaluation.

    Adapters save no running statistics, and a frozen base model is not saved at all: statistics that moved while these were
    trained would be lost, and what is loaded again would be another model than the one that was trained.
    """

    def forward(self, x):
        if self.training and not self.weight.requires_grad:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(x)


class FreezableBatchNorm1d(_KeepsStatisticsWhenFrozen, nn.BatchNorm1d):
    pass


class FreezableBatchNorm2d(_KeepsStatisticsWhenFrozen, nn.BatchNorm2d):
    pass
