"""How much of Ray's command line is here: counted, with the facts of Ray 2.60 in a table."""

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
