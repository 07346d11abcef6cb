"""The official Python gRPC client as a peer, through a proxy of the server's release; measured only on request."""

from benchmarks.grpc.launch import grpc_client

__all__ = ["grpc_client"]
