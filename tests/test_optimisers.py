"""The optimisers are torch's, without its compiler."""

import subprocess
import sys

import pytest
import torch

from crow.optimisers import without_compiler

IMPORTED = """
import sys
import torch
from crow.optimisers import LBFGS, AdamW
weight = torch.nn.Parameter(torch.ones(2))
for kind in (AdamW, LBFGS):
    optimiser = kind([weight])
    weight.square().sum().backward()
    optimiser.step(lambda: weight.square().sum())
    optimiser.zero_grad()
    optimiser.load_state_dict(optimiser.state_dict())
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.LBFGS])
def test_steps_are_those_of_torch(kind: type[torch.optim.Optimizer]) -> None:
    found = []
    for each in (kind, without_compiler(kind)):
        weight = torch.nn.Parameter(torch.tensor([3.0, -1.0]))
        optimiser = each([weight], lr=0.1)  # type: ignore[call-arg]

        def loss() -> float:
            optimiser.zero_grad()  # noqa: B023
            value = (weight - 1).square().sum()  # noqa: B023
            value.backward()  # type: ignore[no-untyped-call]
            return float(value.detach())

        for _ in range(3):
            optimiser.step(loss)
        found.append((weight.detach(), optimiser.state_dict()["param_groups"]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_the_compiler_of_torch_is_not_imported() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
