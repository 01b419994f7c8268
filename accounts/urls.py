from django.urls import path

from accounts import api, views

api_urls = [path("account/summary", api.AccountSummary.as_view(), name="summary")]
page_urls = [path("settings", views.settings_page, name="settings")]
