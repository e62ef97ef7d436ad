"""What a report cites: as text with its DOI, as BibTeX, and in the methods as Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A publication. ``authors`` are ``Surname, Given`` joined by `` and ``; ``short`` is how the prose cites it.

    ``doi`` is empty unless it was found in another publication or program.
    """

    key: str
    authors: str
    title: str
    venue: str
    year: int
    doi: str
    short: str
    kind: str = "article"

    @property
    def url(self) -> str:
        return f"https://doi.org/{self.doi}" if self.doi else ""

    @property
    def text(self) -> str:
        """``Laird NM, Ware JH. Random-effects models for longitudinal data. Biometrics 38, 1982.``"""
        names = ", ".join(map(_initials, self.authors.split(" and ")))
        return f"{names}. {self.title}. {self.venue}, {self.year}."

    @property
    def bibtex(self) -> str:
        place = "booktitle" if self.kind == "inproceedings" else "journal"
        fields = {"author": self.authors, "title": f"{{{self.title}}}", place: self.venue, "year": str(self.year),
                  "doi": self.doi}  # fmt: skip
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
        return f"@{self.kind}{{{self.key},\n{lines}\n}}"


def _initials(name: str) -> str:
    """``Laird, Nan M.`` is Laird NM; ``others`` stays."""
    surname, _, given = name.partition(", ")
    return f"{surname} {''.join(part[0] for part in re.split(r'[ -]', given) if part)}".rstrip()


def bibtex(references: Iterable[Reference]) -> str:
    return "\n\n".join(one.bibtex for one in references) + "\n"


def as_markdown(paragraphs: Iterable[str], references: Iterable[Reference]) -> str:
    """The methods with citations of pandoc (``@laird1982random``)."""
    return _cited("\n\n".join(paragraphs), references, "@{}") + "\n"


def as_latex(paragraphs: Iterable[str], references: Iterable[Reference]) -> str:
    """The methods with citations of natbib (``\\citealp{laird1982random}``)."""
    text = "\n\n".join("".join(LATEX.get(letter, letter) for letter in one) for one in paragraphs)
    return _cited(text, references, r"\citealp{{{}}}") + "\n"


def _cited(text: str, references: Iterable[Reference], form: str) -> str:
    for one in references:
        text = text.replace(one.short, form.format(one.key))
    return text


CROW = Reference(
    "hwang2019crow", "Hwang, Seong Jae and Tao, Zirui and Kim, Won Hwa and Singh, Vikas",
    "Conditional recurrent flow: conditional generation of longitudinal samples with applications to neuroimaging",
    "ICCV", 2019, "10.1109/ICCV.2019.01079", "Hwang et al. 2019", "inproceedings",
)  # fmt: skip
MIXED = Reference(
    "laird1982random", "Laird, Nan M. and Ware, James H.", "Random-effects models for longitudinal data",
    "Biometrics 38", 1982, "10.2307/2529876", "Laird and Ware 1982",
)  # fmt: skip
CRPS = Reference(
    "gneiting2007strictly", "Gneiting, Tilmann and Raftery, Adrian E.",
    "Strictly proper scoring rules, prediction, and estimation", "Journal of the American Statistical Association 102",
    2007, "10.1198/016214506000001437", "Gneiting and Raftery 2007",
)  # fmt: skip
LIN = Reference(
    "lin1989concordance", "Lin, Lawrence I-Kuei", "A concordance correlation coefficient to evaluate reproducibility",
    "Biometrics 45", 1989, "10.2307/2532051", "Lin 1989",
)  # fmt: skip
YEOM = Reference(
    "yeom2018privacy", "Yeom, Samuel and Giacomelli, Irene and Fredrikson, Matt and Jha, Somesh",
    "Privacy risk in machine learning: analyzing the connection to overfitting",
    "IEEE Computer Security Foundations Symposium", 2018, "10.1109/CSF.2018.00027", "Yeom et al. 2018", "inproceedings",
)  # fmt: skip
TADPOLE = Reference(
    "marinescu2021tadpole", "Marinescu, Razvan V. and others",
    "The Alzheimer's disease prediction of longitudinal evolution (TADPOLE) challenge: results after 1 year follow-up",
    "Machine Learning for Biomedical Imaging 1; arXiv:2002.03419", 2021,
    "10.48550/arXiv.2002.03419", "Marinescu et al. 2021",
)  # fmt: skip
TEMPLATE = Reference(
    "fonov2011unbiased", "Fonov, Vladimir and others", "Unbiased average age-appropriate atlases for pediatric studies",
    "NeuroImage 54", 2011, "10.1016/j.neuroimage.2010.07.033", "Fonov et al. 2011",
)  # fmt: skip
WINKLER = Reference(
    "winkler2019learning", "Winkler, Christina and Worrall, Daniel and Hoogeboom, Emiel and Welling, Max",
    "Learning likelihoods with conditional normalizing flows", "arXiv:1912.00042", 2019, "10.48550/arXiv.1912.00042",
    "Winkler et al. 2019",
)  # fmt: skip
NGUYEN = Reference(
    "nguyen2019infocnf", "Nguyen, Tan M. and Garg, Animesh and Baraniuk, Richard G. and Anandkumar, Anima",
    "InfoCNF: an efficient conditional continuous normalizing flow with adaptive solvers",
    "OpenReview SJgvl6EFwH", 2019, "", "Nguyen et al. 2019",
)  # fmt: skip
OF_ARCHITECTURE = {
    "cinn": Reference(
        "ardizzone2019guided",
        "Ardizzone, Lynton and Lüth, Carsten and Kruse, Jakob and Rother, Carsten and Köthe, Ullrich",
        "Guided image generation with conditional invertible neural networks", "arXiv:1907.02392", 2019,
        "10.48550/arXiv.1907.02392", "Ardizzone et al. 2019",
    ),
    "enhance": WINKLER,
    "segment": WINKLER,
    "semi-conditional": Reference(
        "atanov2019semi",
        "Atanov, Andrei and Volokhova, Alexandra and Ashukha, Arsenii and Sosnovik, Ivan and Vetrov, Dmitry",
        "Semi-conditional normalizing flows for semi-supervised learning", "arXiv:1905.00505", 2019,
        "10.48550/arXiv.1905.00505", "Atanov et al. 2019",
    ),
    "infocnf": NGUYEN,
    "ccnf": NGUYEN,
    "caglow": Reference(
        "liu2019conditional", "Liu, Rui and Liu, Yu and Gong, Xinyu and Wang, Xiaogang and Li, Hongsheng",
        "Conditional adversarial generative flow for controllable image synthesis", "CVPR; arXiv:1904.01782", 2019,
        "10.48550/arXiv.1904.01782", "Liu et al. 2019", "inproceedings",
    ),
    "cglow": Reference(
        "kingma2018glow", "Kingma, Diederik P. and Dhariwal, Prafulla",
        "Glow: generative flow with invertible 1x1 convolutions", "NeurIPS; arXiv:1807.03039", 2018,
        "10.48550/arXiv.1807.03039", "Kingma and Dhariwal 2018", "inproceedings",
    ),
}  # fmt: skip
