"""Commands that look after a cluster, against a real one."""

import json
import os
import subprocess
import sys
import tarfile

import pytest
from heads import cli

from narke._private.cli import completion, describe
from narke._private.cli.doctor import check_cluster


def test_doctor_finds_nothing_wrong_with_a_fresh_cluster(head):
    done = cli("doctor", "--json", "--address", head.session)
    found = {row["subject"]: row for row in json.loads(done.stdout)}
    assert {"programs", "Python", "open files", "shared memory", "disk", "ports", "clock"} <= found.keys()
    assert {found[name]["level"] for name in ("programs", "token", "nodes", "dashboard")} == {"ok"}
    assert done.returncode == int(any(row["level"] == "error" for row in found.values()))
    text = cli("doctor", "--address", head.session).stdout
    assert "\x1b" not in text and "nodes: 1 alive" in text


def test_doctor_says_what_to_fix(head):
    token = os.path.join(head.session, "token")
    os.chmod(token, 0o644)
    try:
        [finding] = [each for each in check_cluster(head.session) if each.subject == "token"]
    finally:
        os.chmod(token, 0o600)
    assert finding.level == "error" and f"chmod 600 {token}" in finding.fix
    [gone] = check_cluster("/nowhere")
    assert gone.level == "error" and "/nowhere" in gone.text


def test_health_is_an_exit_status(head):
    assert cli("health-check", "--address", head.session).returncode == 0
    assert cli("health-check", "--address", head.session, "--component", "gateway").returncode == 0
    gone = cli("health-check", "--address", "127.0.0.1:1")
    assert gone.returncode == 1 and "127.0.0.1:1" in gone.stderr and "Traceback" not in gone.stderr


def test_the_token_is_printed_and_made(head, tmp_path):
    home = {"HOME": str(tmp_path)}
    assert cli("get-auth-token", "--address", head.session, env=home).stdout.strip() == head.token
    made = cli("get-auth-token", "--generate", env=home).stdout.strip()
    kept = tmp_path / ".ray" / "auth_token"
    assert kept.read_text().strip() == made and len(made) >= 32 and kept.stat().st_mode & 0o077 == 0
    assert cli("get-auth-token", "--generate", env=home).stdout.strip() == made


def test_a_named_actor_is_ended(head, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import narke as ray, sys\n"
        "ray.init(address=sys.argv[1], namespace='n')\n"
        "@ray.remote(num_cpus=0)\n"
        "class Kept:\n"
        "    def hello(self): return 1\n"
        "kept = Kept.options(name='kept', lifetime='detached').remote()\n"
        "ray.get(kept.hello.remote())\n"
    )
    subprocess.run([sys.executable, str(program), head.session], check=True, timeout=60)
    words = ["kill-actor", "--address", head.session, "--name", "kept", "--namespace"]
    wrong = cli(*words, "other", "--force")
    assert wrong.returncode == 1 and "kept" in wrong.stderr
    done = cli(*words, "n", "--force", "--no-restart")
    assert done.returncode == 0 and "was ended" in done.stdout, done.stderr


def test_a_dump_holds_logs_and_no_secret(head, tmp_path):
    target = tmp_path / "dump.tar.gz"
    done = cli("local-dump", "--address", head.session, "--output", str(target))
    assert done.returncode == 0, done.stderr
    with tarfile.open(target) as archive:
        names = archive.getnames()
        texts = [archive.extractfile(name).read() for name in names if archive.getmember(name).isfile()]
    assert {"info.json", "packages.txt", "processes.txt", "logs/narke-node.log"} <= set(names)
    assert not any(head.token.encode() in text for text in texts)
    assert not any(name.endswith("token") for name in names)


@pytest.mark.parametrize("words", [("status",), ("list", "nodes"), ("summary", "tasks"), ("job", "list")])
def test_json_is_one_option_away(head, words):
    address = head.url if words[0] == "job" else head.session
    done = cli(*words, "--json", "--address", address)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_a_look_at_the_cluster_waits_for_no_large_import(head):
    program = (
        "import sys; before = set(sys.modules); from narke._cli import main; assert main(['status', '-v']) == 0; "
        "print(*(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "2 CPU" in done.stdout, done.stderr
    needless = {"argparse", "typing", "socket", "subprocess", "logging", "asyncio", "narke.exceptions"}
    assert not needless & set(done.stderr.split())


def test_wrong_usage_is_2_and_says_what_is_there():
    for words in (("nothing",), ("status", "--nothing"), ("list", "nothing")):
        done = cli(*words)
        assert done.returncode == 2 and "usage:" in done.stderr, words


def complete(*words):
    line = " ".join(words)
    script = completion.script("bash") + (
        f'COMP_WORDS=({line} ""); COMP_CWORD={len(words)}; _narke; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    return done.stdout.split()


def test_a_shell_completes_commands_and_options():
    assert {"status", "job", "doctor"} <= set(complete("narke"))
    assert {"submit", "logs"} <= set(complete("narke", "job"))
    assert "--runtime-env-json" in complete("narke", "job", "submit")
    assert "--filter" in complete("narke", "list", "actors")
    assert completion.script("zsh").endswith(completion.script("bash"))
    assert "complete -c narke" in completion.script("fish")


def test_every_command_tells_its_options():
    from narke._cli import COMMANDS

    described = {command.words[0] for command in describe.commands(list(COMMANDS))}
    assert described == set(COMMANDS) - {"run"} or described == set(COMMANDS)
