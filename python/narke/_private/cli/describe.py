"""The command line as data: its commands and their options, from the parsers that read them."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from typing import Any

__all__ = ["Command", "commands"]


class Command:
    """One command.

    Attributes:
        words: what calls it, such as ``("job", "submit")``.
        options: the flags of its options.
        choices: the values of its positional arguments, where they are listed.
    """

    def __init__(self, words: tuple[str, ...], options: list[str], choices: list[str]) -> None:
        self.words = words
        self.options = options
        self.choices = choices


class _Found(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def commands(names: list[str]) -> Iterator[Command]:
    """All commands below `names`, those that have commands of their own among them.

    Args:
        names: words that `narke` takes first.
    """
    for name in names:
        if name == "logs":
            for kind in ("cluster", "actor", "worker", "task", "job"):
                yield from _below((name, kind), _parser_of([name, kind]))
        parser = _parser_of([name])
        if parser is not None:
            yield from _below((name,), parser)


def _parser_of(words: list[str]) -> argparse.ArgumentParser | None:
    """The parser that a command makes; None for one that reads its words itself."""
    # Asked for help, a command that reads its plainest calls without a parser makes one, too.
    from narke import _cli

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> Any:
        raise _Found(parser)

    kept = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_known_args
    argparse.ArgumentParser.parse_args = stop  # type: ignore[method-assign, assignment]
    argparse.ArgumentParser.parse_known_args = stop  # type: ignore[method-assign, assignment]
    try:
        module, arguments = _cli.command_of([*words, "--help"])
        importlib.import_module(module).main(*arguments)
    except _Found as found:
        return found.parser
    except SystemExit:
        return None
    finally:
        argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_known_args = kept  # type: ignore[method-assign]
    return None


def _below(words: tuple[str, ...], parser: argparse.ArgumentParser | None) -> Iterator[Command]:
    if parser is None:
        return
    options: list[str] = []
    choices: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            choices += list(action.choices)
            for name, inner in action.choices.items():
                yield from _below((*words, name), inner)
        elif action.option_strings:
            options += action.option_strings
        elif action.choices:
            choices += [str(choice) for choice in action.choices]
    yield Command(words, options, choices)
