"""Which subjects are held out: the one place that splits a cohort into training, validation and test subjects.

A split depends on the seed and on the subjects' names only. It does not depend on the order of the rows, and a subject
that joins or leaves the cohort changes the part of few others. Relatives stay together: the functions take one name
per subject, and subjects with the same name (`Cohort.split_names`) are never separated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from crow.cohort.cohort import Cohort

Rows = NDArray[np.int64]


class Purpose(IntEnum):
    """What a split is for: splits for different purposes are independent of each other."""

    VALIDATION = 3
    TEST = 4
    FOLDS = 5


def ranked(names: Sequence[str], seed: int, purpose: Purpose) -> Rows:
    """Positions of ``names``, in the order of the SHA-256 digest of seed, purpose and name."""
    digests = [hashlib.sha256(f"{seed}/{purpose.value}/{name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(names)), key=digests.__getitem__), dtype=np.int64)


def folds(names: Sequence[str], count: int, seed: int, purpose: Purpose = Purpose.FOLDS) -> list[Rows]:
    """Positions of ``names`` in ``count`` disjoint parts of equal size (or one apart), each sorted.

    Equal names stay in one part. There are never more parts than different names.
    """
    order = ranked(names, seed, purpose)
    parts = max(1, min(count, len(set(names))))
    ends = np.cumsum([len(part) for part in np.array_split(order, parts)])
    return [np.sort(part) for part in _cut(names, order, ends) if len(part)]


def _cut(names: Sequence[str], order: Rows, ends: Rows) -> list[Rows]:
    """``order`` cut near ``ends``; equal names, which follow each other, go where their middle lies."""
    ranked_names = np.array([names[k] for k in order], dtype=object)
    first = np.flatnonzero(np.r_[True, ranked_names[1:] != ranked_names[:-1]]) if len(order) else np.array([], int)
    size = np.diff(np.r_[first, len(order)])
    part = np.repeat(np.searchsorted(ends, first + size / 2, side="left"), size)
    return [order[part == k] for k in range(len(ends))]


def validation_folds(names: Sequence[str], fraction: float, seed: int) -> list[Rows]:
    """At least two disjoint validation sets, each about ``fraction`` of the subjects."""
    return folds(names, max(2, round(1 / fraction)), seed, Purpose.VALIDATION)


def test_subjects(cohort: Cohort, fraction: float, seed: int) -> list[str]:
    """The subjects that ``split.test`` reserves for a test and training never sees.

    All subjects of the table are divided, also those that have no visit left, so that the way in which missing values
    are treated moves no subject from one part to the other.
    """
    subjects = cohort.split_subjects
    names = cohort.split_names(subjects)
    end = np.array([round(fraction * len(subjects))])
    test, left = _cut(names, ranked(names, seed, Purpose.TEST), end)[0], set(cohort.subjects)
    return [subjects[k] for k in test if subjects[k] in left]


def salt_of(names: Sequence[str]) -> str:
    """A salt that depends on all names of a table: the same table gives the same run."""
    return hashlib.sha256("\n".join(["salt", *sorted(names)]).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def salted_hashes(names: Sequence[str], salt: str) -> list[str]:
    """A hash of each name, sorted. Names cannot be computed from them, but anyone who guesses a name can check it."""
    return sorted(hashlib.sha256(f"{salt}/{name}".encode("utf-8", "surrogatepass")).hexdigest() for name in names)


def validation_of_each_class(subject: Sequence[str], label: Rows, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which visits belong to validation subjects: about ``fraction`` of each class, and of the unlabelled subjects.

    ``label [visit]`` is negative if unknown. A subject with several classes counts for the rarest of them. Every class
    that has two subjects keeps at least one in training and one in validation.
    """
    names, numbers = np.unique(np.asarray(subject), return_inverse=True)
    count = np.bincount(label[label >= 0])
    group = np.full(len(names), -1)
    for level in np.argsort(-count, kind="stable"):
        group[numbers[label == level]] = level
    order = ranked(list(names), seed, Purpose.VALIDATION)
    validation = np.zeros(len(names), bool)
    for level in np.unique(group):
        members = order[group[order] == level]
        validation[members[: min(max(1, round(fraction * len(members))), len(members) - 1)]] = True
    for level in range(len(count)):
        members = np.unique(numbers[label == level])
        if validation[members].all():
            validation[members[0]] = False
    return validation[numbers]
