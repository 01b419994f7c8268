"""REST views of projects and models, as the SDK uses them. Their paths name the workspace: its members and its own keys
get in, everybody else learns nothing of it."""

from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.response import Response

from config.api import ApiRequest, ApiView, allow
from config.context import absolute
from config.errors import Conflict, NotAllowed, NotFound
from config.ratelimit import rate_limit
from config.schema import CONFLICT, WORKSPACE
from training import services, storage
from training.analysis import analysis_of
from training.models import Checkpoint, Project, Run, Status, bytes_of_project
from training.serializers import (
    REGION,
    CancelledSerializer,
    ChangedSerializer,
    CreatedSerializer,
    DeletedSerializer,
    FileListSerializer,
    JobAnswerSerializer,
    LimitSerializer,
    ModelChangeSerializer,
    ModelCloneSerializer,
    ModelDetailSerializer,
    ModelListSerializer,
    ModelRetrievedSerializer,
    ModelSerializer,
    NewModelSerializer,
    NewProjectSerializer,
    ProjectChangeSerializer,
    ProjectCloneSerializer,
    ProjectDetailSerializer,
    ProjectListSerializer,
    ProjectSerializer,
    ProjectWithModelsSerializer,
    ShortModelSerializer,
    StorageSerializer,
    UserAnswerSerializer,
    job_of,
    storage_limit,
    training_error,
)
from workspaces.access import Actor, Right, Role
from workspaces.models import Workspace
from workspaces.services import actor_in

PROJECTS, MODELS = ["Projects"], ["Models"]
LIMIT = OpenApiParameter("limit", int, description="At most so many, 1 to 1000; 1000 by default.")
CONSOLE_CHUNKS = 500  # the newest ones that `retrieve` gives


def actor_at(actor: Actor, owner: str) -> Actor:
    """The caller in the workspace that a path names. A key has its own only.

    Raises NotFound where there is no such workspace, or the person has no place in it; NotAllowed for a key elsewhere.
    """
    owner = owner.lower()
    if owner == actor.workspace.slug:
        return actor
    if actor.key is not None:
        if Workspace.objects.filter(slug=owner, deleted_at=None).exists():
            raise NotAllowed
        raise NotFound("User not found")
    try:
        return actor_in(actor.user, owner, address=actor.address, client=actor.client)
    except NotFound:
        raise NotFound("User not found") from None


class OwnedView(ApiView):
    """A view whose path begins with the workspace that it is about."""

    def check_permissions(self, request: Any) -> None:
        actor = getattr(request._request, "actor", None)
        if actor is not None and "owner" in self.kwargs:
            if "\0" in "".join(self.kwargs.values()):  # which PostgreSQL does not even compare with
                raise NotFound("Model not found")
            request._request.actor = actor_at(actor, self.kwargs["owner"])
        super().check_permissions(request)


def annotated_projects(actor: Actor) -> QuerySet[Project]:
    """The projects of the actor's workspace with what their JSON shows, in one statement."""
    runs = Run.objects.kept().filter(project=OuterRef("pk")).order_by()
    stars = Project.starred_by.through.objects.filter(project=OuterRef("pk"))
    return (
        Project.objects.kept()
        .filter(workspace=actor.workspace)
        .annotate(
            model_count=Coalesce(Subquery(runs.values("project").annotate(n=Count("pk")).values("n")), 0),
            star_count=Coalesce(Subquery(stars.values("project").annotate(n=Count("pk")).values("n")), 0),
            is_starred=Exists(stars.filter(user=actor.user)),
            total_bytes=bytes_of_project(),
        )
        .order_by("-updated_at", "-pk")
    )


def annotated_runs(actor: Actor) -> QuerySet[Run]:
    """The runs of the actor's workspace with what their JSON shows, newest first."""
    stars = Run.starred_by.through.objects.filter(run=OuterRef("pk"))
    return (
        Run.objects.kept()
        .filter(workspace=actor.workspace, project__deleted_at=None)
        .select_related("project", "weights")
        .annotate(
            star_count=Coalesce(Subquery(stars.values("run").annotate(n=Count("pk")).values("n")), 0),
            is_starred=Exists(stars.filter(user=actor.user)),
        )
        .newest_first()
    )


def prepared(actor: Actor, things: list[Any]) -> list[Any]:
    """`things` with the actor's workspace in them, which saves a query each."""
    for thing in things:
        thing.workspace = actor.workspace
        if isinstance(thing, Run):
            thing.training_error = training_error(thing)  # type: ignore[attr-defined]
    return things


def one_project(actor: Actor, slug: str) -> Any:
    found = prepared(actor, list(annotated_projects(actor).filter(slug=slug)))
    if not found:
        raise NotFound("Project not found")
    return found[0]


