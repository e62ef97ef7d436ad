"""Errors that the user can fix."""


class CrowError(Exception):
    """A problem that the user can fix. Commands print its message and exit with status 2.

    The message gives the place (file, row, column), what was found, and what to do.

    Examples
    --------
    >>> import crow
    >>> try:
    ...     crow.read_cohort("no_such_file.csv")
    ... except crow.CrowError as error:
    ...     print(type(error).__name__)
    CohortError
    """


class CohortError(CrowError):
    """A cohort table cannot be read as one row per visit."""


class ConfigError(CrowError):
    """A setting is unknown or has an impossible value."""


class RunError(CrowError):
    """A run folder is missing, damaged, or written by a newer version."""


class OutputError(CrowError):
    """A result cannot be written: it exists, or the system refuses."""


class ScanError(CrowError):
    """A scan cannot be read, or cannot be prepared together with the other scans of its cohort."""


class SolverError(CrowError):
    """The differential equation of a continuous flow cannot be solved to its tolerance."""


class MissingExtra(CrowError):
    """A task needs a library that is not installed. The message has the command that installs it."""


class ClusterError(CrowError):
    """A cluster cannot be reached or started."""


class WorkerError(CrowError):
    """The processes that run the tasks of a command ended again and again."""
