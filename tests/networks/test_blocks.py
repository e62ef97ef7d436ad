"""Networks that are applied block by block give what they give for the whole image, with the memory of a block."""

import pytest
import torch
from bijections import contract
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from crow.flows.cinn import CINN
from crow.flows.conditional_flow import ConditionalFlow, flow_of_masks, resized
from crow.networks import blocks
from crow.networks.conditioning import ConditioningNetwork, WideTrunk, positions_of
from crow.networks.convolutional import ConvNet


class LargestActivation(TorchDispatchMode):
    """The number of values of the largest result of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if "convolution" in str(func) and isinstance(out, Tensor):
            self.values = max(self.values, out.numel())
        return out


@pytest.mark.parametrize("net", ["convolutions", "heads"])
@pytest.mark.parametrize("sizes", [(36, 20), (20, 12, 28)])
def test_blocks_are_the_parts_of_the_whole(
    net: str, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    space, x = len(sizes), torch.randn(2, 3, *sizes)
    model: nn.Module = ConvNet(3, 2, space, hidden=4, zero=False)
    if net == "heads":
        model = ConditioningNetwork.of_images(3, 2, [0, 1, 2], space, hidden=4)
        model = ConditioningNetwork(WideTrunk(3, 4, space), model.heads, multiple=4)
    whole = model(x)
    monkeypatch.setattr(blocks, "BLOCK", 8)
    with torch.no_grad():
        parts = model(x)
    for one, other in zip(whole if net == "heads" else [whole], parts if net == "heads" else [parts], strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["greys", "masks", "cinn"])
def test_the_memory_of_a_draw_is_that_of_a_block(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest activation does not grow with the image, and draws are those of the whole image."""
    torch.manual_seed(0)

    def flow_for(size: int) -> nn.Module:
        torch.manual_seed(0)
        if kind == "cinn":
            return CINN((1, size, size), (1, size, size), 1, 1, hidden=16, features=4)
        if kind == "masks":
            return resized(flow_of_masks((1, 4, 4), 1, 1, 1, hidden=8, features=4), size, size)
        return ConditionalFlow((1, size, size), 1, 1, 1, hidden=16, features=4)

    largest = {}
    for size in (64, 96):
        flow, context = flow_for(size).eval(), torch.randn(1, 1, size, size)
        contract.perturb(flow)
        drawn = flow.sample(context, 1, torch.Generator().manual_seed(0))
        monkeypatch.setattr(blocks, "BLOCK", 8)
        with LargestActivation() as activation:
            again = flow.sample(context, 1, torch.Generator().manual_seed(0))
        monkeypatch.undo()
        if kind == "masks":
            assert float((again != drawn).float().mean()) < 1e-3
        else:
            torch.testing.assert_close(again, drawn, atol=1e-3, rtol=1e-3)
        largest[size] = activation.values
    assert largest[96] == largest[64]


def test_a_patch_brings_the_positions_of_its_image() -> None:
    """Far from its border, features of a patch are those of the image."""
    torch.manual_seed(0)
    trunk, image = WideTrunk(1, 4, 2), torch.randn(1, 1, 40, 40)
    of_patches = WideTrunk(3, 4, 2, positions=False)
    of_patches.load_state_dict(trunk.state_dict())
    places = positions_of((40, 40))[None]
    patch = torch.cat([image, places], 1)[..., 10:34, 10:34]
    torch.testing.assert_close(of_patches(patch)[..., 8:16, 8:16], trunk(image)[..., 18:26, 18:26])
