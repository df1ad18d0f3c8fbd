"""Messages of the service ``ray.serve.RayServeAPIService``, made when this is imported."""

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.internal import builder

_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
# message: (field, number, label)
_MESSAGES: dict[str, list[tuple[str, int, int]]] = {
    "ListApplicationsRequest": [],
    "ListApplicationsResponse": [("application_names", 1, _MANY)],
    "HealthzRequest": [],
    "HealthzResponse": [("message", 1, _ONE)],
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto(
        name="ray/serve/serve_api.proto", package="ray.serve", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = made.message_type.add(name=name)
        for field, number, label in fields:
            message.field.add(name=field, number=number, label=label, type=_STRING)
    service = made.service.add(name="RayServeAPIService")
    for method in ("ListApplications", "Healthz"):
        service.method.add(
            name=method,
            input_type=f".ray.serve.{method}Request",
            output_type=f".ray.serve.{method}Response",
        )
    return made


DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(_file().SerializeToString())
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, __name__, globals())
