"""What the launcher raises: one error, which says what is wrong and what to do next."""


class ClusterError(Exception):
    """Something a person has to know about; the remedy is part of the message."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n  → {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy
