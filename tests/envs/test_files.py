"""working_dir, py_modules, plugins, merging: from directories, archives and URIs, on one node and on two."""

import functools
import http.server
import json
import os
import pathlib
import threading
import zipfile

import pytest
import wheels as wheel_files
from test_installing import GET_S, look

from narke.exceptions import RuntimeEnvSetupError


@pytest.fixture
def project(tmp_path):
    """A directory with a module, data, and what is to be left out."""
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / "helper.py").write_text("VALUE = 7\n")
    (folder / "data.txt").write_text("data")
    (folder / "secret.key").write_text("x")
    (folder / "sub" / "more.log").write_text("x")
    (folder / ".gitignore").write_text("*.log\n")
    (folder / ".rayignore").write_text("*.tmp\n")
    (folder / "scratch.tmp").write_text("x")
    return folder


def archive(path, folder, top=""):
    with zipfile.ZipFile(path, "w") as out:
        for file in pathlib.Path(folder).rglob("*"):
            if file.is_file():
                out.write(file, os.path.join(top, file.relative_to(folder)))
    return path


LISTING = "sorted(str(p) for p in imported('pathlib').Path().rglob('*') if p.is_file())"


def test_a_directory_is_copied_without_what_is_left_out(ray, project):
    env = {"working_dir": str(project), "excludes": ["*.key"]}
    assert look(ray, env, LISTING) == [".gitignore", ".rayignore", "data.txt", "helper.py"]
    (project / "data.txt").write_text("changed later")
    assert look(ray, env, "open('data.txt').read(), imported('helper').VALUE") == ("changed later", 7)


def test_an_archive_is_a_working_dir(ray, project, tmp_path):
    path = archive(tmp_path / "project.zip", project)
    assert look(ray, {"working_dir": str(path)}, "open('data.txt').read()") == "data"


@pytest.fixture
def web(tmp_path):
    """A server of the files in tmp_path; gives its URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_uris_of_several_kinds_lead_to_archives(ray, project, tmp_path, web):
    path = archive(tmp_path / "remote.zip", project, top="remote-1.0")
    for uri in (f"file://{path}", f"{web}/remote.zip"):
        assert look(ray, {"working_dir": uri}, "imported('helper').VALUE") == 7, uri
    with pytest.raises(RuntimeEnvSetupError, match="404"):
        look(ray, {"working_dir": f"{web}/none.zip"}, "1")
    with pytest.raises(RuntimeEnvSetupError, match="not uploaded"):
        look(ray, {"working_dir": "gcs://_ray_pkg_none.zip"}, "1")
    with pytest.raises(RuntimeEnvSetupError, match="(?i)protocol not known|no such|unknown"):
        look(ray, {"working_dir": "nosuch://x/y.zip"}, "1")


def test_an_object_store_is_read_through_fsspec(ray, project, tmp_path):
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": endpoint}
    os.environ.update(keys)
    try:
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        s3.create_bucket(Bucket="packages")
        s3.upload_file(str(archive(tmp_path / "p.zip", project, top="p")), "packages", "p.zip")
        env = {"working_dir": "s3://packages/p.zip", "env_vars": keys}
        ray.shutdown(wait_for_processes=True)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        assert look(ray, env, "imported('helper').VALUE") == 7
    finally:
        for name in keys:
            os.environ.pop(name, None)
        server.stop()


def test_modules_come_from_directories_files_wheels_and_objects(ray, tmp_path, wheels):
    package = tmp_path / "nk_package"
    package.mkdir()
    (package / "__init__.py").write_text("value = 3\n")
    (tmp_path / "nk_single.py").write_text("value = 4\n")
    wheel = str(wheels / "nk_one-2.0-py3-none-any.whl")
    env = {"py_modules": [str(package), str(tmp_path / "nk_single.py"), wheel]}
    code = "imported('nk_package').value, imported('nk_single').value, imported('nk_one').version"
    assert look(ray, env, code) == (3, 4, 2)
    remote = archive(tmp_path / "mods.zip", package, top="top/nk_package")
    assert look(ray, {"py_modules": [f"file://{remote}"]}, "imported('nk_package').value") == 3
    import nk_module

    assert look(ray, {"py_modules": [nk_module]}, "imported('nk_module').__file__") != nk_module.__file__


@pytest.fixture(autouse=True, scope="module")
def a_module(tmp_path_factory):
    import sys

    folder = tmp_path_factory.mktemp("modules")
    (folder / "nk_module.py").write_text("value = 1\n")
    sys.path.append(str(folder))
    yield
    sys.path.remove(str(folder))


def test_links_that_lead_out_are_an_error(ray, project):
    (project / "outside").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="outside is a link that leads out"):
        look(ray, {"working_dir": str(project)}, "1")
    assert look(ray, {"working_dir": str(project), "excludes": ["outside"]}, "1") == 1


def test_huge_directories_are_an_error_that_names_the_largest(ray, project, monkeypatch):
    from narke._private import packages

    monkeypatch.setattr(packages, "MAX_PACKAGE_BYTES", 1 << 20)
    (project / "large.bin").write_bytes(os.urandom(3 << 20))
    with pytest.raises(ValueError, match="exceeds the maximum size.*large.bin"):
        look(ray, {"working_dir": str(project)}, "1")


def test_archives_that_lead_out_are_refused(ray, tmp_path):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("../../evil.txt", "x")
    with pytest.raises(RuntimeEnvSetupError, match="leads out"):
        look(ray, {"working_dir": str(path)}, "1")


def test_children_inherit_and_replace(ray, project):
    env = {"working_dir": str(project), "env_vars": {"A": "1", "B": "1"}}

    @ray.remote(runtime_env=env)
    def parent():
        @ray.remote
        def child():
            import helper

            return helper.VALUE, os.environ["A"], os.environ["B"]

        return ray.get([child.remote(), child.options(runtime_env={"env_vars": {"B": "2"}}).remote()])

    assert ray.get(parent.remote(), timeout=GET_S) == [(7, "1", "1"), (7, "1", "2")]
    shown = look(ray, env, "imported('narke').get_runtime_context().runtime_env")
    assert shown["working_dir"].startswith("gcs://_ray_pkg_") and "_setup" not in shown


def test_the_setup_hook_runs_in_every_worker(ray, project):
    (project / "hooked.py").write_text("import os\ndef run(): os.environ['HOOKED'] = 'yes'\n")
    env = {"working_dir": str(project), "worker_process_setup_hook": "hooked.run"}
    assert look(ray, env, "imported('os').environ['HOOKED']") == "yes"


@pytest.mark.parametrize("field, value", [("image_uri", "x"), ("container", {"image": "x"})])
def test_images_are_refused_with_a_sentence(ray, field, value):
    with pytest.raises(RuntimeEnvSetupError, match="container engine"):
        look(ray, {field: value}, "1")


def test_unknown_fields_are_an_error(ray):
    with pytest.raises(RuntimeEnvSetupError, match="nk_nothing.*no plugin"):
        look(ray, {"nk_nothing": 1}, "1")


PLUGIN = """
import os
from narke._private.runtime_env.plugin import RuntimeEnvPlugin

