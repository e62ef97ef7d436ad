"""Factor-out has the density of the split prior."""

from functools import partial

import torch
from bijections.contract import perturb

from crow.bijections.factor_out import FactorOut
from crow.bijections.priors import StandardPrior
from crow.networks.convolutional import ConvNet


def test_under_a_standard_normal_it_is_the_split_prior() -> None:
    layer = FactorOut((4, 2, 2), kept=1, context=3, subnet=partial(ConvNet, space=2, hidden=4)).double()
    perturb(layer)
    x, context = torch.randn(5, 4, 2, 2, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    z, log_det = layer(x, context)
    expected = StandardPrior((1, 2, 2)).log_prob(x[:, :1]) + layer.prior.log_prob(x[:, 1:], x[:, :1], context)
    torch.testing.assert_close(StandardPrior((16,)).log_prob(z) + log_det, expected)
    assert torch.equal(z[:, :4], x[:, :1].flatten(1))
