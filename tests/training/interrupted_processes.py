"""Train without noise, one of the processes of torchrun, and stop in the middle: the rest is for another training."""

import os
import sys
from pathlib import Path

import torch
from stub_flow import GaussianFlow, invented, new_flow
from torch import Tensor

from crow.data.examples import Examples
from crow.data.sequences import Sequences
from crow.flows.conditional_flow import flow_of_masks
from crow.run.config import TrainingSettings
from crow.training import checkpoint
from crow.training.fit import train


class StoppedFlow(GaussianFlow):
    def loss(self, batch: Sequences) -> Tensor:
        if self.steps == int(sys.argv[3]):
            print(type(self).__name__, flush=True)
            os._exit(3)
        return super().loss(batch)


if __name__ == "__main__":
    torch.set_num_threads(1)
    checkpoint.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    settings = TrainingSettings.model_validate_json(sys.argv[2])
    masks = Examples((torch.rand(8, 1, 4, 4, 4) > 0.5).float(), torch.randn(8, 1, 4, 4, 4))
    once = settings.model_copy(update={"max_epochs": 1, "steps_per_epoch": 1, "batch_size": 4})
    train(flow_of_masks((1, 4, 4, 4), 1, 1, 1, 4), masks, masks, once, seed=3)  # weights are stored channels last
    flow = StoppedFlow(dropout=0.0)
    flow.load_state_dict(new_flow(0.0).state_dict())
    train(flow, invented(60, 1), invented(20, 2), settings, seed=3, folder=Path(sys.argv[1]))
