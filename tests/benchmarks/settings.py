"""The product's settings, with the rivals installed beside it."""

from config.settings import *  # noqa: F403
from config.settings import CACHES, DATA_DIR, DATABASES, INSTALLED_APPS, REDIS_URL, REST_FRAMEWORK

INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework.authtoken", "knox"]
ROOT_URLCONF = "tests.benchmarks.urls"
CACHES = CACHES | {
    "files": {"BACKEND": "config.ratelimit_cache.DiskCounters", "LOCATION": str(DATA_DIR / "ratelimit")},
}
if REDIS_URL:
    # What Django gives to DRF's throttles.
    CACHES |= {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
REST_FRAMEWORK = REST_FRAMEWORK | {"DEFAULT_THROTTLE_RATES": {"user": "100/min"}}  # as ours
# A health check costs a round trip; our look-up needs none, so the rivals are not charged for it either.
DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
