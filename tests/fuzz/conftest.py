"""Number of cases: FUZZ_CASES per target, a quarter of it for pages; the seed is pytest's --hypothesis-seed."""

import os

from hypothesis import HealthCheck, Phase, settings

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
PHASES = (Phase.explicit, Phase.generate, *([Phase.shrink] if os.environ.get("FUZZ_SHRINK") else []))
"""Failing cases are shrunk only on request, since that takes minutes."""

settings.register_profile(
    "fuzz", max_examples=CASES, deadline=None, database=None, print_blob=True, phases=PHASES, suppress_health_check=list(HealthCheck)
)
settings.load_profile("fuzz")
