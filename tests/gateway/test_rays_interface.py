"""How much of Ray's command line and REST interface is here: counted, with the facts of Ray 2.60 in a table."""

from __future__ import annotations

from narke._cli import COMMANDS
from narke._private.cli import describe

LOOK = "--address --timeout"
LOG = "--address --follow --tail --timeout"
JOB = "--address --verify --headers --log-style --log-color --verbose"

# Commands that work on a cluster of nodes that are there, and their options. Not here: those that start machines at a
# cloud (up, down, attach, exec, rsync-*, submit, get-head-ip, get-worker-ips, monitor, kill-random-node,
# kuberay-autoscaler, cluster-dump), that send data to others (usage stats, check-open-ports), C++ templates, and Tune's
# and Serve's own, which their tests count.
RAYS_COMMANDS = {
    "job submit": f"{JOB} --job-id --submission-id --runtime-env --runtime-env-json --working-dir --metadata-json "
    "--entrypoint-num-cpus --entrypoint-num-gpus --entrypoint-memory --entrypoint-resources "
    "--entrypoint-label-selector --no-wait",
    "job status": JOB,
    "job stop": f"{JOB} --no-wait",
    "job delete": JOB,
    "job logs": f"{JOB} --follow",
    "job list": JOB,
    "list": f"{LOOK} --format --filter --limit --detail",
    "get": LOOK,
    "summary": LOOK,
    "logs actor": f"{LOG} --id --pid --node-id --node-ip --err",
    "logs cluster": f"{LOG} --node-id --node-ip",
    "logs job": f"{LOG} --id",
    "logs task": f"{LOG} --id --attempt-number --err",
    "logs worker": f"{LOG} --pid --node-id --node-ip --err",
    "memory": "--address --group-by --sort-by --units --stats-only --num-entries",
    "status": "--address --verbose",
    "timeline": "--address",
    "stack": "",
    "debug": "--address --verbose",
    "health-check": "--address --component --skip-version-check",
    "get-auth-token": "--generate",
    "kill-actor": "--address --name --namespace --force --no-restart",
    "local-dump": "--stream --output --logs --no-logs --debug-state --no-debug-state --pip --no-pip --processes "
    "--no-processes --processes-verbose --no-processes-verbose --tempfile",
    "start": "--node-ip-address --address --port --object-store-memory --num-cpus --num-gpus --resources --head "
    "--include-dashboard --dashboard-host --dashboard-port --block --temp-dir --metrics-export-port --labels --memory "
    "--ray-client-server-port --min-worker-port --max-worker-port --node-manager-port --object-manager-port "
    "--disable-usage-stats --no-monitor --plasma-directory --system-config",
    "stop": "--force --grace-period",
    "drain-node": "--address --node-id --reason --reason-message --deadline-remaining-seconds",
}

# All routes of Ray 2.60's dashboard and agents.
RAYS_ROUTES = """
GET /
POST /api/authenticate
GET /api/authentication_mode
GET /api/cluster_status
GET /api/component_activities
GET /api/data/datasets/{}
GET /api/gcs_healthz
GET /api/grafana_health
GET /api/healthz
POST /api/job_agent/jobs/
DELETE /api/job_agent/jobs/{}
GET /api/job_agent/jobs/{}/logs
GET /api/job_agent/jobs/{}/logs/tail
POST /api/job_agent/jobs/{}/stop
GET /api/jobs/
POST /api/jobs/
DELETE /api/jobs/{}
GET /api/jobs/{}
GET /api/jobs/{}/logs
GET /api/jobs/{}/logs/tail
POST /api/jobs/{}/stop
GET /api/local_raylet_healthz
GET /api/packages/{}/{}
PUT /api/packages/{}/{}
GET /api/profiling_enabled
GET /api/prometheus/sd
GET /api/prometheus_health
GET /api/ray/version
DELETE /api/serve/applications/
GET /api/serve/applications/
PUT /api/serve/applications/
POST /api/task_events
POST /api/task_events/query
GET /api/train/v2/runs
GET /api/train/v2/runs/v1
GET /api/v0/actors
GET /api/v0/actors/summarize
GET /api/v0/cluster_events
GET /api/v0/cluster_metadata
GET /api/v0/delay/{}
GET /api/v0/jobs
GET /api/v0/logs
GET /api/v0/logs/{}
GET /api/v0/nodes
GET /api/v0/objects
GET /api/v0/objects/summarize
GET /api/v0/placement_groups
GET /api/v0/platform_events
GET /api/v0/runtime_env_redaction
GET /api/v0/runtime_envs
GET /api/v0/tasks
GET /api/v0/tasks/summarize
GET /api/v0/tasks/timeline
GET /api/v0/workers
POST /api/v1/applications/{}/deployments/{}/scale
GET /api/version
GET /cluster_id
GET /events
GET /favicon.ico
GET /logical/actors
GET /logical/actors/{}
GET /memory_profile
GET /nodes
GET /nodes/{}
POST /report_events
GET /task/cpu_profile
GET /task/traceback
GET /test/dump
GET /timezone
GET /usage_stats_enabled
GET /worker/cpu_profile
GET /worker/gpu_profile
GET /worker/jax_profile
GET /worker/traceback
"""

# Those that are not here, and why.
LEFT_OUT = {
    "/report_events": "agents of Ray post what they saw here; nodes of Narke tell their head over their own links",
    "/api/task_events": "a protobuf that agents of Ray post, off by default there",
    "/api/task_events/query": "a protobuf that Ray's own state server asks with",
    "/api/v0/platform_events": "events that an operator of Kubernetes writes into the dashboard",
    "/worker/jax_profile": "asks a server of JAX's own in the worker, which answers such tools directly",
    "/test/dump": "the dashboard's memory, for Ray's own tests",
    "/api/v0/delay/{}": "an answer that is late, for Ray's own tests",
}


def test_nine_tenths_of_the_options_are_taken():
    have = {" ".join(each.words): set(each.options) for each in describe.commands(list(COMMANDS))}
    wanted = {(name, option) for name, text in RAYS_COMMANDS.items() for option in ["", *text.split()]}
    here = {
        (name, option)
        for name, option in wanted
        if any(
            (each == name or each.startswith(f"{name} ")) and (not option or option in options)
            for each, options in have.items()
        )
    }
    missing = sorted(wanted - here)
    assert len(here) >= 0.9 * len(wanted), f"{len(here)} of {len(wanted)}; missing: {missing}"


def test_nine_tenths_of_all_routes_are_served_and_all_that_have_a_use_here(head):
    document = head.ask("GET", "/api/openapi.json").json()
    have = {
        (method.upper(), _plain(path)) for path, methods in document["paths"].items() for method in methods
    }
    wanted = {tuple(line.split()) for line in RAYS_ROUTES.strip().splitlines()}
    missing = {path for method, path in wanted if not _is_served(head, (method, path), have)}
    assert missing == set(LEFT_OUT)
    assert len(missing) <= 0.1 * len(wanted), f"{len(missing)} of {len(wanted)} are missing"


def _plain(path: str) -> str:
    """A path with all parameters alike."""
    parts = ["{}" if part.startswith("{") else part for part in path.strip("/").split("/")]
    return "/" + "/".join(parts)


def _is_served(head, route, have) -> bool:
    """Whether a route is described, also under a pattern that takes its last part, or is a page."""
    method, path = route
    if (method, _plain(path)) in have:
        return True
    if method != "GET" or "{}" in path:
        return False
    answer = head.ask(method, path)
    is_page = path in ("/", "/favicon.ico")
    return answer.status == 200 and (is_page or "json" in answer.headers.get("content-type", ""))
