"""The tests' gRPC service: its client, and what adds it to a server."""

import grpc
from grpc_words_pb2 import Answer, Question

SERVICE = "words.Words"
# method: (the client streams, the server streams)
METHODS = {
    "Ask": (False, False),
    "Model": (False, False),
    "Refuse": (False, False),
    "Break": (False, False),
    "Slow": (False, False),
    "Count": (False, True),
    "BreakLater": (False, True),
    "Sum": (True, False),
    "Echo": (True, True),
}


def _kind(streams):
    return "_".join("stream" if each else "unary" for each in streams)


class WordsStub:
    def __init__(self, channel):
        for name, streams in METHODS.items():
            call = getattr(channel, _kind(streams))(
                f"/{SERVICE}/{name}",
                request_serializer=Question.SerializeToString,
                response_deserializer=Answer.FromString,
            )
            setattr(self, name, call)


def add_WordsServicer_to_server(servicer, server):
    handlers = {}
    for name, streams in METHODS.items():
        make = getattr(grpc, f"{_kind(streams)}_rpc_method_handler")
        handlers[name] = make(
            getattr(servicer, name),
            request_deserializer=Question.FromString,
            response_serializer=Answer.SerializeToString,
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)
