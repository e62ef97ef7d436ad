"""The conditional recurrent flow: the exact density of a sequence of visits, and its future visits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from crow.bijections.change_fit import fit_change_model
from crow.bijections.innovation import MixedModelInnovation, Moments, Prediction, rows
from crow.bijections.innovation_fit import fit_mixed_model, plain_log_likelihood
from crow.bijections.normal import standard_normal_log_prob
from crow.bijections.patterns import only
from crow.bijections.priors import ConditionalPrior, Prior, StandardPrior
from crow.bijections.recurrent import RecurrentCoupling, TemporalContextGate, running_past
from crow.bijections.soft_bounds import Bounds, SoftBounds
from crow.data.sequences import Sequences
from crow.flows.crow_layers import Continuous, Layer, Rotate
from crow.networks.linear import Linear
from crow.networks.mlp import MLP
from crow.networks.packing import Packing

SOFTNESS = (0.05, 0.15, 0.5, 1.5, 5.0)  # of bounds that are tried, in standard deviations of a region
MISFIT, DRIFT = 0.75, 1.5  # how fast uncertainty grows beyond the longest follow-up: chosen by benchmarks/horizon.py
TIMES = 3  # channels that the flow puts before the context: time since first visit, since last visit, is it the first


class FlowState(NamedTuple):
    """What the next visit needs of a subject's past."""

    time: Tensor  # [batch, 1], of the last visit
    last: Tensor  # [batch, region], the last measured value
    total: Tensor  # [batch, region], the sum of the measured values
    visits: Tensor  # [batch, 1] or, with missing values, [batch, region]: how many
    moments: Moments
    layers: tuple[Any, ...]


class BeforeLayers(NamedTuple):
    """Of every visit: its values on the line and that log-determinant, times and covariates, past, and prediction."""

    x: Tensor
    log_det: Tensor
    times: Tensor
    past: Tensor
    mean: Tensor
    sd: Tensor
    new: Tensor


