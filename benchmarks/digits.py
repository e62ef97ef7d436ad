"""Scikit-learn's handwritten digits for the benchmarks of cross-sectional flows, and an independent classifier."""

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
    """Images ``[n, 1, 8, 8]`` of levels 0 to 16 and their classes, in a training and a test set, and a classifier."""

    train: Tensor
    train_label: Tensor
    test: Tensor
    test_label: Tensor
    classifier: SVC

    def classify(self, images: Tensor) -> np.ndarray:
        """The class of every image ``[n, 1, 8, 8]``, by the independent classifier."""
        return self.classifier.predict(images.flatten(1).numpy())


def load(seed: int, test: int = 300) -> Digits:
    """A split of the 1,797 digits by ``seed``, and a support vector machine trained on the training images."""
    x, y = load_digits(return_X_y=True)
    train, test_x, train_y, test_y = train_test_split(x, y, test_size=test, stratify=y, random_state=seed)
    classifier = SVC(gamma=0.001, C=10).fit(train, train_y)

    def images(flat: np.ndarray) -> Tensor:
        return torch.from_numpy(flat.astype(np.float32)).view(-1, 1, 8, 8)

    return Digits(images(train), torch.from_numpy(train_y), images(test_x), torch.from_numpy(test_y), classifier)
