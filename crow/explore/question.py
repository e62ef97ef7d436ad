"""What the page asks, validated: a subject or a new one, a horizon, and one or two courses of the covariates."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crow.cohort.covariate_paths import Future
from crow.errors import CohortError
from crow.pipelines.covariate_paths import CovariateChange

MAX_HORIZON = 40.0  # years
MAX_STEPS = 20  # of one covariate
MAX_VISITS = 4  # of a new subject
STEPS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)  # years between two times of an answer
MAX_TIMES = 12

Text = Annotated[str, Field(max_length=200)]
Years = Annotated[float, Field(ge=0, le=MAX_HORIZON, allow_inf_nan=False)]
FLAG = "the course of"
Planes = Literal["three planes", "sagittal", "coronal", "axial"]


class Strict(BaseModel):
    """No other fields: a page of another version is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(Strict):
    """A value of a covariate from ``at`` years after the last visit on; 0 is from the first future visit on."""

    value: Text
    at: Years = 0.0


class Course(Strict):
    """Future covariates: steps of some, and one rule for all others."""

    future: Future = "carry"
    steps: dict[Text, Annotated[list[Step], Field(max_length=MAX_STEPS)]] = {}

    @property
    def changes(self) -> list[CovariateChange]:
        """The steps as `crow generate --set-covariate` has them."""
        return [
            CovariateChange(name, step.value.strip(), step.at or None, FLAG)
            for name, steps in self.steps.items()
            for step in sorted(steps, key=lambda one: one.at)
            if step.value.strip()
        ]


class TypedVisit(Strict):
    """A visit of a new subject: years since the first, covariates that change, and regions; empty if not known."""

    time: Years = 0.0
    covariates: dict[Text, Text] = {}
    regions: dict[Text, Text] = {}


class NewSubject(Strict):
    """A subject that the cohort does not have: the age at the first visit, what never changes, and its visits."""

    age: Text = ""
    covariates: dict[Text, Text] = {}
    visits: Annotated[list[TypedVisit], Field(min_length=1, max_length=MAX_VISITS)]


class Whose(Strict):
    """A subject of the cohort, or a new one."""

    subject: Text | None = None
    new: NewSubject | None = None


class Question(Whose):
    """A forecast: whose, how far ahead, and under which courses."""

    horizon: Annotated[float, Field(gt=0, le=MAX_HORIZON, allow_inf_nan=False)] = 5.0
    courses: Annotated[list[Course], Field(min_length=1, max_length=2)] = [Course()]


class ScanQuestion(Strict):
    """The follow-up scan of a subject ``at`` years after the last one under a course; 0 is the last scan itself."""

    subject: Text
    course: Course = Course()
    at: Years = 1.0
    planes: Planes = "three planes"
    slice: Annotated[int, Field(ge=0, le=10_000)] | None = None


def times_of(horizon: float) -> list[float]:
    """Years after the last visit: multiples of a round step, and the horizon."""
    step = next((s for s in STEPS if math.ceil(round(horizon / s, 6)) <= MAX_TIMES), STEPS[-1])
    count = math.floor(horizon / step + 1e-6)
    times = [round(k * step, 6) for k in range(1, count + 1)]
    return times if times and math.isclose(times[-1], horizon) else [*times, round(horizon, 6)]


Asked = TypeVar("Asked", bound=Strict)


def parsed(kind: type[Asked], body: bytes) -> Asked:
    """The question in a request; raises CohortError with what is wrong."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the question"
        raise CohortError(f"{where}: {first['msg']}. Reload the page.") from None
