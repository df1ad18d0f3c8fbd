"""Messages of the tests' gRPC service, as protoc's output makes them, but built here."""

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.internal import builder

_FILE = descriptor_pb2.FileDescriptorProto(name="grpc_words.proto", package="words", syntax="proto3")
for _name in ("Question", "Answer"):
    _message = _FILE.message_type.add(name=_name)
    _message.field.add(name="text", number=1, label=1, type=9)
    _message.field.add(name="number", number=2, label=1, type=3)

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(_FILE.SerializeToString())
builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, __name__, globals())
