"""The product's settings, with the rivals installed beside it and the limits out of reach."""

from config.settings import *  # noqa: F403
from config.settings import CACHES, DATABASES, INSTALLED_APPS, RATE_LIMITS, REDIS_URL, REST_FRAMEWORK

INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework.authtoken", "knox"]
ROOT_URLCONF = "tests.benchmarks.urls"
RATE_LIMITS = RATE_LIMITS | {"default": (1_000_000_000, 60)}
USAGE_FLUSH_SECONDS = 3.0
if REDIS_URL:
    # What Django gives to DRF's throttles.
    CACHES = CACHES | {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
REST_FRAMEWORK = REST_FRAMEWORK | {"DEFAULT_THROTTLE_RATES": {"user": "1000000000/min"}}
# A health check costs a round trip; our look-up needs none, and the rivals are not charged for it either.
DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
