"""Hudi tables, read by Hudi's own client: a copy-on-write table of two commits, laid out by its specification."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

pytest.importorskip("hudi")

FIRST, SECOND = "20240101000000000", "20240201000000000"
PROPERTIES = """hoodie.table.name=trips
hoodie.table.type=COPY_ON_WRITE
hoodie.table.version=6
hoodie.timeline.layout.version=1
hoodie.table.base.file.format=PARQUET
hoodie.table.partition.fields=city
hoodie.table.recordkey.fields=id
hoodie.table.precombine.field=ts
hoodie.populate.meta.fields=true
hoodie.datasource.write.hive_style_partitioning=false
hoodie.datasource.write.drop.partition.columns=false
hoodie.table.keygenerator.class=org.apache.hudi.keygen.SimpleKeyGenerator
"""
FIELDS = {
    "_hoodie_commit_time": "string",
    "_hoodie_commit_seqno": "string",
    "_hoodie_record_key": "string",
    "_hoodie_partition_path": "string",
    "_hoodie_file_name": "string",
    "id": "long",
    "ts": "long",
    "fare": "double",
    "city": "string",
}


def write_slice(root, instant, city, rows):
    """Write a file slice of (id, time of its commit) rows; gives what the commit says of it."""
    file_id = f"{city}-0000-0000-0000-000000000000-0"
    name = f"{file_id}_0-1-0_{instant}.parquet"
    (root / city).mkdir(exist_ok=True)
    (root / city / ".hoodie_partition_metadata").write_text(f"commitTime={instant}\npartitionDepth=1\n")
    table = [
        [time, f"{time}_0_{i}", str(key), city, name, key, int(time[:8]), key * 1.5, city]
        for i, (key, time) in enumerate(rows)
    ]
    columns = [pa.array(column) for column in zip(*table, strict=True)]
    pq.write_table(pa.table(columns, names=list(FIELDS)), root / city / name)
    size = (root / city / name).stat().st_size
    about = {"fileId": file_id, "path": f"{city}/{name}", "partitionPath": city, "numWrites": len(rows)}
    return {**about, "prevCommit": "null", "totalWriteBytes": size, "fileSizeInBytes": size}


def commit(root, instant, parts):
    """Write the file slices of a commit and its instant on the timeline."""
    stats = {city: [write_slice(root, instant, city, rows)] for city, rows in parts.items()}
    fields = [{"name": name, "type": ["null", kind], "default": None} for name, kind in FIELDS.items()]
    schema = json.dumps({"type": "record", "name": "trips", "fields": fields})
    about = {"partitionToWriteStats": stats, "extraMetadata": {"schema": schema}, "operationType": "UPSERT"}
    for ending in ("commit.requested", "inflight"):
        (root / ".hoodie" / f"{instant}.{ending}").touch()
    (root / ".hoodie" / f"{instant}.commit").write_text(json.dumps(about))


@pytest.fixture(scope="module")
def trips(tmp_path_factory):
    root = tmp_path_factory.mktemp("hudi") / "trips"
    (root / ".hoodie").mkdir(parents=True)
    (root / ".hoodie" / "hoodie.properties").write_text(PROPERTIES)
    commit(root, FIRST, {"paris": [(1, FIRST), (2, FIRST), (3, FIRST)], "rome": [(4, FIRST), (5, FIRST)]})
    commit(root, SECOND, {"paris": [(1, FIRST), (2, SECOND), (3, FIRST), (6, SECOND)]})
    return str(root)


def ids(dataset):
    return sorted(row["id"] for row in dataset.take_all())


def test_a_snapshot_is_the_latest_of_each_file_group(trips):
    dataset = ray.data.read_hudi(trips)
    assert ids(dataset) == [1, 2, 3, 4, 5, 6]
    assert dataset.materialize().num_blocks() == 2
    assert sum(row["fare"] for row in dataset.take_all()) == 21 * 1.5


def test_filters_choose_partitions_and_rows(trips):
    assert ids(ray.data.read_hudi(trips, filters=[("city", "=", "rome")])) == [4, 5]
    assert ids(ray.data.read_hudi(trips, filters=[("city", "=", "paris"), ("id", ">", 2)])) == [3, 6]
    assert ids(ray.data.read_hudi(trips, filters=[("city", "=", "oslo")])) == []


@pytest.mark.parametrize("name", ["hoodie.read.start.timestamp", "hoodie.read.file_group.start_timestamp"])
def test_an_incremental_read_is_what_changed_since(trips, name):
    changed = ray.data.read_hudi(trips, query_type="incremental", hudi_options={name: FIRST})
    assert ids(changed) == [2, 6]
    assert ids(ray.data.read_hudi(trips, query_type="incremental", hudi_options={name: SECOND})) == []


def test_earlier_states_by_options(trips):
    assert ids(ray.data.read_hudi(trips, hudi_options={"hoodie.read.as.of.timestamp": FIRST})) == [
        1,
        2,
        3,
        4,
        5,
    ]


def test_other_queries_are_refused(trips):
    with pytest.raises(ValueError, match="query_type"):
        ray.data.read_hudi(trips, query_type="latest")
