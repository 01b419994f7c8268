"""Who may do what with projects and runs. See tests/roles.py."""

from tests.conftest import actor_of
from tests.roles import Team, api, everybody, page
from tests.training.stream import METRICS, WEIGHTS, epoch, event, started, upload
from training import services
from training.models import Run

API = {
    "GET /api/storage": api("viewer", keys="viewer"),
    "GET /api/users?username={team}": api("viewer", keys="viewer"),
    "POST /api/webhooks/training/metrics": api("editor", keys="editor", foreign=404),
    "POST /api/webhooks/models/upload": api("editor", keys="editor", foreign=404),
    "GET /api/webhooks/models/{team}/{project}/{run}/download": api("viewer", 302, keys="viewer", foreign=403),
    "PUT /api/uploads/{checkpoint}/best.pt": everybody(403),  # the signature is the credential
    "GET /api/downloads/{checkpoint}/best.pt": everybody(403),
    "POST /api/projects": api("editor", keys="editor"),
    "GET /api/projects/{team}": api("viewer", keys="viewer", foreign=403),
    "GET /api/projects/{team}/{project}": api("viewer", keys="viewer", foreign=403),
    "PATCH /api/projects/{team}/{project}": api("editor", keys="editor", foreign=403),
    "DELETE /api/projects/{team}/{project}": api("editor", keys="editor", foreign=403),
    "POST /api/projects/{team}/{project}/clone": api("editor", keys="editor", foreign=403),
    "POST /api/models": api("editor", keys="editor", foreign=404),
    "GET /api/models/{team}/{project}": api("viewer", keys="viewer", foreign=403),
    "GET /api/models/{team}/{project}/{run}": api("viewer", keys="viewer", foreign=403),
    "PATCH /api/models/{team}/{project}/{run}": api("editor", keys="editor", foreign=403),
    "DELETE /api/models/{team}/{project}/{run}": api("editor", keys="editor", foreign=403),
    "GET /api/models/{team}/{project}/{run}/files": api("viewer", keys="viewer", foreign=403),
    "GET /api/models/{team}/{project}/{run}/training": api("viewer", keys="viewer", foreign=403),
    "DELETE /api/models/{team}/{project}/{run}/training": api("editor", keys="editor", foreign=403),
    "POST /api/models/{team}/{project}/{run}/clone": api("editor", keys="editor", foreign=403),
}
PAGES = {
    "GET /projects": page("viewer", 302),
    "GET /projects/create": page("editor"),
    "POST /projects/create": page("editor", 302),
    "GET /projects/{project_id}/change": page("editor"),
    "POST /projects/{project_id}/change": page("editor", 302),
    "GET /projects/{project_id}/compare": page("viewer", 302),  # back to choose two
    "GET /projects/{project_id}/curves": page("viewer"),
    "GET /projects/{project_id}/delete": page("editor"),
    "POST /projects/{project_id}/delete": page("editor", 302),
    "POST /projects/{deleted_project}/restore": page("editor", 302),
    "GET /projects/{project_id}/export.csv": page("viewer"),
    "GET /runs/{run_id}/live?after=0": page("viewer"),
    "GET /runs/{run_id}/curves": page("viewer"),
    "GET /runs/{run_id}/console": page("viewer"),
    "GET /runs/{run_id}/plots/0": page("viewer"),
    "GET /runs/{run_id}/export.csv": page("viewer"),
    "GET /runs/{run_id}/export.json": page("viewer"),
    "GET /runs/{run_id}/console.log": page("viewer"),
    "GET /runs/{run_id}/weights": page("viewer"),
    "GET /runs/{run_id}/change": page("editor"),
    "POST /runs/{run_id}/change": page("editor", 302),
    "GET /runs/{run_id}/cancel": page("editor"),
    "POST /runs/{run_id}/cancel": page("editor", 302),
    "GET /runs/{run_id}/delete": page("editor"),
    "POST /runs/{run_id}/delete": page("editor", 302),
    "POST /runs/{deleted_run}/restore": page("editor", 302),
    "GET /trash": page("viewer"),
    "GET /{team}": page("viewer"),
    "GET /{team}/{project}": page("viewer"),
    "GET /{team}/{project}/{run}": page("viewer"),
}
BODIES = {
    "POST /api/webhooks/training/metrics": epoch("{run_id}", 1),
    "POST /api/webhooks/models/upload": {"modelId": "{run_id}", "filename": "best.pt"},
    "POST /api/projects": {"project": "another", "name": "Another"},
    "PATCH /api/projects/{team}/{project}": {"name": "Renamed"},
    "POST /api/projects/{team}/{project}/clone": {},
    "POST /api/models": {"project": "{project}", "name": "Another"},
    "PATCH /api/models/{team}/{project}/{run}": {"name": "Renamed"},
    "POST /api/models/{team}/{project}/{run}/clone": {},
    "POST /projects/create": {"name": "Another", "slug": "another"},
    "POST /projects/{project_id}/change": {"name": "Renamed", "slug": "renamed"},
    "POST /runs/{run_id}/change": {"name": "Renamed"},
}
OWN_RUN = "/api/models/{own_team}/{own_project}/{own_run}"
FOREIGN = [
    ("PATCH " + OWN_RUN, {"projectId": "{project_id}"}),
    ("POST " + OWN_RUN + "/clone", {"project": "{project}"}),
    ("POST " + OWN_RUN + "/clone", {"owner": "{team}"}),
    ("POST /api/projects/{own_team}/{own_project}/clone", {"models": ["{run_id}"]}),
    ("POST /api/projects/{own_team}/{own_project}/clone", {"owner": "{team}"}),
    ("POST /api/projects", {"project": "another", "name": "Another", "owner": "{team}"}),
    ("POST /api/models", {"project": "{own_project}", "name": "Another", "owner": "{team}"}),
    ("POST /api/webhooks/training/metrics", started(project="{team}/{project}", name="{run}")),
    ("POST /api/webhooks/training/metrics", event("{own_run_id}", "checkpoint_saved", modelPath="{path}", runId=1)),
    ("GET /projects/{own_project_id}/curves?run={run_id}", None),
]


def things(team: Team) -> None:
    call, key, editor = team.call, team.editor_key, actor_of(team.editor, team.workspace)
    run_id = call(key, METRICS, started(project=f"project-of-{team.workspace.slug}")).json()["modelId"]
    call(key, METRICS, epoch(run_id, 0))
    path = upload(call, key, run_id, run_id=None, data=WEIGHTS)
    call(key, METRICS, event(run_id, "training_complete", results={}, plots=[{"type": "pr_curve"}]))
    Run.objects.filter(pk=run_id).update(status="running")  # with all that a finished one has
    run = Run.objects.get(pk=run_id)
    gone = services.create_project(editor, slug="gone", name="Gone")
    services.delete_project(editor, gone)
    gone_run = services.create_run(editor, run.project, slug="gone")
    services.delete_run(editor, gone_run)
    team.ids |= {
        "project": run.project.slug,
        "project_id": run.project.pk,
        "run": run.slug,
        "run_id": run.pk,
        "path": path,
        "checkpoint": run.weights_id,
        "deleted_project": gone.pk,
        "deleted_run": gone_run.pk,
    }
