"""Which images a refresh may run; pure.

Who chooses the image of a run chooses the code that gets the warehouse's password.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final


@dataclass(frozen=True)
class ImageRules:
    """Which images refreshes may name; that of the chart is always allowed."""

    allowed: tuple[str, ...] = ()
    """Patterns with * and ?, which also match slashes; empty: none."""

    def denial(self, image: str | None) -> str:
        """Return why a refresh may not run an image; empty if it may."""
        if image is None or any(fnmatchcase(image, pattern) for pattern in self.allowed):
            return ""
        which = f"allowed are {', '.join(self.allowed)}" if self.allowed else "it allows none"
        return f"image {image} (spec.image) is not allowed by runner.allowedImages of the operator's chart: {which}"


NO_IMAGE: Final = ImageRules()
"""Refreshes run the image of the chart."""
