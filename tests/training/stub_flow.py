"""A small conditional density to train in tests: Gaussian, its mean and spread from a GRU over the past visits."""

import torch
from torch import Tensor, nn

from crow.data.sequences import Sequences


class GaussianFlow(nn.Module):
    """p(x_t | past, context) = N(m, exp(g)^2) per feature; dropout so that training needs randomness."""

    def __init__(self, features: int = 2, context: int = 1, hidden: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        self.memory = nn.GRU(features + context + 1, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, 2 * features)
        self.steps = 0
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def log_prob(self, batch: Sequences) -> Tensor:
        past = nn.functional.pad(batch.x, (0, 0, 1, 0))[:, :-1]
        h, _ = self.memory(torch.cat([past, batch.context, batch.time[..., None]], -1))
        m, g = self.head(self.dropout(h)).chunk(2, -1)
        normal = torch.distributions.Normal(m, g.exp(), validate_args=False)
        return normal.log_prob(batch.x).sum(-1) * batch.mask

    def loss(self, batch: Sequences) -> Tensor:
        self.steps += self.training
        return -self.log_prob(batch).sum() / batch.mask.sum()


def invented(subjects: int, seed: int, visits: int = 5) -> Sequences:
    """Subjects with their own level, 2 to ``visits`` visits, two features, one context feature."""
    generator = torch.Generator().manual_seed(seed)
    length = torch.randint(2, visits + 1, (subjects, 1), generator=generator)
    mask = torch.arange(visits) < length
    level = torch.randn(subjects, 1, 2, generator=generator)
    x = level + 0.3 * torch.randn(subjects, visits, 2, generator=generator)
    time = torch.rand(subjects, visits, generator=generator).cumsum(1)
    time = (time - time[:, :1]) * mask
    context = torch.randn(subjects, visits, 1, generator=generator) * mask[..., None]
    return Sequences(x * mask[..., None], context, time, mask)


def new_flow(dropout: float = 0.2) -> GaussianFlow:
    """The same flow every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GaussianFlow(dropout=dropout)