def is_owner(actor: Actor) -> bool:
    return actor.role >= Role.EDITOR


class ProjectCreation(ApiView):
    @extend_schema(
        operation_id="createProject",
        summary="Create a project",
        parameters=[WORKSPACE],
        request=NewProjectSerializer,
        responses={200: CreatedSerializer},
        examples=[OpenApiExample("A project", {"project": "my-project", "name": "My project"}, request_only=True)],
        tags=PROJECTS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        data = self.validated(NewProjectSerializer)
        actor = actor_at(request.actor, data.pop("owner", request.actor.workspace.slug))
        project = services.create_project(actor, name=data.pop("name", ""), **data)
        return Response(created(actor, project))


def created(actor: Actor, project: Project, run: Run | None = None) -> dict[str, Any]:
    thing = run or project
    answer = {"id": str(thing.pk), "owner": actor.workspace.slug, "project": project.slug, "name": thing.name}
    return answer | ({"model": run.slug} if run else {}) | {"region": REGION}


class ProjectList(OwnedView):
    @extend_schema(
        operation_id="listProjects",
        summary="List the projects of a workspace",
        description="Changed last first.",
        parameters=[LIMIT],
        responses=ProjectListSerializer,
        tags=PROJECTS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest, owner: str) -> Response:
        actor, query = request.actor, self.validated_query(LimitSerializer)
        projects = prepared(actor, list(annotated_projects(actor)[: query["limit"]]))
        total = len(projects)
        if total == query["limit"]:
            total = Project.objects.kept().filter(workspace=actor.workspace).count()
        data = ProjectSerializer(projects, many=True).data
        return Response({"projects": data, "total": total, "region": REGION})


class ProjectDetail(OwnedView):
    @extend_schema(
        operation_id="getProject",
        summary="Show a project with its models",
        parameters=[OpenApiParameter("search", str, description="Part of a model's name."), LIMIT],
        responses=ProjectWithModelsSerializer,
        tags=PROJECTS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest, owner: str, project: str) -> Response:
        actor, query = request.actor, self.validated_query(LimitSerializer)
        found = one_project(actor, project)
        runs = Run.objects.kept().filter(project=found).select_related("weights").newest_first()
        if query["search"]:
            search = query["search"].replace("\0", "")
            runs = runs.filter(Q(name__icontains=search) | Q(slug__icontains=search))
        return Response(
            {
                "project": ProjectDetailSerializer(found).data,
                "models": ShortModelSerializer(prepared(actor, list(runs[: query["limit"]])), many=True).data,
                "isOwner": is_owner(actor),
            }
        )

    @extend_schema(
        operation_id="updateProject",
        summary="Change a project",
        request=ProjectChangeSerializer,
        responses=ChangedSerializer,
        tags=PROJECTS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def patch(self, request: ApiRequest, owner: str, project: str) -> Response:
        actor, data = request.actor, self.validated(ProjectChangeSerializer)
        found = services.find_project(actor, project)
        starred = data.pop("starred", None)
        if data or starred is None:
            services.update_project(actor, found, **data)
        return changed(actor, found, "project", starred)

    @extend_schema(
        operation_id="deleteProject",
        summary="Delete a project with its models",
        description="They can be brought back for 30 days, on the Trash page.",
        responses={200: DeletedSerializer},
        tags=PROJECTS,
    )
    @allow(Right.EDIT)
    @rate_limit("default")
    def delete(self, request: ApiRequest, owner: str, project: str) -> Response:
        actor = request.actor
        count = services.delete_project(actor, services.find_project(actor, project))
        return Response({"success": True, "cascadedModels": count})


def changed(actor: Actor, thing: Any, kind: str, starred: bool | None) -> Response:
    if starred is None:
        return Response({"success": True, kind: thing.slug})
    return Response({"starred": starred, "starCount": services.star(actor, thing, starred), kind: thing.slug})


class ProjectClone(OwnedView):
    @extend_schema(
        operation_id="cloneProject",
        summary="Copy a project",
        description="Descriptions and arguments of its models, or of those in `models`, without history and weights.",
        request=ProjectCloneSerializer,
        responses={200: CreatedSerializer},
        tags=PROJECTS,
    )
    @allow(Right.EDIT)
    @rate_limit("default")
    def post(self, request: ApiRequest, owner: str, project: str) -> Response:
        actor, data = request.actor, self.validated(ProjectCloneSerializer)
        own_only(actor, data)
        copy, count = services.clone_project(actor, services.find_project(actor, project), **data)
        return Response(created(actor, copy) | {"modelCount": count})


def own_only(actor: Actor, data: dict[str, Any]) -> None:
    """Take the owner out of `data`: copies stay in their workspace. Raises NotAllowed for another one."""
    if data.pop("owner", actor.workspace.slug).lower() != actor.workspace.slug:
        raise NotAllowed


class ModelCreation(ApiView):
    @extend_schema(
        operation_id="createModel",
        summary="Create a model",
        description="In an existing project. Trainings make their models themselves.",
        parameters=[WORKSPACE],
        request=NewModelSerializer,
        responses={200: CreatedSerializer},
        examples=[OpenApiExample("A model", {"project": "my-project", "name": "Exp 1"}, request_only=True)],
        tags=MODELS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def post(self, request: ApiRequest) -> Response:
        data = self.validated(NewModelSerializer)
        actor = actor_at(request.actor, data.pop("owner", request.actor.workspace.slug))
        actor.require(Right.EDIT)
        project = services.find_project(actor, data.pop("project"))
        run = services.create_run(actor, project, **data)
        return Response(created(actor, project, run))


class ModelList(OwnedView):
    @extend_schema(
        operation_id="listModels",
        summary="List the models of a project",
        description="Newest first.",
        parameters=[LIMIT],
        responses=ModelListSerializer,
        tags=MODELS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest, owner: str, project: str) -> Response:
        actor, query = request.actor, self.validated_query(LimitSerializer)
        found = services.find_project(actor, project)
        runs = prepared(actor, list(annotated_runs(actor).filter(project=found)[: query["limit"]]))
        return Response({"models": ModelSerializer(runs, many=True).data, "region": REGION})


class ModelDetail(OwnedView):
    @extend_schema(
        operation_id="getModel",
        summary="Show a model",
        description="With its history, the newest 500 chunks of its console, and its plots.",
        parameters=[OpenApiParameter("analysis", str, description="`1`: the validation's analysis instead.")],
        responses=ModelRetrievedSerializer,
        tags=MODELS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest, owner: str, project: str, model: str) -> Response:
        actor = request.actor
        found = annotated_runs(actor).filter(project__slug=project, slug=model).first()
        if found is None:
            raise NotFound("Model not found")
        run: Any = prepared(actor, [found])[0]
        if request.query_params.get("analysis") == "1":
            return Response({"analysis": analysis_of(run.results.get("validation"))})
        run.plot_data = list(run.plots.order_by("position").values_list("data", flat=True))
        run.train_results = run.epochs.order_by("number")
        run.console_chunks = run.console.order_by("-chunk_id")[:CONSOLE_CHUNKS][::-1]
        return Response({"model": ModelDetailSerializer(run).data, "isOwner": is_owner(actor)})

    @extend_schema(
        operation_id="updateModel",
        summary="Change a model",
        request=ModelChangeSerializer,
        responses=ChangedSerializer,
        tags=MODELS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def patch(self, request: ApiRequest, owner: str, project: str, model: str) -> Response:
        actor, data = request.actor, self.validated(ModelChangeSerializer)
        found = services.find_run(actor, project, model)
        starred = data.pop("starred", None)
        if data or starred is None:
            services.update_run(actor, found, **data)
        return changed(actor, found, "model", starred)

    @extend_schema(
        operation_id="deleteModel",
        summary="Delete a model",
        description="It can be brought back for 30 days, on the Trash page.",
        responses={200: DeletedSerializer},
        tags=MODELS,
    )
    @allow(Right.EDIT)
    @rate_limit("default")
    def delete(self, request: ApiRequest, owner: str, project: str, model: str) -> Response:
        actor = request.actor
        services.delete_run(actor, services.find_run(actor, project, model))
        return Response({"success": True})


class ModelFiles(OwnedView):
    @extend_schema(
        operation_id="listModelFiles",
        summary="List a model's files",
        description="With addresses that need no other credential and live for an hour. Empty: it has no weights yet.",
        responses=FileListSerializer,
        tags=MODELS,
    )
    @allow(Right.VIEW)
    @rate_limit("download")
    def get(self, request: ApiRequest, owner: str, project: str, model: str) -> Response:
        actor = request.actor
        weights = storage.weights_of(services.find_run(actor, project, model))
        files = [] if weights is None else [self.file(request, actor, weights)]
        return Response({"files": files}, headers={"Cache-Control": "no-store"})

    def file(self, request: ApiRequest, actor: Actor, weights: Checkpoint) -> dict[str, Any]:
        address = absolute(request._request, storage.download_url(actor, weights))
        return {"name": weights.filename, "size": weights.size_bytes, "downloadUrl": address}


class ModelDownload(OwnedView):
    @extend_schema(
        operation_id="downloadModel",
        summary="Redirect to a model's weights",
        description="What older clients ask with HEAD. `Location` needs no other credential and lives for an hour.",
        responses={302: OpenApiResponse(description="The weights are at `Location`.")},
        tags=MODELS,
    )
    @allow(Right.VIEW)
    @rate_limit("download")
    def get(self, request: ApiRequest, owner: str, project: str, model: str) -> HttpResponse:
        actor = request.actor
        weights = storage.weights_of(services.find_run(actor, project, model))
        if weights is None:
            raise NotFound("Model not found")
        address = absolute(request._request, storage.download_url(actor, weights))
        return HttpResponse(status=302, headers={"Location": address, "Cache-Control": "no-store"})


class ModelTraining(OwnedView):
    @extend_schema(
        operation_id="getTraining",
        summary="Show how far a model's training is",
        responses=JobAnswerSerializer,
        tags=MODELS,
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest, owner: str, project: str, model: str) -> Response:
        run = services.find_run(request.actor, project, model)
        job = job_of(run) | {"error": training_error(run)} if run.attempt else None
        return Response({"job": job})

    @extend_schema(
        operation_id="cancelTraining",
        summary="Cancel a model's training",
        description="The client learns of it with its next event. What it still sends is kept. 409 if it has ended.",
        responses={200: CancelledSerializer, 409: CONFLICT},
        tags=MODELS,
    )
    @allow(Right.EDIT)
    @rate_limit("default")
    def delete(self, request: ApiRequest, owner: str, project: str, model: str) -> Response:
        actor = request.actor
        run = services.find_run(actor, project, model)
        warning = services.cancel_run(actor, run)
        if run.status != Status.CANCELLED:
            raise Conflict(warning)
        return Response({"success": True, "status": run.status} | ({"warning": warning} if warning else {}))


class ModelClone(OwnedView):
    @extend_schema(
        operation_id="cloneModel",
        summary="Copy a model",
        description="Its description and arguments, without its history and weights.",
        request=ModelCloneSerializer,
        responses={200: CreatedSerializer},
        tags=MODELS,
    )
    @allow(Right.EDIT)
    @rate_limit("default")
    def post(self, request: ApiRequest, owner: str, project: str, model: str) -> Response:
        actor, data = request.actor, self.validated(ModelCloneSerializer)
        own_only(actor, data)
        run = services.find_run(actor, project, model)
        target = services.find_project(actor, data.pop("project")) if "project" in data else run.project
        copy = services.clone_run(actor, run, project=target, **data)
        return Response(created(actor, target, copy))


class StorageUsage(ApiView):
    @extend_schema(
        operation_id="getStorage",
        summary="How much the workspace stores",
        parameters=[OpenApiParameter("details", str, description="`true`: with the ten largest models."), WORKSPACE],
        responses=StorageSerializer,
        tags=["Account"],
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        actor = request.actor
        stored = Checkpoint.objects.stored().filter(run__workspace=actor.workspace)
        totals = stored.aggregate(bytes=Coalesce(Sum("size_bytes"), 0), count=Count("pk"))
        limit, none = storage_limit(), {"bytes": 0, "count": 0}
        items = []
        if request.query_params.get("details") == "true":
            runs = stored.values("run", "run__name", "run__slug", "run__project__name", "run__project__slug")
            items = [
                {
                    "_id": str(row["run"]),
                    "name": row["run__name"],
                    "slug": row["run__slug"],
                    "sizeBytes": row["size"],
                    "type": "model",
                    "parentName": row["run__project__name"],
                    "parentSlug": row["run__project__slug"],
                }
                for row in runs.annotate(size=Sum("size_bytes")).order_by("-size")[:10]
            ]
        used = {"current": totals["bytes"], "limit": limit, "percent": round(100 * totals["bytes"] / limit, 2)}
        return Response(
            {
                "tier": "free",
                "usage": {"storage": used},
                "updatedAt": None,
                "breakdown": {
                    "byCategory": {"datasets": none, "models": totals, "exports": none},
                    "topItems": items,
                },
                "region": REGION,
                "username": actor.workspace.slug,
            }
        )


class Users(ApiView):
    @extend_schema(
        operation_id="getUser",
        summary="Is this the name of a person or a team?",
        description="What `ul` asks to tell a workspace from a project. Names only; 404 if there is none.",
        parameters=[OpenApiParameter("username", str, required=True), WORKSPACE],
        responses=UserAnswerSerializer,
        tags=["Account"],
    )
    @allow(Right.VIEW)
    @rate_limit("default")
    def get(self, request: ApiRequest) -> Response:
        name = request.query_params.get("username", "").lower().replace("\0", "")
        workspace = Workspace.objects.filter(slug=name, deleted_at=None).first()
        if workspace is None:
            raise NotFound("User not found")
        user = {
            "username": workspace.slug,
            "accountType": "personal" if workspace.is_personal else "team",
            "followerCount": 0,
            "isFollowed": False,
        }
        return Response({"user": user})
