"""`carnet policy`: what its help says of a command before that is loaded is what the command says of itself."""

import inspect
from importlib import import_module

import pytest

from policy.commands.app import COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_a_command_is_its_own(name: str) -> None:
    place, words = COMMANDS[name]
    module, _, function = place.partition(":")
    command = getattr(import_module(f"policy.commands.{module}"), function)
    assert words == " ".join((inspect.getdoc(command) or "").split("\n\n")[0].split())
