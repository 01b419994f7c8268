from django.urls import path, re_path

from apikeys import api, decoy_views, endpoint_views, leak_api, verify, views

api_urls = [
    path("api-keys", api.KeyList.as_view(), name="key-list"),
    path("api-keys/current", api.CurrentKey.as_view(), name="key-current"),
    path("api-keys/current/rotate", api.CurrentKeyRotation.as_view(), name="key-current-rotate"),
    path("api-keys/<uuid:key_id>", api.KeyDetail.as_view(), name="key-detail"),
    path("api-keys/<uuid:key_id>/rotate", api.KeyRotation.as_view(), name="key-rotate"),
    path("credentials/revoke", leak_api.CredentialRevocation.as_view(), name="leak-report"),
    path("leaks/range/<str:prefix>", leak_api.LeakRange.as_view(), name="leak-range"),
    path("auth/verify", verify.verify, name="verify"),
    re_path(r"^auth/verify/(?P<rest>[\s\S]*)$", verify.verify, name="verify-below"),
    path("auth/introspect", verify.Introspection.as_view(), name="introspect"),
]
page_urls = [
    path("settings/api-keys/create", views.key_create, name="key-create"),
    path("settings/api-keys/<uuid:key_id>", views.key_detail, name="key-detail"),
    path("settings/api-keys/<uuid:key_id>/usage", views.key_usage, name="key-usage"),
    path("settings/api-keys/<uuid:key_id>/rotate", views.key_rotate, name="key-rotate"),
    path("settings/api-keys/<uuid:key_id>/rotation", views.key_rotation, name="key-rotation"),
    path("settings/api-keys/<uuid:key_id>/revoke", views.key_revoke, name="key-revoke"),
    path("settings/api-keys/decoys", decoy_views.decoy_list, name="decoy-list"),
    path("settings/api-keys/decoys/<uuid:decoy_id>/delete", decoy_views.decoy_delete, name="decoy-delete"),
    path("settings/api-keys/leaks", views.leak_rules, name="leak-rules"),
    path("settings/endpoints/create", endpoint_views.endpoint_create, name="endpoint-create"),
    path("settings/endpoints/<uuid:endpoint_id>", endpoint_views.endpoint_detail, name="endpoint-detail"),
    path("settings/endpoints/<uuid:endpoint_id>/change", endpoint_views.endpoint_change, name="endpoint-change"),
    path("settings/endpoints/<uuid:endpoint_id>/delete", endpoint_views.endpoint_delete, name="endpoint-delete"),
]
