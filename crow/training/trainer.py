"""The Lightning trainer: without its own output, and interruptible by Ctrl-C."""

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from crow.extras import installed
from crow.processes import by_torchrun, processes
from crow.run.config import Optimisation
from crow.training.best_checkpoint import AtomicCheckpointIO, BestCheckpoint
from crow.training.data import BatchData
from crow.training.module import FlowModule
from crow.training.progress import EpochLine


def make_trainer(
    best_checkpoint: BestCheckpoint, settings: Optimisation, folder: Path | None, label: str, progress: bool
) -> pl.Trainer:
    """A trainer that may show a progress line and writes events to ``folder`` under ``label`` for TensorBoard.

    There are no events if TensorBoard is not installed.
    """
    logger = TensorBoardLogger(folder, name="logs", version=label) if folder and installed("tensorboard") else False
    wanted = processes(settings.devices, settings.num_nodes)
    # Under SLURM, Lightning's default environment would requeue from the checkpoint of another member.
    environment = TorchElasticEnvironment() if by_torchrun() else LightningEnvironment()
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=wanted.devices,
        num_nodes=wanted.nodes,
        strategy=_strategy(settings, wanted.total),
        use_distributed_sampler=False,  # `BatchData` divides every batch
        max_epochs=best_checkpoint.history.max_epochs,
        gradient_clip_val=settings.gradient_clip,
        num_sanity_val_steps=0 if best_checkpoint.history.rows else -1,
        callbacks=[best_checkpoint, *([_Line(EpochLine(label, [best_checkpoint.history]))] if progress else [])],
        logger=logger,
        log_every_n_steps=settings.steps_per_epoch,
        plugins=[AtomicCheckpointIO(), environment],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_autolog_hparams=False,
        inference_mode=False,
    )


def _strategy(settings: Optimisation, count: int) -> Strategy | str:
    if count == 1:
        return "auto"
    if settings.strategy == "fsdp":
        return ModelParallelStrategy(count, tensor_parallel_size=1, save_distributed_checkpoint=False)
    return DDPStrategy(find_unused_parameters=True)


def run_trainer(trainer: pl.Trainer, module: FlowModule, data: BatchData, checkpoint: Path | None) -> bool:
    """Train, from ``checkpoint`` if there is one; True if the user interrupted it with Ctrl-C."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # Lightning turns Ctrl-C into SystemExit and leaves the signal ignored.
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        return True
    return False


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Lightning's log messages and warnings."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(level)


class _Line(pl.Callback):
    """Shows an `EpochLine`."""

    def __init__(self, line: EpochLine) -> None:
        self.line = line

    def on_train_start(self, *_: Any) -> None:
        self.line.start()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.line.show()

    def on_train_end(self, *_: Any) -> None:
        self.line.stop()

    def on_exception(self, *_: Any) -> None:
        self.line.stop()
