"""``narke completion``: a script with which a shell completes commands and options."""

from __future__ import annotations

import argparse

__all__ = ["main", "script"]

_SHELLS = ("bash", "zsh", "fish")
_BASH = """\
_narke() {{
  local path="" word words=""
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) ;; *) path="${{path:+$path }}$word" ;; esac
  done
  while true; do
    case "$path" in
{cases}
    esac
    [ -n "$words" ] && break
    case "$path" in *" "*) path="${{path% *}}" ;; *) return ;; esac
  done
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _narke narke
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def main(words: list[str]) -> int:
    """Print the script; returns 0, or 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog="narke completion",
        description='Use it with: eval "$(narke completion bash)" (or zsh), or narke completion fish | source.',
    )
    parser.add_argument("shell", choices=_SHELLS)
    print(script(parser.parse_args(words).shell), end="")
    return 0


def script(shell: str) -> str:
    """The script for a shell: ``"bash"``, ``"zsh"`` or ``"fish"``."""
    from narke import _cli
    from narke._private.cli.describe import commands

    table: dict[tuple[str, ...], list[str]] = {(): sorted([*_cli.COMMANDS, "--help", "--version"])}
    for command in commands(list(_cli.COMMANDS)):
        table[command.words] = sorted({*command.choices, *(o for o in command.options if o.startswith("--"))})
    return _fish(table) if shell == "fish" else (_ZSH if shell == "zsh" else "") + _bash(table)


def _bash(table: dict[tuple[str, ...], list[str]]) -> str:
    cases = [f'    "{" ".join(words)}") words="{" ".join(values)}" ;;' for words, values in table.items()]
    return _BASH.format(cases="\n".join(cases))


def _fish(table: dict[tuple[str, ...], list[str]]) -> str:
    lines = ["complete -c narke -e"]
    for words, values in table.items():
        seen = (
            " ; and ".join(f"__fish_seen_subcommand_from {word}" for word in words) or "__fish_use_subcommand"
        )
        for value in values:
            what = f"-l {value[2:]}" if value.startswith("--") else f"-f -a {value}"
            lines.append(f"complete -c narke -n '{seen}' {what}")
    return "\n".join(lines) + "\n"
