from django.urls import path

from apikeys import api, views

api_urls = [
    path("api-keys", api.KeyList.as_view(), name="key-list"),
    path("api-keys/current", api.CurrentKey.as_view(), name="key-current"),
    path("api-keys/current/rotate", api.CurrentKeyRotation.as_view(), name="key-current-rotate"),
    path("api-keys/<uuid:key_id>", api.KeyDetail.as_view(), name="key-detail"),
    path("api-keys/<uuid:key_id>/rotate", api.KeyRotation.as_view(), name="key-rotate"),
]
page_urls = [
    path("settings/api-keys/create", views.key_create, name="key-create"),
    path("settings/api-keys/<uuid:key_id>", views.key_detail, name="key-detail"),
    path("settings/api-keys/<uuid:key_id>/rotate", views.key_rotate, name="key-rotate"),
    path("settings/api-keys/<uuid:key_id>/rotation", views.key_rotation, name="key-rotation"),
    path("settings/api-keys/<uuid:key_id>/revoke", views.key_revoke, name="key-revoke"),
]
