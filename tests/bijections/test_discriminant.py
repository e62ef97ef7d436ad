"""The fit of the discriminant: Fisher's for labelled visits, improved by unlabelled ones."""

import torch
from bijections import contract
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor
from torch.nn.functional import one_hot

from crow.bijections.discriminant import Discriminant

MEAN = torch.tensor([[0.0, 0.0, 0.0], [1.5, 0.0, 1.0], [2.0, 2.0, 0.0]], dtype=torch.float64)
FACTOR = torch.tensor([[0.8, 0.0, 0.0], [0.3, 0.6, 0.0], [0.0, -0.4, 1.0]], dtype=torch.float64)


def subjects(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 3
    return MEAN[label] + torch.randn(n, 3, generator=generator, dtype=torch.float64) @ FACTOR.T, label


def fitted(x: Tensor, label: Tensor) -> Discriminant:
    found = Discriminant(3, 3).double()
    found.fit_semi_supervised(x, label, torch.arange(len(x)), torch.full((3,), 1 / 3))
    return found.requires_grad_(False)


def posterior(discriminant: Discriminant, x: Tensor) -> Tensor:
    every = torch.eye(3, dtype=x.dtype).expand(len(x), 3, 3)
    z, log_det = discriminant(x[:, None].expand(-1, 3, -1), every)
    return (log_det - z.square().sum(2) / 2).softmax(1)


def test_keeps_the_contract() -> None:
    x, label = subjects(90)
    classes = one_hot(label, 3).double()
    discriminant = fitted(x, label)
    contract.check_round_trip(discriminant, x[:4], classes[:4])
    contract.check_log_det(discriminant, x[:4], classes[:4])


def test_with_all_labels_it_is_linear_discriminant_analysis() -> None:
    x, label = subjects(3000)
    fisher = LinearDiscriminantAnalysis(priors=[1 / 3] * 3).fit(x.numpy(), label.numpy())
    new, _ = subjects(200, seed=1)
    expected = torch.from_numpy(fisher.predict_proba(new.numpy()))
    torch.testing.assert_close(posterior(fitted(x, label), new), expected, atol=0.01, rtol=0)


def test_unlabelled_visits_improve_it() -> None:
    x, label = subjects(600)
    few = torch.where(torch.arange(600) < 12, label, -1)
    new, truth = subjects(3000, seed=1)
    labelled, both = fitted(x[:12], label[:12]), fitted(x, few)

    def nats(discriminant: Discriminant) -> float:
        return float(-posterior(discriminant, new).gather(1, truth[:, None]).log().mean())

    assert nats(both) < 0.8 * nats(labelled)
    assert torch.allclose(both.effect.mT, MEAN, atol=0.35)
    assert torch.allclose(both.factor, FACTOR, atol=0.15)


def test_one_visit_per_class_leaves_a_positive_sd() -> None:
    x, label = subjects(3)
    z, log_det = fitted(x, label)(x, one_hot(label, 3).double())
    assert bool(z.isfinite().all() and log_det.isfinite().all())
