"""Messages and services of Serve's own gRPC interface; needs protobuf."""
