"""The GRU over packed sequences, against that of torch."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from crow.networks.packed_gru import Steps
from crow.networks.packing import Packing

LENGTHS = (4, 3, 3, 2, 1)
SHAPE = (len(LENGTHS), max(LENGTHS))


class Remember(nn.Module):
    """The states before and after each visit."""

    def __init__(self, memory: nn.GRU, packing: Packing) -> None:
        super().__init__()
        self.memory, self.packing = memory, packing

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.packing.remember(self.memory, self.packing.pack(x)), 1)


def packing() -> Packing:
    sizes = [sum(length > t for length in LENGTHS) for t in range(SHAPE[1])]
    at = [row * SHAPE[1] + t for t, size in enumerate(sizes) for row in range(size)]
    return Packing(torch.tensor(at), Steps(sizes, torch.device("cpu")), SHAPE)


def test_several_grus_at_once_are_those_of_torch_with_their_gradients() -> None:
    torch.manual_seed(0)
    layout = packing()
    memories = [nn.GRU(6, 7, batch_first=True).double() for _ in range(3)]
    x = torch.randn(3, *SHAPE, 6, dtype=torch.float64, requires_grad=True)
    to = torch.randn(3, 2, len(layout.at), 7, dtype=torch.float64)
    expected = []
    for memory, own in zip(memories, x, strict=True):
        after, _ = memory(own)
        before = torch.cat([torch.zeros_like(after[:, :1]), after[:, :-1]], 1)
        expected.append(torch.stack([v.flatten(0, 1)[layout.at] for v in (before, after)]))
    (torch.stack(expected) * to).sum().backward()
    expected_gradient, x.grad = x.grad, None

    frame = Remember(nn.GRU(6, 7, batch_first=True).double(), layout)
    named = [dict(memory.named_parameters(prefix="memory")) for memory in memories]
    weights = {name: torch.stack([own[name] for own in named]).detach().requires_grad_() for name in named[0]}
    found = functional_call(frame, weights, (x,))
    torch.testing.assert_close(found, torch.stack(expected))
    (found * to).sum().backward()
    torch.testing.assert_close(x.grad, expected_gradient)
    for name, weight in weights.items():
        torch.testing.assert_close(weight.grad, torch.stack([own[name].grad for own in named]))


def test_unpacked_values_are_where_they_were() -> None:
    layout = packing()
    x = torch.randn(3, *SHAPE, 2)
    there = torch.arange(SHAPE[1]) < torch.tensor(LENGTHS)[:, None]
    for packed in (layout.pack(x), layout.take(x.flatten(0, 1))):
        torch.testing.assert_close(layout.unpack(packed).view_as(x), x * there[..., None], rtol=0, atol=0)
