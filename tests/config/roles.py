"""Who may use what belongs to no app. See tests/roles.py."""

PUBLIC = {
    "GET /": (200, 302),
    "GET /openapi.json": (200, 200),
    "GET /api/openapi.json": (200, 200),
    "GET /api/docs": (200, 200),
    "GET /healthz": (200, 200),
    "GET /readyz": (200, 200),
    "GET /metrics": (200, 200),  # from this machine; tests/apikeys/test_usage.py has the others
} | {f"{method} /api/nowhere": (404, 404) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")}