class Greeting(RuntimeEnvPlugin):
    name = "nk_greeting"

    @staticmethod
    def validate(env):
        if not isinstance(env["nk_greeting"], str):
            raise ValueError("nk_greeting must be a string")

    def get_uris(self, env):
        return ["greeting://" + env["nk_greeting"]]

    async def create(self, uri, env, context, logger):
        with open(os.environ["NK_CREATED"], "a") as file:
            file.write(uri + "\\n")
        return 5

    def modify_context(self, uris, env, context, logger):
        context.env_vars["NK_GREETING"] = env["nk_greeting"]
        context.command_prefix += ["export", "NK_PREFIX=done", "&&"]
"""


def test_plugins_make_and_change_environments(ray, tmp_path, monkeypatch):
    (tmp_path / "nk_plugin.py").write_text(PLUGIN)
    created = tmp_path / "created"
    monkeypatch.setenv("NK_CREATED", str(created))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )
    monkeypatch.setenv(
        "RAY_RUNTIME_ENV_PLUGINS", json.dumps([{"class": "nk_plugin.Greeting", "priority": 5}])
    )
    ray.shutdown(wait_for_processes=True)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    code = "[imported('os').environ.get(n) for n in ('NK_GREETING', 'NK_PREFIX')]"
    assert look(ray, {"nk_greeting": "hello"}, code) == ["hello", "done"]
    assert look(ray, {"nk_greeting": "hello", "env_vars": {"X": "1"}}, code) == ["hello", "done"]
    assert created.read_text() == "greeting://hello\n"
    with pytest.raises(RuntimeEnvSetupError, match="must be a string"):
        look(ray, {"nk_greeting": 3}, "1")


def test_a_jobs_environment_is_everybodys(ray, project, wheels):
    ray.shutdown(wait_for_processes=True)
    env = {
        "working_dir": str(project),
        "pip": {"packages": ["nk_one==1.0"], "pip_install_options": wheel_files.offline(wheels)},
    }
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=env)
    code = "imported('helper').VALUE, imported('nk_one').version, imported('os').path.exists('data.txt')"
    assert look(ray, None, code) == (7, 1, True)
    assert look(ray, {"env_vars": {"X": "1"}}, code) == (7, 1, True)
    ray.shutdown(wait_for_processes=True)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)


def test_a_hook_may_change_a_jobs_environment(ray, tmp_path, monkeypatch):
    (tmp_path / "nk_hook.py").write_text(
        "def add(env): return {**env, 'env_vars': {**env.get('env_vars', {}), 'HOOKED': '1'}}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("RAY_RUNTIME_ENV_HOOK", "nk_hook.add")
    ray.shutdown(wait_for_processes=True)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    assert look(ray, None, "imported('os').environ['HOOKED']") == "1"


def test_what_is_set_up_when_it_is_needed_only(ray, folder, wheels):
    made = folder / "runtime_env_cache" / "pip"
    for lazy in (True, False):
        ray.shutdown(wait_for_processes=True)
        before = set(os.listdir(made)) if made.exists() else set()
        env = {
            "pip": {
                "packages": ["nk_two"],
                "pip_install_options": [*wheel_files.offline(wheels), f"--timeout={5 + lazy}"],
            },
            "config": {"eager_install": not lazy},
        }
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env=env)
        if lazy:
            ray.get(ray.put(1))
            assert (set(os.listdir(made)) if made.exists() else set()) == before
        assert look(ray, None, "imported('nk_two').value") == 20
    ray.shutdown(wait_for_processes=True)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)


def test_other_nodes_fetch_what_a_driver_brings(ray, project):
    from narke.cluster_utils import Cluster

    ray.shutdown(wait_for_processes=True)
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
    try:
        cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        (project / "large.bin").write_bytes(os.urandom(9 << 20))  # several pieces
        env = {"working_dir": str(project), "py_modules": [str(project / "helper.py")]}
        code = "imported('helper').VALUE, imported('os').path.getsize('large.bin')"
        assert look(ray, env, code) == (7, 9 << 20)
    finally:
        ray.shutdown()
        cluster.shutdown()
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
