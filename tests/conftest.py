"""Hypothesis profiles: `quick` for `make test`, `thorough` for `make test-thorough`, `unshrunk` for `make mutants`."""

import os

from hypothesis import HealthCheck, Phase, settings

settings.register_profile("quick", max_examples=5, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("unshrunk", settings.get_profile("quick"), phases=(Phase.explicit, Phase.generate))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
