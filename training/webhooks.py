"""What training clients call: events, addresses for checkpoints, and the bytes under those addresses."""

import json
import re
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import FileResponse, HttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.response import Response

from config.address import client_address
from config.api import PUBLIC, ApiRequest, ApiView, allow
from config.clients import client_name
from config.context import absolute
from config.errors import Invalid, NotFound
from config.parsers import JsonParser
from config.ratelimit import count, rate_limit
from training import events, ingest, services, storage
from training.models import Run
from training.serializers import EventSerializer, ReceivedSerializer, UploadAddressSerializer, UploadSerializer
from workspaces.access import Actor, Right

TAG = ["Training"]


class EventParser(JsonParser):
    """JSON in which NaN and Infinity, which JSON does not know, may stand: Python's writer produces them."""

    strict = False


class Metrics(ApiView):
    parser_classes = (EventParser,)

    @extend_schema(
        operation_id="sendTrainingEvent",
        summary="Send an event of a training",
        description=(
            "`training_started` with `project` begins a run and answers with its `modelId`, which goes into all "
            "further events. Events may come in any order, late and more than once. `cancelled: true` in the answer "
            "to `training_started` and `epoch_end` asks the client to stop."
        ),
        request=EventSerializer,
        responses=ReceivedSerializer,
        examples=[
            OpenApiExample(
                "The start",
                {
                    "project": "alice-b/my-project",
                    "name": "exp1",
                    "event": "training_started",
                    "data": {"trainArgs": {"task": "detect", "model": "yolo26n.pt", "epochs": "100"}, "epochs": 100},
                },
                request_only=True,
            ),
            OpenApiExample(
                "An epoch",
                {
                    "modelId": "0b6f4a4e-6a0e-4c8f-9a80-6f1a3c0d6a11",
                    "event": "epoch_end",
                    "data": {"epoch": 0, "metrics": {"train/box_loss": 3.7, "metrics/mAP50(B)": 0.02}, "fitness": 0.01},
                },
                request_only=True,
            ),
        ],
        tags=TAG,
    )
    @allow(Right.EDIT)
    @rate_limit("stream")
    def post(self, request: ApiRequest) -> Response:
        event = events.parse(request.data)
        body = json.dumps(request.data, sort_keys=True).encode() if event.kind == "training_started" else b""
        outcome = ingest.take(request.actor, event, body)
        answer: dict[str, Any] = {"received": True, "event": event.kind, "mode": "remote"}
        if outcome.run_id is not None:
            answer["modelId"] = str(outcome.run_id)
        if event.kind == "training_started":
            owner = request.actor.workspace.slug
            page = reverse("training:run-detail", args=[owner, outcome.project_slug, outcome.slug])
            answer |= {
                "runId": outcome.attempt,
                "modelSlug": outcome.slug,
                "modelUrl": absolute(request._request, page),
            }
        if outcome.is_cancelled:
            answer["cancelled"] = True
        if outcome.warning:
            answer["warning"] = outcome.warning
        if outcome.is_stale:
            answer["ignored"] = "stale_instance"
        return Response(answer)


class Upload(ApiView):
    @extend_schema(
        operation_id="getCheckpointUploadAddress",
        summary="Get an address to upload a checkpoint to",
        description=(
            "PUT the file's bytes to `uploadUrl`, which needs no other credential and can be used again until it "
            "expires. With a `runId` a `checkpoint_saved` event then makes them the model's weights, without one they "
            "are at once."
        ),
        request=UploadSerializer,
        responses=UploadAddressSerializer,
        examples=[
            OpenApiExample(
                "Of a run",
                {"modelId": "0b6f4a4e-6a0e-4c8f-9a80-6f1a3c0d6a11", "runId": 1, "filename": "best.pt"},
                request_only=True,
            )
        ],
        tags=TAG,
    )
    @allow(Right.EDIT)
    @rate_limit("stream")
    def post(self, request: ApiRequest) -> Response:
        data = self.validated(UploadSerializer)
        checkpoint, address = storage.ask_upload(
            request.actor,
            find_run(request.actor, data),
            filename=data["filename"],
            attempt=data.get("run_id"),
            size=data.get("size"),
        )
        return Response(
            {
                "uploadUrl": absolute(request._request, address),
                "gcsPath": checkpoint.path,
                "uploadPath": checkpoint.path,
                "modelId": str(checkpoint.run_id),
            },
            headers={"Cache-Control": "no-store"},
        )


