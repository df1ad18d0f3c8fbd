"""The state API over records that a test makes up."""

import os

import pytest

from narke._private import state
from narke.util.state import _logs, api
from narke.util.state import common as c
from narke.util.state.exception import RayStateApiException

DRIVER = c.DRIVER_TASK_ID_PREFIX + "01000000"


def task(id, **changes):
    base = {
        "task_id": id,
        "attempt_number": 0,
        "name": "f",
        "func_or_class_name": "f",
        "type": "NORMAL_TASK",
        "state": "FINISHED",
        "job_id": "01000000",
        "actor_id": None,
        "parent_task_id": DRIVER,
        "worker_pid": 12,
        "creation_time_ms": 5,
    }
    return {**base, **changes}


RECORDS = {
    "actors": [
        {"actor_id": "b", "class_name": "Cat", "state": "ALIVE", "pid": 1, "is_detached": True},
        {"actor_id": "a", "class_name": "Cat", "state": "DEAD", "pid": 2, "is_detached": False},
        {"actor_id": "c", "class_name": "Dog", "state": "ALIVE", "pid": 3},
    ],
    "tasks": [task("t1"), task("t2", parent_task_id="t1", state="RUNNING"), task(DRIVER, type="DRIVER_TASK")],
    "objects": [
        {"object_id": "o", "object_size": 1 << 20, "call_site": "x", "ip": "h", "pid": 1},
        {"object_id": "o", "object_size": 1 << 20, "call_site": "x", "ip": "h", "pid": 2},
    ],
}


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(api, "_connect", lambda address: None)
    monkeypatch.setattr(
        api, "_snapshot", lambda kind, **filters: [dict(each) for each in RECORDS[kind.value]]
    )
    monkeypatch.setattr(
        state,
        "task_summary",
        lambda: {
            "summary": [
                {
                    "func_or_class_name": "f",
                    "type": "NORMAL_TASK",
                    "state_counts": {"FINISHED": 1, "RUNNING": 1},
                }
            ],
            "total_tasks": 2,
            "total_actor_tasks": 0,
            "total_actor_scheduled": 0,
        },
    )
    return api.StateApiClient("here")


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([], ["a", "b", "c"]),
        ([("state", "=", "alive")], ["b", "c"]),
        ([("state", "!=", "ALIVE")], ["a"]),
        ([("pid", "=", "2")], ["a"]),
        ([("pid", "=", 2)], ["a"]),
        ([("class_name", "=", "Cat"), ("state", "=", "ALIVE")], ["b"]),
        ([("state", "=", "ALIVE"), ("state", "=", "DEAD")], []),
        ([("node_id", "=", None)], ["a", "b", "c"]),
    ],
)
@pytest.mark.filterwarnings("ignore:no record matches")
def test_filters(client, filters, ids):
    found = client.list(c.StateResource.ACTORS, c.ListApiOptions(filters=filters))
    assert [actor.actor_id for actor in found] == ids


def test_details_only_when_asked(client):
    short = api.list_actors("here", filters=[("actor_id", "=", "b")])[0]
    long = api.list_actors("here", filters=[("actor_id", "=", "b")], detail=True)[0]
    assert short.is_detached is None and long.is_detached is True
    assert long["class_name"] == "Cat" and long.get("nothing", 4) == 4


def test_limit_and_driver_tasks(client):
    assert [each.task_id for each in api.list_tasks("here")] == ["t1", "t2"]
    assert len(api.list_tasks("here", limit=1)) == 1
    with pytest.raises(RayStateApiException, match="exceeds"):
        api.list_tasks("here", limit=10**6)


def test_one_record(client):
    assert api.get_actor("b", "here").is_detached is True
    assert api.get_actor("nope", "here") is None
    assert api.get_task("t1", "here").func_or_class_name == "f"
    assert len(api.get_objects("o", "here")) == 2
    assert api.get_objects("nope", "here") == []


def test_bad_filters(client):
    with pytest.raises(RayStateApiException, match=r"Invalid filter keys \['required_resources'\]"):
        api.list_actors("here", filters=[("required_resources", "=", "x")])
    with pytest.raises(ValueError, match="predicate >"):
        api.list_actors("here", filters=[("pid", ">", 3)])


def test_summaries(client):
    assert api.summarize_actors("here")["cluster"]["summary"]["Cat"]["state_counts"] == {
        "ALIVE": 1,
        "DEAD": 1,
    }
    tasks = api.summarize_tasks("here")["cluster"]
    assert tasks["total_tasks"] == 2
    assert tasks["summary"]["f"]["state_counts"] == {"FINISHED": 1, "RUNNING": 1}
    objects = api.summarize_objects("here")["cluster"]
    assert objects["total_size_mb"] == 2.0 and objects["summary"]["x"]["total_num_workers"] == 2


