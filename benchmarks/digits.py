"""Scikit-learn's handwritten digits for the benchmarks of the flows of one visit, and a judge that is trained apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC
from torch import Tensor

LEVELS = 17


@dataclass(frozen=True)
class Digits:
    """Images ``[n, 1, 8, 8]`` of levels 0 to 16 and their classes, for training and for testing, and the judge."""

    train: Tensor
    train_label: Tensor
    test: Tensor
    test_label: Tensor
    judge: SVC

    def judged(self, images: Tensor) -> np.ndarray:
        """What the judge takes ``[n, 1, 8, 8]`` for."""
        return self.judge.predict(images.flatten(1).numpy())


def load(seed: int, test: int = 300) -> Digits:
    """A split of the 1,797 digits by ``seed``, and a judge that is trained on the training images by another method."""
    x, y = load_digits(return_X_y=True)
    train, held, train_y, held_y = train_test_split(x, y, test_size=test, stratify=y, random_state=seed)
    judge = SVC(gamma=0.001, C=10).fit(train, train_y)

    def images(flat: np.ndarray) -> Tensor:
        return torch.from_numpy(flat.astype(np.float32)).view(-1, 1, 8, 8)

    return Digits(images(train), torch.from_numpy(train_y), images(held), torch.from_numpy(held_y), judge)
