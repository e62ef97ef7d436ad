"""Attributes from a cohort, from user input, and drawn at random if not given."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_cohorts import in_memory, small_cohort

from crow.cohort import Cohort
from crow.errors import CohortError, ConfigError
from crow.representation.attributes import AttributeTable


def cohort() -> Cohort:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "subject": [f"s{k}" for k in range(30)], "age": rng.uniform(60, 80, 30), "PTGENDER": ["Female", "Male"] * 15,
        "DX": ["CN", "MCI", "Dementia"] * 10, "one": 1.0, "ROI1": rng.normal(size=30),
    })  # fmt: skip
    return in_memory(
        table, ["ROI1"], {"PTGENDER": "categorical", "DX": "categorical", "one": "numeric"}
    )


def table() -> AttributeTable:
    return AttributeTable.fit(cohort(), cohort().visits, ["sex", "Age", "diagnosis"])


def test_channels_are_one_hot_or_standardised() -> None:
    context = table().encode(cohort().visits)
    assert table().names == ["PTGENDER", "age", "DX"] and table().channels == [2, 1, 3]
    assert torch.equal(context[:2, :2], torch.tensor([[1.0, 0], [0, 1]]))
    assert torch.equal(context[:3, 3:], torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]]))
    assert context[:, 2].mean().abs() < 1e-5 and abs(context[:, 2].std() - 1) < 1e-5


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("sex=F,age=75,diagnosis=AD", {"PTGENDER": "Female", "age": 75.0, "DX": "Dementia"}),
        ("PTGENDER=male", {"PTGENDER": "Male"}),
        (" DX = MCI , age = 61.5 ", {"DX": "MCI", "age": 61.5}),
        ("", {}),
    ],
)
def test_user_input_is_parsed(text: str, given: dict[str, float | str]) -> None:
    assert table().parse(text) == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sex=X", r"PTGENDER=X: the training levels are Female, Male"),
        ("age=old", r"age=old: a number is needed"),
        ("age=200", r"age=200: outside the range of the training visits, .* to"),
        ("height=3", r"no attribute height in this run. Choose from PTGENDER, age, DX"),
        ("sex", r"write it as name=value"),
        ("sex=F,PTGENDER=M", r"PTGENDER is given twice"),
    ],
)
def test_messages_name_the_valid_choices(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table().parse(text)


def test_other_attributes_follow_their_training_distribution() -> None:
    drawn = table().draw({"age": 70.0}, 3000, seed=1)
    assert (drawn["age"] == 70).all()
    assert drawn["DX"].value_counts(normalize=True).sub(1 / 3).abs().max() < 0.03
    assert drawn.equals(table().draw({"age": 70.0}, 3000, seed=1))
    assert not drawn.equals(table().draw({"age": 70.0}, 3000, seed=2))
    assert table().draw({}, 500, 0)["age"].between(60, 80).all()
    table().encode(drawn)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no attribute given"),
        (["weight"], "weight is not a covariate. Available: age, PTGENDER"),
        (["one"], "cannot be an"),
    ],
)
def test_attributes_that_cannot_be_learned(names: list[str], message: str) -> None:
    with pytest.raises(CohortError, match=message):
        AttributeTable.fit(cohort(), cohort().visits, names)


def test_levels_unseen_in_training_are_refused() -> None:
    visits = cohort().visits.assign(DX="AD")
    with pytest.raises(CohortError, match="column DX has the value 'AD', which is not among the training levels"):
        table().encode(visits)
    lacking = small_cohort()
    attributes = AttributeTable.fit(lacking, lacking.visits, ["CDRSB"])
    assert attributes.known(lacking.visits).sum() == lacking.visits["CDRSB"].notna().sum()
    with pytest.raises(CohortError, match="CDRSB is missing for some visits"):
        attributes.encode(lacking.visits)
