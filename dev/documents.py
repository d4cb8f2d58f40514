"""The commands of the documents: their blocks, and what they name in their text."""

import os
import re

import parts

# How a command in the text of a document begins.
BEGINS = re.compile(r"(rollkeeper|make|call|json) \S")


def blocks(file, kind, after="", before="\n## "):
    """The code blocks of a document between two places."""
    section = _text(file).partition(after)[2] if after else _text(file)
    return re.findall(rf"^```{kind}\n(.*?)^```$", section.partition(before)[0] if before else section, re.M | re.S)


def named(file):
    """The commands that a document names in its text or shows in a block, each once, by their first word."""
    found = re.findall(r"`([^`\n]+)`", _text(file))
    for block in blocks(file, "sh", before=""):
        found += block.splitlines()
    commands = {}
    for command in found:
        command = re.split(r"\s+#", command)[0].strip()
        if BEGINS.match(command):
            commands.setdefault(command.split()[0], set()).add(command)
    return commands


def words_and_options(command):
    """The subcommands of a command line, and the options that it gives."""
    words, options = [], []
    arguments = iter(command.split()[1:])
    for argument in arguments:
        if argument.startswith("--"):
            options.append(argument)
            # Each option that the documents show has a value.
            next(arguments, None)
        elif re.fullmatch("[a-z-]+", argument):
            words.append(argument)
    return words, options


def _text(file):
    with open(os.path.join(parts.ROOT, file), encoding="utf-8") as document:
        return document.read()