def find_run(actor: Actor, data: dict[str, Any]) -> Run:
    """The run that `modelId` names, else the one of `project` and `name`. Raises NotFound, Invalid, NotAllowed."""
    if data.get("model_id"):
        return services.find_run_by_id(actor, events.read_id(data["model_id"]))
    if not data.get("project") or not data.get("name"):
        raise Invalid("modelId: This field is required.", details={"modelId": ["This field is required."]})
    return services.find_run(actor, ingest.project_slug(actor, data["project"]), events.slugify(data["name"]))


class SignedView(ApiView):
    """For requests whose address is their credential."""

    authentication_classes = ()
    is_signed = True

    def holder(self, request: ApiRequest, purpose: str, checkpoint_id: UUID, category: str) -> Any:
        """The checkpoint that the address is for; the request counts for whoever asked for the address."""
        request = request._request  # type: ignore[assignment]
        checkpoint, actor = storage.find_signed(
            purpose,
            checkpoint_id,
            request.GET,
            address=client_address(request),  # type: ignore[arg-type]
            client=client_name(request),
        )
        request.actor = actor
        self.category = category
        self.rate_limit_headers = count(request, category)
        connection = request.META.get("gunicorn.socket")
        if connection is not None:  # a client that stops in the middle must not keep a thread for ever
            connection.settimeout(settings.TRANSFER_SILENCE_SECONDS)
        return checkpoint


class UploadBytes(SignedView):
    @extend_schema(
        operation_id="uploadCheckpoint",
        summary="Upload a checkpoint",
        description="The whole file as the body, with `Content-Length`. The same address takes it again.",
        parameters=[
            OpenApiParameter("expires", int, required=True),
            OpenApiParameter("by", str, required=True),
            OpenApiParameter("signature", str, required=True),
        ],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={204: None},
        tags=TAG,
    )
    @allow(PUBLIC)
    def put(self, request: ApiRequest, checkpoint_id: UUID, filename: str) -> Response:
        checkpoint = self.holder(request, storage.UPLOAD, checkpoint_id, "stream")
        if checkpoint.filename != filename or storage.bypasses():
            raise NotFound("Model not found")
        length = request._request.META.get("CONTENT_LENGTH") or ""
        if not length.isascii() or not length.isdigit() or len(length) > 18:
            raise Invalid("Send the file with its length in Content-Length")
        storage.receive(checkpoint, request._request, int(length))
        return Response(status=204)


class DownloadBytes(SignedView):
    @extend_schema(
        operation_id="downloadCheckpoint",
        summary="Download a checkpoint",
        description="Answers `Range` with a part of the file (RFC 9110, section 14), to go on with a download.",
        parameters=[
            OpenApiParameter("expires", int, required=True),
            OpenApiParameter("by", str, required=True),
            OpenApiParameter("signature", str, required=True),
        ],
        responses={
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            (206, "application/octet-stream"): OpenApiTypes.BINARY,
            416: OpenApiResponse(description="The range is not in the file."),
        },
        tags=TAG,
    )
    @allow(PUBLIC)
    def get(self, request: ApiRequest, checkpoint_id: UUID, filename: str) -> HttpResponse:
        checkpoint = self.holder(request, storage.DOWNLOAD, checkpoint_id, "download")
        if checkpoint.download_name != filename or checkpoint.stored_at is None:
            raise NotFound("Model not found")
        return file_response(request._request, checkpoint)


def file_response(request: Any, checkpoint: Any) -> Any:
    """The file as it is, or the part that `Range` asks for, for no cache to keep and no browser to run."""
    size = checkpoint.size_bytes
    try:
        wanted = byte_range(request.headers.get("Range", ""), size) if "If-Range" not in request.headers else None
    except ValueError:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    first, last = wanted or (0, size - 1)
    file = storage.open_file(checkpoint)
    file.seek(first)
    response = FileResponse(Part(file, last - first + 1), content_type="application/octet-stream")
    response.block_size = 64 * 1024
    response.status_code = 206 if wanted else 200
    if wanted:
        response["Content-Range"] = f"bytes {first}-{last}/{size}"
    response["Content-Length"] = str(last - first + 1)
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = f'attachment; filename="{checkpoint.download_name}"'
    response["Cache-Control"] = "private, no-store"
    return response


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of what a Range header asks for; None for one that we need not heed (RFC 9110, 14.2).

    Raises ValueError if the file has no such bytes.
    """
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:  # the last so many bytes
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2]), size - 1) if found[2] else size - 1
        if found[2] and int(found[2]) < first:
            return None
    if first > last:
        raise ValueError(header)
    return first, last


class Part:
    """Some bytes of an open file, for FileResponse: closes it in the end."""

    def __init__(self, file: Any, length: int):
        self.file, self.left = file, length

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(data)
        return data

    def close(self) -> None:
        self.file.close()
