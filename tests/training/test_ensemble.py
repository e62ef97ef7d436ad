"""Members on different subjects, pooled; which initialisations are kept is decided on held-out subjects."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from small_cohorts import small_cohort

from crow.data.sequences import Sequences
from crow.errors import ConfigError
from crow.representation.regions import RegionTable
from crow.run.config import Config
from crow.training import ensemble
from crow.training.build import resolve
from crow.training.ensemble import TrainedEnsemble, fit_ensemble
from crow.training.fit import Fitted
from crow.training.together import Member, train_together

QUICK = {"max_epochs": 1, "steps_per_epoch": 2}
NAMES = [f"s{k:03d}" for k in range(1000)]


def sequences(subjects: int = 14, regions: int = 2) -> Sequences:
    torch.set_num_threads(1)
    cohort = small_cohort(subjects, regions)
    return RegionTable.fit(cohort).encode(cohort.visits)


def fitted(
    data: Sequences, said: list[str] | None = None, training: dict[str, Any] = QUICK, **model: Any
) -> TrainedEnsemble:
    config = Config.model_validate(
        {"model": {"hidden": 8, "blocks": 1, **model}, "training": {"validation_fraction": 0.2, **training}, "seed": 1}
    )
    return fit_ensemble(config, data, NAMES[: len(data)], echo=(said if said is not None else []).append)


def test_an_open_setting_is_chosen_from_the_size() -> None:
    small, large = resolve(Config(), sequences(14)), resolve(Config(), sequences(400))
    assert small.model.hidden < large.model.hidden  # type: ignore[operator]
    assert small.training.max_epochs < large.training.max_epochs  # type: ignore[operator]
    assert small.training.validation_fraction > large.training.validation_fraction  # type: ignore[operator]
    assert small.training.threads == 1
    wide = Config.model_validate({"model": {"hidden": 128}})
    assert resolve(wide, sequences()).training.threads == 1  # of the one that this test allows
    assert (small.training.patience, large.training.patience) == (5, 8)
    training = {"max_epochs": 7, "patience": 2, "validation_fraction": 0.3, "threads": 3, "value_dropout": 0.5}
    asked = Config.model_validate({"model": {"hidden": 5}, "training": training})
    assert resolve(asked, sequences()) == asked


def test_what_is_not_there_is_refused() -> None:
    data = sequences()
    bare = Sequences(data.x, data.context[..., :0], data.time, data.mask)
    with pytest.raises(ConfigError, match="the cohort has none"):
        resolve(Config.model_validate({"model": {"objective": "inn"}}), bare)
    if not torch.accelerator.is_available():
        with pytest.raises(ConfigError, match=r"no GPU was found\. Set it to cpu or auto"):
            resolve(Config.model_validate({"training": {"accelerator": "gpu"}}), data)


@pytest.mark.parametrize("start", ["mixed_model", "standard"])
def test_a_start_that_is_asked_for_is_every_members(start: str) -> None:
    data = sequences()
    found = fitted(data, members=2, initialise=start)
    assert [m["initialisation"] for m in found.members] == [start] * 2
    assert sorted(set(found.history["member"])) == [1, 2]
    members = list(found.flow.members)
    if start == "mixed_model" and len(members) == 1:  # no better than the mixed model of all
        return
    assert all(m["included"] for m in found.members)
    assert not members[0].mixed.beta.equal(members[1].mixed.beta), "each is fitted without its validation subjects"
    each = torch.stack([member.log_prob(data) for member in members])
    no_errors = torch.log1p(-found.flow.error_rate) * data.x.shape[2]
    expected = torch.logsumexp(each, 0) - torch.tensor(2.0).log() + no_errors
    torch.testing.assert_close(found.flow.log_prob(data)[data.mask], expected[data.mask])


def test_one_member_starts_at_the_mixed_model() -> None:
    (member,) = fitted(sequences(), members=1).members
    assert member["initialisation"] == "mixed_model"


def test_a_start_that_does_not_pay_is_left_out() -> None:
    """Two steps from N(0, I) are no match for the mixed model of a cohort that it was drawn from."""
    said: list[str] = []
    found = fitted(sequences(60), said, members=3)
    assert [m["initialisation"] for m in found.members] == ["mixed_model", "standard", "mixed_model"]
    assert not found.members[1]["included"]
    assert all(flow.initialisation == "mixed_model" for flow in found.flow.members)
    assert "0% standard" not in " ".join(said) or "100% mixed model" in " ".join(said)


@pytest.mark.parametrize(("shift", "start"), [(-3.0, "standard"), (0.0, "mixed_model")], ids=["far off", "a tie"])
def test_the_validation_subjects_choose_the_start(shift: float, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mixed start that is far off is left out; if both are the same, the mixed one stays."""

    def changed(members: list[Member], *args: Any) -> list[Fitted]:
        with torch.no_grad():
            for flow in (member.flow for member in members):
                if flow.initialisation == "mixed_model":
                    flow.starts_mixed.fill_(False)
                    flow.layers[0].outer.bias[: flow.features] += shift
        return real(members, *args)

    real = train_together
    monkeypatch.setattr("crow.training.members.train_together", changed)
    said: list[str] = []
    found = fitted(sequences(40), said, training={"max_epochs": 0}, members=2)
    assert [m["initialisation"] for m in found.members if m["included"]] == ["mixed_model"]
    assert len(found.flow.members) == 1 and found.out_of_sample == found.mixed_model, "neither beats the mixed model"
    (share,) = re.findall(r"(\d+)% standard", " ".join(said))
    assert (int(share) > 75) == (start == "standard")


