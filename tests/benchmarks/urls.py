"""One and the same view behind each way of authentication."""

from django.urls import path
from knox.auth import TokenAuthentication as KnoxAuthentication
from rest_framework.authentication import TokenAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from config.api import PUBLIC, ApiView, allow
from config.ratelimit import rate_limit
from config.urls import urlpatterns as product

ANSWER = {"username": "alice", "name": "Alice", "accountType": "personal", "counts": {"projects": 1, "models": 2}}


class Floor(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request):
        return Response(ANSWER)


class OursForAll(ApiView):
    authentication_classes = ()

    @allow(PUBLIC)
    def get(self, request):
        return Response(ANSWER)


class Ours(ApiView):
    @allow("view")
    @rate_limit("default")
    def get(self, request):
        return Response(ANSWER)


class Token(Floor):
    authentication_classes = (TokenAuthentication,)
    permission_classes = (IsAuthenticated,)


class TokenThrottled(Token):
    throttle_classes = (UserRateThrottle,)


class Knox(Token):
    authentication_classes = (KnoxAuthentication,)


urlpatterns = [
    path("api/bench/floor", Floor.as_view()),
    path("api/bench/ours-for-all", OursForAll.as_view()),
    path("api/bench/ours", Ours.as_view()),
    path("api/bench/token", Token.as_view()),
    path("api/bench/token-throttled", TokenThrottled.as_view()),
    path("api/bench/knox", Knox.as_view()),
    *product,
]