class CRowFlow(nn.Module):
    """``p(x_1..x_T | c_1..c_T)`` of visits at irregular times, exact, visit by visit.

    Bounded values go to the whole line (`SoftBounds`), as the first layer, and all that follows sees them there. A gate
    that shifts and scales by the past, then (``initialisation="mixed_model"``) the innovations of a linear mixed
    model, then ``blocks`` times two recurrent couplings, with a rotation and a gate between blocks. Everything is
    zero-initialised, so the flow starts as the mixed model itself; with ``initialisation="standard"`` it starts at N(0,
    I) and only sees what the mixed model predicts. Every subnet gets the context, the times, and a summary of the raw
    past: last values, means, and the mixed model's prediction with its log-sd.

    Of a visit that lacks values (``Sequences.measured``) it is the exact density of those that were measured, given
    those measured before: every layer maps the measured values among themselves, missing ones stay 0 and have no part
    in the log-determinant, and which are missing is added to the context by a linear map that starts at 0. At the
    mixed model this is the marginal of the complete visit given the same past; the density of a trained flow need not
    be the marginal of another pattern's.

    Parameters
    ----------
    features : int
        Number of regions.
    context : int
        Channels of the context (covariates, age).
    initialisation : str
        Where training starts: ``mixed_model`` or ``standard``.
    blocks, hidden, dropout
        Size and regularisation of the subnets.
    summary : int
        The raw past is projected to at most so many numbers.
    base : str
        Of the latent variables: N(0, I), a normal given context and past, or what a continuous flow given these makes
        of N(0, I), visit by visit.

    References
    ----------
    Hwang et al., ICCV 2019; the starting point, the shift and missing values are this project's.

    Examples
    --------
    >>> import torch
    >>> visits = torch.tensor([[True, True, True], [True, True, False]])
    >>> time = torch.tensor([[0.0, 1.0, 2.5], [0.0, 0.5, 0.0]])
    >>> x = torch.randn(2, 3, 4) * visits[..., None]
    >>> data = Sequences(x, context=torch.zeros(2, 3, 1), time=time, mask=visits)
    >>> flow = CRowFlow(features=4, context=1).eval()
    >>> flow.log_prob(data).shape  # one log-density per visit; 0 for padding
    torch.Size([2, 3])
    >>> past = flow.condition(data.columns(slice(0, 2)))
    >>> future = Sequences(x[:, :1], data.context[:, :1], torch.tensor([[4.0], [3.0]]), visits[:, :1])
    >>> flow.sample(future, past, torch.randn(2, 1, 4)).shape
    torch.Size([2, 1, 4])
    """

    time_scale: Tensor
    follow_up: Tensor
    starts_mixed: Tensor
    spread: Tensor

    def __init__(
        self,
        features: int,
        context: int,
        initialisation: Literal["mixed_model", "standard"] = "mixed_model",
        blocks: int = 2,
        hidden: int = 24,
        dropout: float = 0.0,
        summary: int = 32,
        base: Literal["standard", "conditional", "continuous"] = "standard",
    ) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("time_scale", torch.ones(()))
        # The longest follow-up in training, in years; 0 if it is not known.
        self.register_buffer("follow_up", torch.zeros(()), persistent=False)
        self.register_buffer("starts_mixed", torch.tensor(initialisation == "mixed_model"), persistent=False)
        self.register_buffer("spread", torch.ones(features))  # of residuals, where the mixed model is too sure
        self.bounds = SoftBounds(features)
        self.mixed = MixedModelInnovation(
            features, [0, *range(TIMES, TIMES + context)], trends=[*range(TIMES, TIMES + context)]
        )
        self.mixed.requires_grad_(False)
        self.mixed.correlation.requires_grad_(initialisation == "mixed_model")
        raw = 4 * features
        self.summary = Linear(raw, summary) if raw > summary else nn.Identity()
        channels = TIMES + context + min(raw, summary)
        self.missing = Linear(features, channels, bias=False)
        nn.init.zeros_(self.missing.weight)
        gate = partial(TemporalContextGate, features, channels, hidden, dropout=dropout)
        self.layers = nn.ModuleList([gate()])
        for block in range(blocks):
            if block:
                self.layers.append(gate())
            if features > 1:
                couplings = (
                    RecurrentCoupling(features, channels, hidden, swap, dropout=dropout) for swap in (False, True)
                )
                self.layers.extend(couplings)
                if block < blocks - 1 or base != "standard":  # the last would leave N(0, I) as it is
                    self.layers.append(Rotate(features))
        if base == "continuous":
            self.layers.append(Continuous(features, channels, hidden))
        self.prior: Prior = StandardPrior((features,))
        if base == "conditional":
            self.prior = ConditionalPrior(features, channels, partial(MLP, hidden=hidden, depth=1))

    @property
    def initialisation(self) -> Literal["mixed_model", "standard"]:
        return "mixed_model" if bool(self.starts_mixed) else "standard"

    def initialise(
        self,
        data: Sequences,
        bounds: Bounds | None = None,
        softness: Tensor | None = None,
        changes: Sequence[int] | None = None,
    ) -> Tensor:
        """Fits the mixed model to the training subjects; returns its log-likelihood ``[region]``, of x as it is given.

        That of changes since time 0 passes through 0 there (`fit_change_model`). Then ``changes [region]`` is each
        region's counterpart on the other side of the brain, or the region itself.
        With ``bounds`` the ``softness [region]`` of bounded regions is given, or the one that gives a region's mixed
        model the best likelihood.
        """
        self.time_scale.fill_(_scale(data))
        self.follow_up.copy_(data.time[data.mask].max())
        context, values = self.times(data, None), data.values()
        if changes is not None:
            return fit_change_model(self.mixed, data.x, context, data.mask, data.measured, changes)
        if bounds is None:
            return fit_mixed_model(self.mixed, data.x, context, data.mask, data.measured)
        self.bounds.set(bounds)
        x = self.dequantised(data, generator=torch.Generator().manual_seed(0)).x
        self.bounds.soften(self._likeliest_softness(x, data, context) if softness is None else softness)
        self.bounds.standardise(x, values)
        y, slope = self.bounds.each(x)
        return fit_mixed_model(self.mixed, y, context, data.mask, data.measured) + (slope * values).sum((0, 1))

    def _likeliest_softness(self, x: Tensor, data: Sequences, context: Tensor) -> Tensor:
        log_liks, choices, factor = [], [], None
        for softness in SOFTNESS if bool(self.bounds.bounded.any()) else SOFTNESS[:1]:
            self.bounds.soften(torch.full_like(x[0, 0], softness))
            self.bounds.standardise(x, data.values())
            y, slope = self.bounds.each(x)
            log_lik, factor = plain_log_likelihood(self.mixed, y, context, data.mask, data.measured, factor)
            log_liks.append(log_lik + (slope * data.values()).sum((0, 1)))
            choices.append(self.bounds.softness.clone())
        best = torch.stack(log_liks).nan_to_num(-torch.inf).argmax(0)
        return torch.stack(choices).gather(0, best[None])[0]

    def start_at(self, other: CRowFlow) -> None:
        """Take over the bounds and the mixed model that another flow was initialised with."""
        self.mixed.load_state_dict(other.mixed.state_dict())
        self.bounds.load_state_dict(other.bounds.state_dict())
        self.time_scale.copy_(other.time_scale)
        self.spread.copy_(other.spread)
        self.follow_up.copy_(other.follow_up)

    def log_prob(self, data: Sequences) -> Tensor:
        """Log-density of every visit's values given those before it, ``[batch, time]`` in nats; 0 at pads."""
        return self.step(data, None)[0]

    def initial_log_prob(self, data: Sequences) -> Tensor:
        """The same under the mixed model alone."""
        data, log_det = self.on_line(data)
        prediction = self._past(data, None)[2]
        z, of_model = self.mixed.whiten(data.x, prediction, data.measured)
        return torch.where(data.mask, _log_base(z, None, data.measured) + of_model + log_det, 0.0)

    def loss(self, data: Sequences) -> Tensor:
        """Mean negative log-likelihood per visit; scores with levels get noise within their step."""
        return -self.log_prob(self.dequantised(data)).sum() / data.mask.sum()

    def initial_loss(self, data: Sequences) -> Tensor:
        """`loss` of the mixed model alone."""
        return -self.initial_log_prob(self.dequantised(data)).sum() / data.mask.sum()

    def dequantised(
        self, data: Sequences, noise: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Sequences:
        """Scores with levels, each at a point of its step: ``noise`` in [0, 1], from a generator if it is None."""
        if not self.bounds.has_levels:
            return data
        if noise is None:
            noise = torch.rand(data.x.shape, generator=generator, dtype=data.x.dtype, device=data.x.device)
        return replace(data, x=torch.where(data.values(), self.bounds.dequantise(data.x, noise), data.x))

    def step(self, data: Sequences, state: FlowState | None) -> tuple[Tensor, FlowState]:
        """The same given the past of ``state``, and the state after the last column."""
        z, log_det, context, after = self._transform(data, state)
        moments = self.prior.moments(context) if isinstance(self.prior, ConditionalPrior) else None
        return torch.where(data.mask, _log_base(z, moments, data.measured) + log_det, 0.0), after

    def packed_log_prob(self, before: BeforeLayers, measured: Tensor | None, packing: Packing) -> Tensor:
        """`log_prob` of packed whole sequences, ``[model, visit]``.

        The weights may be those of several flows, stacked; then each has its own sequences. What is there for padding
        is arbitrary.
        """
        z, log_det, context, _ = self._through(before, measured, None, packing)
        moments = self.prior.moments(context) if isinstance(self.prior, ConditionalPrior) else None
        return _log_base(z, moments, measured) + log_det

    def predict(self, data: Sequences, state: FlowState | None) -> Prediction:
        """What the mixed model predicts of every visit, on the line of `bounds`."""
        return self._past(self.on_line(data)[0], state)[2]

    def share_of_change(self, visit: Sequences, since: Tensor, state: FlowState | None) -> Tensor:
        """How much of the sd of a measurement at ``visit`` is that of the change from the time ``since [batch, 1]`` on.

        ``[batch, region]``, given the past of ``state``, by the mixed model of changes.
        """
        _, _, prediction, _ = self._past(visit, state)
        times = (visit.time / self.time_scale, since / self.time_scale)
        return self.mixed.share_of_change(*times, state and state.moments, prediction.sd[:, 0])

    def filtered(self, data: Sequences, shares: Tensor) -> Tensor:
        """Quantiles ``[share, batch, time, region]`` of the level of every visit, given the visits up to and with it.

        The level is the value without measurement error, by the mixed model (`MixedModelInnovation.filtered`).
        """
        on_line, _ = self.on_line(data)
        mean, sd = self.mixed.filtered(on_line.x, self.times(data, None), data.measured)
        z = torch.special.ndtri(shares).to(mean.dtype).view(-1, 1, 1, 1)
        return self.bounds.inverse(mean + z * sd)[0]

    def transform(self, data: Sequences, state: FlowState | None = None) -> tuple[Tensor, Tensor, FlowState]:
        """Latent ``[batch, time, region]``, log-determinant ``[batch, time]``, and the state after the last column."""
        z, log_det, _, state = self._transform(data, state)
        return z, log_det, state

    def inverse(self, z: Tensor, data: Sequences, state: FlowState | None = None) -> tuple[Tensor, Tensor, FlowState]:
        """The visits whose latent is z, at the times and contexts of ``data`` (its x is not used)."""
        xs, log_dets = [], []
        for t in range(z.shape[1]):
            visit = replace(data.visit(t), x=z[:, t : t + 1])
            x, log_det = self._invert(visit, state)
            state = self._transform(replace(visit, x=x), state)[3]
            xs.append(x)
            log_dets.append(log_det)
        assert state is not None
        return torch.cat(xs, 1), torch.cat(log_dets, 1), state

    def condition(self, history: Sequences) -> FlowState:
        """The state after each subject's own last visit; sequences of one length go through the layers together."""
        lengths = history.mask.sum(1).clamp_min(1)
        rows = [(lengths == length).nonzero()[:, 0] for length in lengths.unique()]
        states = [self._transform(history[some], None)[3] for some in rows]
        place = torch.cat(rows).argsort()
        return cast(FlowState, map_state(lambda *each: torch.cat(each)[place], *states))

    def sample(self, data: Sequences, state: FlowState | None, noise: Tensor) -> Tensor:
        """The visit at the time and context of ``data`` that ``noise [batch, 1, region]`` ~ N(0, I) stands for."""
        if isinstance(self.prior, ConditionalPrior):
            empty = replace(data, x=torch.zeros_like(noise))
            times, past, _, _ = self._past(empty, state)
            mean, log_sd = self.prior.moments(self._context(times, past, empty.measured))
            noise = mean + log_sd.exp() * noise
        return self._invert(replace(data, x=noise), state)[0]

    def _transform(self, data: Sequences, state: FlowState | None) -> tuple[Tensor, Tensor, Tensor, FlowState]:
        before, after = self.before_layers(data, state)
        z, log_det, context, states = self._through(before, data.measured, state)
        return z, log_det, context, after._replace(layers=states)

    def _through(
        self, before: BeforeLayers, measured: Tensor | None, state: FlowState | None, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Any, ...]]:
        x, log_det, times, past, *prediction = before
        context = self._context(times, past, measured)
        log_dets, states = [log_det], []
        for i, layer in enumerate(self.layers):
            x, log_det, layer_state = layer(x, context, state and state.layers[i], measured, packing)
            log_dets.append(log_det)
            states.append(layer_state)
            if i == 0 and (packing is not None or bool(self.starts_mixed)):
                z, log_det = self.mixed.whiten(x, Prediction(*prediction), measured, packing)
                if packing is not None:
                    mixed = self.starts_mixed.view(-1, 1)
                    z, log_det = torch.where(mixed.unsqueeze(-1), z, x), torch.where(mixed, log_det, 0.0)
                x = z
                log_dets.append(log_det)
        return x, sum(log_dets[1:], log_dets[0]), context, tuple(states)

    def _invert(self, visit: Sequences, state: FlowState | None) -> tuple[Tensor, Tensor]:
        visit = replace(visit, x=only(visit.measured, visit.x))
        times, past, prediction, _ = self._past(visit, state)
        context = self._context(times, past, visit.measured)
        x, log_dets = visit.x, []
        for i in reversed(range(len(self.layers))):
            if i == 0 and bool(self.starts_mixed):
                x, log_det = self.mixed.colour(x, prediction, visit.measured)
                log_dets.append(log_det)
            layer = cast(Layer, self.layers[i])
            x, log_det, _ = layer.inverse(x, context, state and state.layers[i], visit.measured)
            log_dets.append(log_det)
        x, log_det = self.bounds.inverse(x, None, visit.measured)
        return x, sum(log_dets, log_det)

    def on_line(self, data: Sequences) -> tuple[Sequences, Tensor]:
        """The data with bounded values on the whole line, and the log-determinant ``[batch, time]``."""
        x, log_det = self.bounds(only(data.measured, data.x), None, data.measured)
        return replace(data, x=x), log_det

    def times(self, data: Sequences, state: FlowState | None) -> Tensor:
        """The context of times and covariates, before what the past adds to it."""
        before = data.time[:, :1] if state is None else state.time
        since_last = data.time - torch.cat([before, data.time[:, :-1]], 1)
        first = torch.zeros_like(data.time)
        if state is None:
            first[:, 0] = 1
        times = torch.stack([data.time / self.time_scale, since_last / self.time_scale, first], -1)
        return torch.cat([times, data.context], -1)

    def _beyond(self, sd: Tensor, time: Tensor, state: FlowState | None, some: Tensor | None = None) -> Tensor:
        """``sd``, and more beyond the longest follow-up F of the training, about which no training visit says anything.

        u years after both F and the visit before, the variance v becomes ``v (1 + MISFIT u / F) + DRIFT G_11 u^3 / (3
        F)``. The first part is for what is no line, the second that of a slope that drifts like a random walk, by the
        variance G_11 of slopes between subjects in the time F. Nothing changes within the follow-up.
        """
        before = torch.cat([time[:, :1] if state is None else state.time, time[:, :-1]], 1)
        follow_up = torch.where(self.follow_up > 0, self.follow_up, torch.inf)
        u = rows((time - torch.maximum(before, follow_up)).clamp_min(0).unsqueeze(-1), some) / follow_up
        slopes = (2 * self.mixed.log_sigma).exp() * self.mixed.factor[1:].square().sum(0)
        of_slopes = slopes * (self.follow_up / self.time_scale).square() * u**3 / 3
        return torch.where(u > 0, (sd.square() * (1 + MISFIT * u) + DRIFT * of_slopes).sqrt(), sd)

    def before_layers(
        self, data: Sequences, state: FlowState | None, some: Tensor | None = None
    ) -> tuple[BeforeLayers, FlowState]:
        """What the layers need to know of ``data``, and the state after them without its layers.

        With ``some`` only of these visits, places among batch x time: ``[visit, *]``.
        """
        if some is None:
            data, log_det = self.on_line(data)
        else:  # on the line as few values as possible, since it takes longer than what follows
            measured = None if data.measured is None else rows(data.measured, some)
            x, log_det = self.bounds(rows(only(data.measured, data.x), some), None, measured)
            padded = torch.zeros_like(data.x.flatten(0, 1)).index_copy(0, some, x)
            data = replace(data, x=padded.view_as(data.x))
        times, past, prediction, after = self._past(data, state, some)
        return BeforeLayers(rows(data.x, some), log_det, times, past, *prediction), after

    def _past(
        self, data: Sequences, state: FlowState | None, some: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Prediction, FlowState]:
        """Times and covariates, the summary of the past, the mixed model's prediction, the state without its layers."""
        x = data.x
        times = self.times(data, state)
        prediction, moments = self.mixed.predict(x, times, state and state.moments, data.measured, some)
        mean = prediction.mean.clamp(*self.bounds.ends())  # a line goes on beyond a bound, where a score stays
        prediction = prediction._replace(mean=mean, sd=self._beyond(prediction.sd, data.time, state, some))
        zero = x.new_zeros(x.shape[0], x.shape[2])
        last, total, visits = (zero, zero, zero[:, :1]) if state is None else (state.last, state.total, state.visits)
        lasts, means, seen = running_past(x, last, total, visits, data.measured)
        past = torch.cat([rows(lasts, some), rows(means, some), prediction.mean, prediction.sd.log()], -1)
        return rows(times, some), past, prediction, FlowState(data.time[:, -1:], *seen, moments, ())

    def _context(self, times: Tensor, past: Tensor, measured: Tensor | None) -> Tensor:
        """What every subnet receives."""
        context = torch.cat([times, self.summary(past)], -1)
        return context if measured is None else context + self.missing((~measured).to(past.dtype))


def map_state(f: Callable[..., Tensor], *states: Any) -> Any:
    """``f`` of every tensor ``[batch, ...]`` of states of the same form."""
    if isinstance(states[0], Tensor):
        return f(*states)
    if states[0] is None:
        return None
    parts = [map_state(f, *parts) for parts in zip(*states, strict=True)]
    return type(states[0])(*parts) if hasattr(states[0], "_fields") else tuple(parts)


def _log_base(z: Tensor, moments: tuple[Tensor, Tensor] | None, measured: Tensor | None) -> Tensor:
    """``log N(z; mean, sd)`` of the measured values, ``[batch, time]``; N(0, I) without ``moments`` (mean, log-sd)."""
    if moments is not None:
        mean, log_sd = moments
        values = standard_normal_log_prob((z - mean) * torch.exp(-log_sd)) - log_sd
    else:
        values = standard_normal_log_prob(z)
    return only(measured, values).sum(-1)


def _scale(data: Sequences) -> Tensor:
    """A typical time since the first visit, in years."""
    later = data.time[data.mask & (data.time > 0)]
    return later.square().mean().sqrt().clamp_min(0.1) if len(later) else torch.ones(())
