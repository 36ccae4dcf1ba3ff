"""The launcher's only error, which says what is wrong and what to do."""


class ClusterError(Exception):
    """An error that is reported to the user; the remedy is part of the message."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n  → {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy
