"""The two ways a command can end badly; every message is one sentence that says what is wrong and what to do."""


class GnomonError(Exception):
    """Base of all errors that gnomon raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(GnomonError):
    """The caller asked for something that cannot be: a wrong word, file, name or setting (exit code 2)."""

    exit_code = 2


class Failure(GnomonError):
    """The request was sound but the work could not be finished: full disk, no network, NaN (exit code 1)."""

    exit_code = 1
