"""The result of a privacy audit, and the rules of its verdict.

The rules, in one place. Every p-value is one-sided, and counts if it is at most `ALPHA`.

- Fail: a synthetic record equals one of a training subject, though no test record does so.
- Fail: near copies, or equal covariates and visits, are more than twice as frequent as for test subjects (p counts).
- Fail or caution: synthetic records are nearer to training than to test subjects by a factor below `RATIO` (p counts).
- Fail or caution: membership or attributes of training subjects can be inferred: caution if the p-value of the AUC
  counts, however small the AUC is; fail if the AUC is also above `AUC`.
- Caution: synthetic subjects have quasi-identifiers of single training subjects more than twice as often as of single
  test subjects (p counts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Values = NDArray[np.float64]
Verdict = Literal["pass", "caution", "fail"]
ALPHA = 0.01
RATIO = {"fail": 0.8, "caution": 0.9}
AUC = 0.9  # "outstanding discrimination" (Hosmer & Lemeshow 2000, 5.2.4)
MIN_SUBJECTS = 5  # synthetic, training and test subjects
NO_GUARANTEE = "not offered"  # differential privacy


@dataclass(frozen=True)
class Records:
    """Records ``values [record, number]`` in a common standardisation, and the ``subject [record]`` of each."""

    values: Values
    subject: NDArray[np.object_]

    @classmethod
    def of(cls, visits: pd.DataFrame, mean: pd.Series, sd: pd.Series) -> Records:
        """The complete visits of a table, standardised."""
        values = ((visits[list(mean.index)] - mean) / sd).to_numpy(float)
        complete = ~np.isnan(values).any(1)
        return cls(values[complete], visits["subject"].to_numpy(object)[complete])


Finding = tuple[Verdict, str]


@dataclass(frozen=True)
class PrivacyAudit:
    """The result of `crow.evaluation.privacy.audit` and of `crow.evaluation.privacy_table.audit_table`.

    Attributes
    ----------
    figures : dict of str to float
        Distances, copies and inference, by name.
    findings : list of (severity, sentence)
        Which rules were broken.
    passed : str
        What a pass was seen from.
    """

    figures: dict[str, float]
    findings: list[Finding]
    passed: str

    @property
    def verdict(self) -> Verdict:
        """The most severe finding."""
        severities = {severity for severity, _ in self.findings}
        return "fail" if "fail" in severities else "caution" if "caution" in severities else "pass"

    @property
    def reasons(self) -> list[str]:
        """The findings as sentences, the most severe first; what was seen if there are none."""
        found = [reason for severity in ("fail", "caution") for own, reason in self.findings if own == severity]
        return found or [self.passed]

    def merge(self, other: PrivacyAudit) -> PrivacyAudit:
        """Both audits as one."""
        passed = f"{self.passed} {other.passed}"
        return PrivacyAudit(self.figures | other.figures, [*self.findings, *other.findings], passed)

    def __repr__(self) -> str:
        return " ".join([f"{self.verdict}:", *self.reasons])


def merged(audits: Sequence[PrivacyAudit]) -> PrivacyAudit:
    """Several audits as one."""
    found = audits[0]
    for other in audits[1:]:
        found = found.merge(other)
    return found
