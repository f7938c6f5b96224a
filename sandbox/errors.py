"""Errors that a user can act on: one message (what, where, why, the mend) and one exit code each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SandboxError(Exception):
    """Ends the command with `exit_code` and the message, without a traceback (`--debug` shows it)."""

    exit_code = 1


class UsageError(SandboxError):
    """An unknown name, a wrong value, an unreadable configuration."""

    exit_code = 2


class EnvironmentFailed(SandboxError):
    """The environment raised, or returned what its spaces forbid."""

    exit_code = 3


class Diverged(SandboxError):
    """A number became non-finite."""

    exit_code = 4


class CorruptFile(SandboxError):
    """A file does not match its checksum, or is not what it should be."""

    exit_code = 5


class StudyIncomplete(SandboxError):
    """A study finished, but some of its runs failed."""

    exit_code = 6


class NoResources(SandboxError):
    """Disk, memory, permission, or a run folder in use by another process."""

    exit_code = 7


class Stopped(SandboxError):
    """Stopped early by SIGTERM; `resume` goes on."""

    exit_code = 75


class Interrupted(SandboxError):
    """Stopped early by Ctrl-C; `resume` goes on."""

    exit_code = 130


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean x or y?' for the closest of `known`, else ''."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(close)}?" if close else ""
