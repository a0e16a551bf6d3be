"""Settings for the whole suite."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("default", max_examples=40, **COMMON)
settings.register_profile("thorough", max_examples=2000, **COMMON)
settings.register_profile(
    "raw", max_examples=200, phases=[Phase.explicit, Phase.generate], **COMMON
)
settings.load_profile(os.environ.get("NGU_TEST_PROFILE", "default"))
