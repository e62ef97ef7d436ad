"""YAML files of any origin: the values with the line of each key, or one sentence; in bounded time and memory."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from crow.errors import ConfigError
from crow.files import read_text

Places = dict[tuple[str, ...], str]
MAX_NODES = 5_000_000  # keys and values, with each alias written out
MAX_DEPTH = 50
MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path, what: str = "settings") -> tuple[dict[str, Any], Places]:
    """The values of a file of ``key: value`` lines, and the place of each key.

    Raises ConfigError if it is no such file, if a key stands twice, or if aliases multiply or contain themselves.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{path}: cannot be read as YAML: {reason}.") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _check_size(path, node)
        places = dict(_places(path, node))  # before the loader writes out the merges (<<)
        values = {} if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {what} are needed as 'key: value' lines; found {type(values).__name__}.")
    return values, places


def _check_size(path: Path, root: yaml.Node | None) -> None:
    """Raise ConfigError unless the nodes are few and flat, even if an alias is written out wherever it stands."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if not isinstance(node, yaml.CollectionNode):
            return 1
        if id(node) in open_nodes:
            raise ConfigError(f"{path}, line {node.start_mark.line + 1}: an alias that contains itself. Remove it.")
        if depth > MAX_DEPTH:
            raise ConfigError(f"{path}, line {node.start_mark.line + 1}: nested more than {MAX_DEPTH} deep.")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            inner = [each for item in node.value for each in (item if isinstance(item, tuple) else (item,))]
            sizes[id(node)] = 1 + sum(size(each, depth + 1) for each in inner)
            open_nodes.remove(id(node))
        return sizes[id(node)]

    if root is not None and size(root, 0) > MAX_NODES:
        raise ConfigError(f"{path}: more than {MAX_NODES:,} keys and values. Remove aliases that multiply.")


def _places(path: Path, node: yaml.Node | None, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in reversed(node.value):  # of two merges the first counts, and a key of the mapping itself over both
        if key.tag == MERGE:
            for base in reversed(value.value if isinstance(value, yaml.SequenceNode) else [value]):
                yield from _places(path, base, prefix)
    seen: set[Hashable] = set()
    for key, value in node.value:
        if key.tag == MERGE:
            continue
        name = (*prefix, str(key.value))
        place = f"{path}, line {key.start_mark.line + 1}"
        if name in seen:
            raise ConfigError(f"{place}: {'.'.join(name)} is set twice; keep one of the lines.")
        seen.add(name)
        yield name, place
        yield from _places(path, value, name)
