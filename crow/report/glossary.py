"""Technical words of a report, each explained in a popover where it first appears in a section."""

from __future__ import annotations

import re

from crow.extras import extra

with extra("report"):
    from markupsafe import Markup, escape

MEANINGS = {
    "calibration": "Agreement of stated and observed frequencies: 90 % intervals should contain 90 % of the true "
                   "values.",
    "Cohen's d": "Difference between two group means, divided by the standard deviation within the groups.",
    "concordance": "Lin's coefficient of agreement between two sets of numbers. It is 1 only if they are equal.",
    "covariate": "A variable that the forecast depends on but that is not forecast itself: age, sex, diagnosis, "
                 "a score.",
    "coverage": "Share of true values inside a prediction interval.",
    "CRPS": "Continuous ranked probability score. It measures the error of a whole predictive distribution; lower is "
            "better.",
    "early stopping": "Ending the training when the loss of the validation subjects no longer improves.",
    "energy score": "The CRPS of several regions at once.",
    "ensemble": "Several models that are combined as a mixture. Each of them is an ensemble member.",
    "linear mixed model": "A regression with random intercepts and slopes per subject, the standard model for "
                          "longitudinal data.",
    "log-likelihood": "Logarithm of the probability density of the observed values.",
    "MAE": "Mean absolute error of the median forecast.",
    "nat": "The unit of a natural logarithm. Two nats are a factor of e² ≈ 7.",
    "NLL": "Negative log-likelihood; lower is better.",
    "outlier score": "Distance of a log-likelihood below the median, in robust standard deviations. Above 4, a visit "
                     "is an outlier.",
    "PIT": "Probability integral transform: the share of draws below the true value. It is uniform if the model is "
           "calibrated.",
    "prediction interval": "A range that contains a future value with a stated probability.",
    "skill": "Relative reduction of an error with respect to a baseline. 0 is no better, 1 is perfect.",
    "test subjects": "Subjects that are used only for the evaluation.",
    "validation subjects": "Subjects that decide when training stops.",
    "what-if": "A forecast under a course of the covariates that the user chooses.",
}  # fmt: skip
FORMS = {
    "calibration": "calibrated", "ensemble": "ensemble members?", "linear mixed model": "mixed models?",
    "energy score": "energy(?! score)", "nat": "nats", "covariate": "covariates",
    "prediction interval": "prediction intervals",
}  # fmt: skip
"""Other forms in which a term appears, as patterns."""

BUTTON = Markup('<button type="button" class="term" popovertarget="{}">{}</button>')
CLOSING = re.compile(r"[.,;:)?!]+(?=\s|$)")


class Glossary:
    """Marks the terms of one page, and remembers which it used."""

    def __init__(self) -> None:
        self.used: dict[str, str] = {}
        self._seen: set[str] = set()
        patterns = {term: f"{FORMS[term]}|{re.escape(term)}" if term in FORMS else re.escape(term) for term in MEANINGS}
        each = (f"(?P<t{k}>{pattern})" for k, pattern in enumerate(patterns.values()))
        self._terms = list(patterns)
        self._pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(each)})(?![\w-])", re.IGNORECASE)

    def start(self) -> str:
        """Begin a section, in which each term is explained once."""
        self._seen.clear()
        return ""

    def mark(self, text: str) -> Markup:
        """The escaped text, with a button for each term that the section did not have yet."""
        parts, end = [], 0
        for found in self._pattern.finditer(text):
            term = self._terms[int(str(found.lastgroup)[1:])]
            if term in self._seen or (term.isupper() and found[0] != term):
                continue
            self._seen.add(term)
            name = self.used.setdefault(term, f"term-{re.sub(r'[^a-z]+', '-', term.lower())}")
            button = BUTTON.format(name, found[0])
            if mark := CLOSING.match(text, found.end()):  # a line may break after a button
                button = Markup('<span class="together">{}{}</span>').format(button, mark[0])
            parts += [escape(text[end : found.start()]), button]
            end = mark.end() if mark else found.end()
        return Markup("").join([*parts, escape(text[end:])])

    @property
    def popovers(self) -> list[tuple[str, str, str]]:
        """(name, term, meaning) of the terms that were used."""
        return [(name, term, MEANINGS[term]) for term, name in self.used.items()]