def test_what_is_no_better_than_the_mixed_model_is_the_mixed_model_of_all_subjects() -> None:
    data = sequences(20)
    found = fitted(data, members=2, training={"max_epochs": 0})
    alone = fitted(data, members=1, training={"max_epochs": 0})
    assert len(found.flow.members) == 1
    no_errors = data.values().sum(-1) * torch.log1p(-found.flow.error_rate)
    torch.testing.assert_close(found.flow.log_prob(data), found.flow.members[0].initial_log_prob(data) + no_errors)
    torch.testing.assert_close(found.flow.log_prob(data), alone.flow.log_prob(data))


def test_the_mixed_model_of_a_member_is_fitted_without_its_validation_subjects() -> None:
    """Values of the validation subjects, moved far away, change nothing of it."""
    data = sequences(20)
    config = Config.model_validate({"training": {"validation_fraction": 0.2}, "seed": 1})
    rows = ensemble._validation_rows(NAMES[: len(data)], config)[0]
    x = data.x.clone()
    x[rows] += 50 * data.mask[rows][..., None]
    moved = replace(data, x=x)
    first, second = (
        fitted(each, members=1, initialise="standard", training={"max_epochs": 0}).flow.members[0]
        for each in (data, moved)
    )
    assert first.mixed.beta.equal(second.mixed.beta) and first.mixed.correlation.equal(second.mixed.correlation)


def test_members_see_different_subjects() -> None:
    found = fitted(sequences(), members=3, initialise="mixed_model", training={"max_epochs": 0})
    assert len({m["validation"] for m in found.members}) == 3
    for member in found.members:
        assert member["validation"] == pytest.approx(member["mixed_model"], abs=1e-4)


def test_a_member_that_never_began_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the third member's first look at its held-out subjects."""
    calls = []
    real = train_together

    def stopped(members: list[Member], *args: Any) -> list[Fitted]:
        calls.append(members)
        fits = real(members, *args)
        if len(calls) < 3:
            return fits
        return [Fitted(float("nan"), 0, fit.history[:0], interrupted=True) for fit in fits]

    monkeypatch.setattr("crow.training.members.train_together", stopped)
    monkeypatch.setattr(ensemble, "members_at_once", lambda *_: 1)
    found = fitted(sequences(), members=4, initialise="standard", training={"max_epochs": 0})
    assert found.interrupted
    assert [m["included"] for m in found.members] == [True, True, False]
    assert len(found.flow.members) == 2