def test_lineage():
    tasks = [
        task("t1", name="main"),
        task("t2", parent_task_id="t1", state="RUNNING"),
        task("t3", parent_task_id="t1"),
        task(
            "t4",
            parent_task_id="t1",
            type="ACTOR_CREATION_TASK",
            actor_id="a",
            func_or_class_name="A.__init__",
        ),
        task(
            "t5", parent_task_id="t2", type="ACTOR_TASK", actor_id="a", func_or_class_name="A.m", name="A.m"
        ),
    ]
    (root,) = c.TaskSummaries.to_summary_by_lineage(
        tasks=tasks, actors=[{"actor_id": "a", "class_name": "A"}]
    ).summary
    assert root.name == "main" and root.state_counts == {"FINISHED": 4, "RUNNING": 1}
    group, actor = sorted(root.children, key=lambda each: each.type, reverse=True)
    assert group.type == "GROUP" and group.state_counts == {"RUNNING": 1, "FINISHED": 1}
    assert actor.name == "A" and [child.key for child in actor.children] == ["t4", "t5"]


def test_records_of_the_wrong_shape():
    with pytest.raises(RayStateApiException, match="NodeState"):
        c.dict_to_state({"zz": 1}, c.StateResource.NODES)
    with pytest.raises(ValueError, match="no kind"):
        c.resource_to_schema("x")


def test_readable_values():
    assert c.Humanify.memory(5 * 10**6) == "4.768 MiB"
    assert c.Humanify.timestamp(1700000000000) == "2023-11-14 22:13:20"
    assert c.Humanify.duration(61000) == "0:01:01"
    assert c.TaskState.humanify({"start_time_ms": 0, "name": "f"}) == {
        "start_time_ms": "1970-01-01 00:00:00",
        "name": "f",
    }
    assert c.remove_ansi_escape_codes("\x1b[31mred\x1b[0m") == "red"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "node_id or node_ip"),
        ({"node_id": "n"}, "filename"),
        ({"node_id": "n", "node_ip": "h", "filename": "f"}, "not both"),
        ({"node_id": "n", "filename": "f", "suffix": "log"}, "suffix"),
        ({"node_id": "n", "filename": "f", "media_type": "x"}, "media_type"),
    ],
)
def test_log_options(fields, text):
    with pytest.raises(ValueError, match=text):
        c.GetLogOptions(timeout=3, **fields)


def test_log_names_and_tails(tmp_path, monkeypatch):
    (tmp_path / "worker-abcd.out").write_text("one\ntwo\n\x1b[1mthree\x1b[0m\n")
    (tmp_path / "node.err").write_text("")
    monkeypatch.setattr(_logs, "_folder", lambda node_id, node_ip: str(tmp_path))
    monkeypatch.setattr(state, "snapshot", lambda kind: [{"worker_id": "abcd", "pid": 7}])
    assert _logs.names("n", None, "*") == {"node": ["node.err"], "worker_out": ["worker-abcd.out"]}

    def text(lines, **fields):
        options = c.GetLogOptions(timeout=3, node_id="n", lines=lines, **fields)
        return "".join(_logs.read(options, "utf-8", "strict", plain=True))

    assert text(-1, pid=7) == "one\ntwo\nthree\n"
    assert text(2, filename="worker-abcd.out") == "two\nthree\n"
    assert text(0, pid=7) == ""
    assert text(99, pid=7) == "one\ntwo\nthree\n"
    with pytest.raises(RayStateApiException, match="no .err log"):
        text(-1, pid=7, suffix="err")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link"])
def test_logs_stay_inside_their_folder(tmp_path, monkeypatch, name):
    folder = tmp_path / "logs"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    os.symlink(tmp_path / "secret", folder / "link")
    monkeypatch.setattr(_logs, "_folder", lambda node_id, node_ip: str(folder))
    with pytest.raises(RayStateApiException, match="outside"):
        _logs.read(c.GetLogOptions(timeout=3, node_id="n", filename=name), None, "strict", plain=False)


def test_tail_of_a_long_log(tmp_path, monkeypatch):
    lines = [f"line {number} {'x' * 50}\n" for number in range(5000)]
    (tmp_path / "f").write_text("".join(lines))
    monkeypatch.setattr(_logs, "_folder", lambda node_id, node_ip: str(tmp_path))
    options = c.GetLogOptions(timeout=3, node_id="n", filename="f", lines=3000)
    assert b"".join(_logs.read(options, None, "strict", plain=False)).decode() == "".join(lines[-3000:])
