"""All commands of crow by name, each imported when it is used."""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

from typer.core import TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

PANELS = {
    "Cohorts": {
        "simulate": "Simulate a cohort with known truth.",
        "check": "Report how a cohort is read, and what to correct.",
        "prepare": "Bring the scans of a cohort onto one grid.",
        "extract": "Measure regions in prepared scans.",
    },
    "Longitudinal models": {
        "train": "Train a model of a cohort.",
        "adapt": "Estimate the effects of new sites or scanners.",
        "generate": "Forecast visits, or simulate new subjects.",
        "explore": "Explore forecasts in the browser.",
        "fill": "Fill missing regions.",
        "score": "Find visits that do not fit their subject.",
        "evaluate": "Compare forecasts with baselines on test subjects.",
        "report": "Write all results of a run into one HTML file.",
        "share": "Pack a run for others, without subjects.",
    },
    "Single visits": {
        "synthesize": "Draw synthetic visits with given attributes.",
        "translate": "Draw another modality or other regions.",
        "classify": "Classify visits with few labels.",
        "enhance": "Draw thin slices from thick ones.",
        "segment": "Segment a structure.",
    },
    "Settings": {"settings": "Print all settings and presets."},
}
"""The summaries, in the order of the help. The command ``check`` is the function of this name in `crow.cli.check`."""


class Commands(MutableMapping[str, Any]):
    """The commands of ``PANELS``, and those that are set. A command is imported when it is read."""

    def __init__(self, more: dict[str, Any]) -> None:
        self._made: dict[str, Any] = dict.fromkeys(name for panel in PANELS.values() for name in panel) | more

    def __getitem__(self, name: str) -> Any:
        if self._made[name] is None:
            self._made[name] = _imported(name)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


class CommandGroup(TyperGroup):
    """A group with the `Commands`."""

    def __init__(self, *, commands: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.commands = Commands(commands)


def _imported(name: str) -> Any:
    panel = next(panel for panel, summaries in PANELS.items() if name in summaries)
    info = CommandInfo(
        name, callback=getattr(import_module(f"crow.cli.{name}"), name), short_help=PANELS[panel][name],
        rich_help_panel=panel,
    )  # fmt: skip
    return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode="rich")
