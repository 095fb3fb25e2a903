"""Batch norms whose running statistics stay as they are once their weights are frozen."""

import torch.nn.functional as F
from torch import nn


class _KeepsStatisticsWhenFrozen:
    """Mixin for a batch norm: while its weight is frozen, training computes the same as evaluation.

    An adapter file holds no running statistics. If they moved during the training of an adapter, the base model that it is
    loaded onto later would not be the one that it was trained with.
    """

    def forward(self, x):
        if self.training and not self.weight.requires_grad:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(x)


class FreezableBatchNorm1d(_KeepsStatisticsWhenFrozen, nn.BatchNorm1d):
    pass


class FreezableBatchNorm2d(_KeepsStatisticsWhenFrozen, nn.BatchNorm2d):
    pass
