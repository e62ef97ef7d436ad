"""Optimisers of torch without its compiler."""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def without_compiler(optimiser: type[Kind]) -> type[Kind]:
    """The optimiser without the wrappers that keep `torch.compile` from looking into it.

    They import the compiler, which takes longer than the training on a small table. Nothing else changes.

    Examples
    --------
    >>> import torch
    >>> weight = torch.nn.Parameter(torch.tensor([3.0]))
    >>> search = without_compiler(torch.optim.AdamW)([weight], lr=0.1)
    >>> weight.square().sum().backward()
    >>> search.step()
    >>> bool(weight < 3)
    True
    """
    plain = {name: inspect.unwrap(getattr(optimiser, name)) for name in METHODS}
    plain["step"] = torch.no_grad()(inspect.unwrap(optimiser.step))
    return type(optimiser.__name__, (optimiser,), plain)


AdamW = without_compiler(torch.optim.AdamW)
LBFGS = without_compiler(torch.optim.LBFGS)
