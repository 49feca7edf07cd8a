"""The errors a user can meet. Each message names the file, line or key, the value, and what to do
next.
"""

from __future__ import annotations


class LangraftError(Exception):
    """Something went wrong that is not a bug of ours; the CLI prints the message and exits with
    `exit_code`.
    """

    exit_code = 1


class BadInput(LangraftError):
    """The user's recipe, file or argument cannot be used as it is (exit code 2)."""

    exit_code = 2


class RunFailed(LangraftError):
    """The work itself failed: a full disk, a diverged loss, a folder that another process owns
    (exit code 1).
    """
