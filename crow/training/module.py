"""A flow in training: its steps, its optimiser, and the weights that are evaluated."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crow.bijections.reversible import ReversibleChain
from crow.data.examples import Examples
from crow.data.sequences import Sequences
from crow.errors import ConfigError
from crow.flows.voxel_level import VoxelLevel
from crow.networks.conditioning import WideTrunk
from crow.networks.convolutional import ConvNet
from crow.run.config import Optimisation, TrainingSettings
from crow.seeds import SeedStream, derived_seed
from crow.training.batches import drop_values, drop_visits
from crow.training.optimiser import make_optimiser, make_schedule


class FlowModule(pl.LightningModule):
    """Minimises ``flow.loss`` by AdamW.

    The learning rate follows one cycle or the published decay; the weights may be averaged. The noise of an epoch
    depends only on (seed, epoch), so an epoch is the same in a resumed run.
    """

    def __init__(self, flow: nn.Module, settings: Optimisation, max_epochs: int, seed: int) -> None:
        super().__init__()
        set_precision(flow, settings.precision)
        self.flow, self.settings, self.seed = flow, settings, seed
        self.max_epochs = max_epochs
        self.average: AveragedModel | None = None
        if settings.ema_decay:
            self.average = AveragedModel(flow, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
            self.average.update_parameters(flow)
            self.average.requires_grad_(False)
        self.train_loss = _Mean()
        self.validation_loss = _Mean()
        self.validation_halves = (_Mean(), _Mean())

    def configure_model(self) -> None:
        """Share the weights between processes, with ``strategy: fsdp``. Lightning may call this more than once."""
        if not isinstance(self.trainer.strategy, ModelParallelStrategy) or isinstance(self.flow, FSDPModule):
            return
        assert self.device_mesh is not None
        for flow in (self.flow, self.evaluated):
            if not isinstance(flow, FSDPModule):
                for weight in flow.parameters():  # those of convolutions are stored channels last, which it refuses
                    weight.data = weight.data.contiguous()
                fully_shard(flow, mesh=self.device_mesh["data_parallel"], reshard_after_forward=True)
                register_fsdp_forward_method(flow, "loss")

    @property
    def evaluated(self) -> nn.Module:
        """The flow whose validation loss counts: the one with averaged weights, if there is one."""
        return self.flow if self.average is None else self.average.module

    def on_train_epoch_start(self) -> None:
        own = [self.global_rank] if self.global_rank else []
        torch.manual_seed(derived_seed(self.seed, self.current_epoch, SeedStream.TRAINING_NOISE, *own))

    def training_step(self, batch: Sequences | Examples) -> Tensor:
        if isinstance(self.settings, TrainingSettings) and self.settings.visit_dropout:
            assert isinstance(batch, Sequences)
            batch = drop_visits(batch, self.settings.visit_dropout)
        if isinstance(self.settings, TrainingSettings) and self.settings.value_dropout:
            assert isinstance(batch, Sequences)
            if batch.x.ndim == 3 and batch.x.shape[2] > 1:
                batch = drop_values(batch, self.settings.value_dropout)
        loss: Tensor = self.flow.loss(batch)  # type: ignore[operator]
        loss = self._share_of(loss, batch)
        self.train_loss.add(loss, 1)
        return loss

    def _share_of(self, loss: Tensor, batch: Sequences | Examples) -> Tensor:
        """The loss times this process's share of the visits: its mean over processes is the mean over all visits."""
        if self.trainer.world_size == 1:
            return loss
        own = torch.tensor(float(batch.count), device=loss.device)
        mean = self.trainer.strategy.reduce(own.clone(), reduce_op="mean")
        return loss * (own / mean)

    def on_train_batch_end(self, *_: Any) -> None:
        if self.average is not None:
            self.average.update_parameters(self.flow)

    def on_validation_epoch_start(self) -> None:
        torch.manual_seed(self.seed)

    def validation_step(self, batch: Sequences | Examples, batch_idx: int) -> None:
        loss: Tensor = self.evaluated.loss(batch)  # type: ignore[operator]
        for mean in (self.validation_loss, self.validation_halves[batch_idx % 2]):
            mean.add(loss, batch.count)

    def configure_optimizers(self) -> Any:
        optimizer = make_optimiser(self.flow.named_parameters(), self.settings)
        interval = "epoch" if self.settings.schedule == "published" else "step"
        schedule = make_schedule(optimizer, self.settings, self.max_epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": interval}}


def set_precision(flow: nn.Module, precision: str) -> None:
    """Let the convolutional networks of a flow train in bfloat16, if ``precision`` is bf16-mixed.

    Everything else, such as log-determinants, stays in float32, and so does evaluation. Not by Lightning's plugin: it
    would round the values of the flow itself. Raises ConfigError for a flow that cannot train so.
    """
    if precision != "bf16-mixed":
        return
    networks = [module for module in flow.modules() if isinstance(module, ConvNet | WideTrunk | VoxelLevel)]
    if not networks:
        raise ConfigError("training.precision bf16-mixed: for models of scans; this one is of a table. Leave it out.")
    if any(isinstance(module, ReversibleChain) for module in flow.modules()):
        raise ConfigError(
            "training.precision bf16-mixed: rounded networks cannot be inverted exactly, which memory reversible "
            "needs. Use scans.voxels.memory=checkpoint."
        )
    for network in networks:
        network.precision = "bfloat16"


class _Mean:
    """A weighted mean that copies from the device only when it is read.

    Not torchmetrics' MeanMetric: it either waits for the device at every step, to look for NaN, or ignores the weights.
    """

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.weight: Tensor | float = 0.0

    def add(self, value: Tensor, weight: Tensor | float) -> None:
        self.total = self.total + value.detach() * weight
        self.weight = self.weight + weight

    def take(self) -> float:
        """The mean so far (NaN if there is none); resets it."""
        mean = float(self.total / self.weight) if self.weight else float("nan")
        self.total = self.weight = 0.0
        return mean
