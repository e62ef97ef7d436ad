"""What a user did or brought that crow cannot work with."""


class CrowError(Exception):
    """A problem the user can mend; commands print its text and leave with exit code 2.

    The message says where (file, row, column), what was found, and what to do.
    """


class CohortError(CrowError):
    """A cohort table that cannot be read as one row a visit."""


class ConfigError(CrowError):
    """A setting that is unknown or has an impossible value."""


class RunError(CrowError):
    """A run folder that is missing, damaged, or written by a newer version."""


class OutputError(CrowError):
    """A result that cannot be written: it exists, or the disk refuses."""


class ScanError(CrowError):
    """A scan that cannot be read, or not be prepared with the other scans of its cohort."""


class SolverError(CrowError):
    """A differential equation of a continuous flow that cannot be solved to its tolerance."""
