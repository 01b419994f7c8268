"""Every address of the server."""

from allauth.account.decorators import reauthentication_required, secure_admin_login
from allauth.usersessions.views import list_usersessions
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.urls import include, path, re_path

from accounts.urls import api_urls as accounts_api
from accounts.urls import page_urls as accounts_pages
from apikeys.urls import api_urls as apikeys_api
from apikeys.urls import page_urls as apikeys_pages
from config import health, metrics, views
from training.urls import api_urls as training_api
from training.urls import page_urls as training_pages
from workspaces.urls import api_urls as workspaces_api
from workspaces.urls import page_urls as workspaces_pages

admin.autodiscover()
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = "Keyhouse"
# Whoever finds an open browser must not end the owner's other sessions without the password.
sessions = login_required(reauthentication_required(list_usersessions, allow_get=True))

urlpatterns = [
    path("", views.home, name="home"),
    path("", include((accounts_pages, "accounts"))),
    path("", include((workspaces_pages, "workspaces"))),
    path("", include((apikeys_pages, "apikeys"))),
    path("accounts/sessions/", sessions),  # in the place of django-allauth's
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("openapi.json", views.Schema.as_view(), name="openapi"),
    path("api/openapi.json", views.Schema.as_view()),
    path("api/docs", views.Docs.as_view(url_name="openapi"), name="api-docs"),
    path("api/", include((accounts_api, "accounts-api"))),
    path("api/", include((workspaces_api, "workspaces-api"))),
    path("api/", include((apikeys_api, "apikeys-api"))),
    path("api/", include((training_api, "training-api"))),
    re_path("^api/", views.UnknownPath.as_view()),
    path("", include((training_pages, "training"))),  # last: their paths begin with the name of a workspace
]

handler400 = "config.views.bad_request"
handler403 = "config.views.permission_denied"
handler404 = "config.views.not_found"
handler500 = "config.views.server_error"
