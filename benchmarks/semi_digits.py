"""The semi-conditional flow on handwritten digits with 100 labels.

``semi_digits.py [--seeds 3] [--figure docs/semi_digits.png]``, about 10 minutes.

Error on 300 test images. The flow is trained on 10 labelled images of each class and on the other training images
without labels. Baselines are a convolutional network and a support vector machine on the same 100 labels, and
scikit-learn's LabelSpreading and SelfTrainingClassifier, which also use the unlabelled images. (LabelSpreading also has
a row with the test images among them; its neighbours and alpha are the best of 5, 7, 10, 15 and 0.2, 0.8, 0.99 on the
test images.) The flow, the network and the support vector machine use augmented images (10 degrees, 10 %, one pixel).

Outliers: AUROC of log p(x), and of its distance from the median of unlabelled images (typicality), for test images
against noise (uniform grey pixels), test images shifted by two pixels, and test images rotated by 90 degrees.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import digits
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC
from timing import write
from torch import Tensor, nn
from torch.nn import functional

from crow.bijections.dequantize import UniformDequantizer
from crow.data.examples import UNKNOWN, Examples
from crow.files import writing
from crow.flows.semi_conditional import SemiConditionalFlow
from crow.flows.semi_conditional_ensemble import Augment, SemiConditionalEnsemble
from crow.report.figures import style
from crow.representation.augmentation import augment_images, fixed_augmentations
from crow.run.config import Optimisation
from crow.training.fit import train

LABELS, VALIDATION, REPEATS, MEMBERS = 10, 100, 4, 3
"""Labels per class; unlabelled images of the validation set; repeats of a labelled image in the training set; ensemble
members."""
DRAWS = 8  # of the dequantisation, in a prediction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = []
    for seed in range(options.seeds):
        task = few_labels(seed)
        flow = learn_flow(task, seed)
        runs.append((errors(task, flow, seed), outlier_scores(task, flow, seed)))
        print(seed, *runs[-1], flush=True)
        if options.figure and not seed:
            picture(options.figure, task, flow)
    write("semi_digits", "Semi-conditional flow on handwritten digits with 100 labels", table(runs))


@dataclass(frozen=True)
class Task:
    """The digits, and the label of each training image: `UNKNOWN` except for 10 per class."""

    data: digits.Digits
    label: Tensor

    @property
    def labelled(self) -> Tensor:
        return self.label >= 0


def few_labels(seed: int) -> Task:
    data, rng = digits.load(seed), np.random.default_rng(seed)
    truth = data.train_label.numpy()
    chosen = [rng.choice(np.flatnonzero(truth == k), LABELS, replace=False) for k in range(10)]
    label = torch.full((len(truth),), UNKNOWN)
    label[np.concatenate(chosen)] = data.train_label[np.concatenate(chosen)]
    return Task(data, label)


def learn_flow(task: Task, seed: int) -> SemiConditionalEnsemble:
    torch.manual_seed(seed)
    flows = [
        SemiConditionalFlow.of_shape((1, 8, 8), 10, depth=4, hidden=32, dequantizer=UniformDequantizer(digits.LEVELS))
        for _ in range(MEMBERS)
    ]
    flow = SemiConditionalEnsemble(flows, augment_images, fixed_augmentations)
    rest = torch.from_numpy(np.random.default_rng(seed).permutation(torch.nonzero(~task.labelled)[:, 0].numpy()))
    rows = torch.cat([rest[VALIDATION:], torch.nonzero(task.labelled)[:, 0].repeat(REPEATS)])
    settings = Optimisation(
        max_epochs=75, steps_per_epoch=20, batch_size=96, learning_rate=8e-3, ema_decay=0.99, patience=75
    )
    validation = Examples(task.data.train[rest[:VALIDATION]])
    train(flow, Examples(task.data.train[rows], None, task.label[rows]), validation, settings, seed)
    return flow


@torch.no_grad()
def joint_log_prob(flow: SemiConditionalEnsemble, x: Tensor) -> Tensor:
    """``log p(x, y)``, ``[image, class]``, the mean over draws of the dequantisation."""
    torch.manual_seed(0)
    return torch.stack([flow.class_log_prob(x) for _ in range(DRAWS)]).mean(0)


def errors(task: Task, flow: SemiConditionalEnsemble, seed: int) -> dict[str, float]:
    """The error rate of each method on the test images."""
    data, labelled = task.data, task.labelled
    truth = data.test_label.numpy()
    x, test = (images.flatten(1).numpy() / 16 for images in (data.train, data.test))
    networks = [network(data.train[labelled], task.label[labelled], 10 * seed + k) for k in range(MEMBERS)]
    plain = network(data.train[labelled], task.label[labelled], 10 * seed, lambda images: images)
    spreading = LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.8, max_iter=200)
    everything = np.concatenate([x, test]), np.concatenate([task.label.numpy(), np.full(len(test), UNKNOWN)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        guesses = {
            "semi-conditional flows": predicted(flow.predict, data.test),
            "one of the flows, no test-time augmentation": predicted(flow._flows()[0].predict, data.test),
            "convolutional network": predicted(networks[0], data.test),
            "3 networks, mean over views": predicted(mean_over_views(networks), data.test),
            "convolutional network, no augmentation": predicted(plain, data.test),
            "support vector machine": machine(data.train[labelled], task.label[labelled], seed).predict(test),
            "LabelSpreading": spreading.fit(x, task.label).predict(test),
            "LabelSpreading, test images too": spreading.fit(*everything).transduction_[len(x) :],
            "self-training": SelfTrainingClassifier(SVC(C=10, probability=True), threshold=0.8).fit(x, task.label)
            .predict(test),
        }  # fmt: skip
    return {name: float((guess != truth).mean()) for name, guess in guesses.items()}


@torch.no_grad()
def predicted(predict: Callable[[Tensor], Tensor], x: Tensor) -> NDArray[np.int64]:
    torch.manual_seed(0)
    return predict(x).argmax(1).numpy()


def mean_over_views(networks: list[nn.Module]) -> Callable[[Tensor], Tensor]:
    """The counterpart of the ensemble of flows: the mean of p(y | x) over networks and views."""

    def predict(x: Tensor) -> Tensor:
        return torch.stack([net(view).softmax(1) for net in networks for view in (x, *fixed_augmentations(x))]).mean(0)

    return predict


def network(x: Tensor, label: Tensor, seed: int, augment: Augment = augment_images, steps: int = 800) -> nn.Module:
    """A convolutional network with batch norm, dropout, label smoothing, augmentation and averaged weights."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    layers.insert(6, nn.MaxPool2d(2))
    net = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(64 * 16, 10))
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    decay = torch.optim.swa_utils.get_ema_multi_avg_fn(0.98)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=decay, use_buffers=True)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,))
        loss = functional.cross_entropy(net(augment(x[rows])), label[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        average.update_parameters(net)
    return average.eval().requires_grad_(False)


def machine(x: Tensor, label: Tensor, seed: int) -> SVC:
    torch.manual_seed(seed)
    views = torch.cat([x, *(augment_images(x) for _ in range(20))])
    return SVC(C=10).fit(views.flatten(1).numpy() / 16, label.repeat(21).numpy())


def outliers(task: Task, seed: int) -> dict[str, Tensor]:
    """Images that are not digits, or digits unlike the training set."""
    test = task.data.test
    generator = torch.Generator().manual_seed(seed)
    shifted = functional.pad(test, (2, 0))[..., :8]
    noise = torch.randint(digits.LEVELS, test.shape, generator=generator).float()
    return {"noise": noise, "shifted": shifted, "rotated": test.rot90(1, (2, 3))}


def outlier_scores(task: Task, flow: SemiConditionalEnsemble, seed: int) -> dict[str, dict[str, float]]:
    """AUROC of test images against outliers, by log p(x) and by typicality."""
    inliers = joint_log_prob(flow, task.data.test).logsumexp(1)
    median = joint_log_prob(flow, task.data.train[~task.labelled]).logsumexp(1).median()
    found: dict[str, dict[str, float]] = {}
    for name, images in outliers(task, seed).items():
        other = joint_log_prob(flow, images).logsumexp(1)
        found[name] = {
            "log p(x)": auroc(-inliers, -other),
            "typicality": auroc((inliers - median).abs(), (other - median).abs()),
        }
    return found


def auroc(inliers: Tensor, other: Tensor) -> float:
    score = torch.nan_to_num(torch.cat([inliers, other]).double(), nan=1e30, posinf=1e30)
    return float(roc_auc_score([0] * len(inliers) + [1] * len(other), score.numpy()))


def table(runs: list[tuple[dict[str, float], dict[str, dict[str, float]]]]) -> list[dict[str, str | int | float]]:
    """One row per method and per kind of outlier, with mean and range over the seeds."""
    rows: list[dict[str, str | int | float]] = []
    for name in runs[0][0]:
        value = mean_and_range([100 * wrong[name] for wrong, _ in runs], 2)
        rows.append({"what": "error on test images, %", "method": name, "value": value})
    for kind in runs[0][1]:
        for statistic in ("log p(x)", "typicality"):
            values = [scores[kind][statistic] for _, scores in runs]
            rows.append({"what": f"AUROC against {kind}", "method": statistic, "value": mean_and_range(values, 3)})
    return rows


def mean_and_range(values: list[float], digits: int) -> str:
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def picture(path: Path, task: Task, flow: SemiConditionalEnsemble) -> None:
    """Samples of every class; test images and outliers, from the most to the least likely, with log p(x)."""
    drawn = flow.sample(torch.arange(10).repeat(4), torch.Generator().manual_seed(0)).view(4, 10, 8, 8)
    kinds = {"test": task.data.test, **outliers(task, 0)}
    threshold = np.quantile(joint_log_prob(flow, task.data.test).logsumexp(1).numpy(), 0.01)
    with style():
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        top, bottom = figure.subfigures(2, 1)
        top.suptitle("Samples of each class, trained with 10 labels per class", fontsize=9, fontweight="bold")
        for axes, image in zip(top.subplots(4, 10).flat, drawn.flatten(0, 1).numpy(), strict=True):
            show(axes, image)
        bottom.suptitle("log p(x), in nats; outliers (below 1 %) in red", fontsize=9, fontweight="bold")
        for line, (name, images) in zip(bottom.subplots(4, 10), kinds.items(), strict=True):
            nats = joint_log_prob(flow, images[:200]).logsumexp(1).numpy()
            for place, row in enumerate(np.argsort(-nats)[np.linspace(0, 199, 10).astype(int)]):
                show(line[place], images[row, 0].numpy())
                colour = "crimson" if not nats[row] >= threshold else "black"
                line[place].set_title(f"{nats[row]:.0f}", fontsize=6, fontweight="normal", color=colour, pad=2)
            line[0].text(-0.2, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    with writing(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def show(axes: object, image: NDArray[np.float32]) -> None:
    axes.imshow(image, cmap="gray_r", vmin=0, vmax=16)  # type: ignore[attr-defined]
    axes.set_axis_off()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
